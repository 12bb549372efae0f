"""Every question can be asked in both languages, and no text is left over."""

from __future__ import annotations

import string
from pathlib import Path

from officer_answers import EN, HOME, NL, RADIO, STREET

from peilmerk_gateway.deployments import new_cli
from peilmerk_gateway.deployments.asking.interview import complete
from peilmerk_gateway.deployments.asking.questions import Kind
from peilmerk_gateway.deployments.outlook import State
from peilmerk_gateway.web.language import languages


def test_every_question_can_be_asked_in_both_languages_and_no_text_is_left_over() -> None:
    whole = RADIO | {"more": "yes", "permit.regime": "permit", "profile": "own"}
    whole |= {f"rathenau.{value}.risk": "x" for value in ("privacy", "justice")}
    asked = [*complete(EN, whole)[0], *complete(EN, HOME)[0], *complete(EN, STREET)[0]]
    names = {one.text for one in asked}
    for one in asked:
        for terms in (EN, NL):
            assert terms.language.text(f"ask.{one.text}", **one.values)
            assert terms.language.text(f"ask.{one.text}.why")
    sources = "".join(
        file.read_text("utf-8")
        for file in Path(new_cli.__file__).parent.rglob("*.py")
        if "exports" not in file.parts
    )
    said = {f"ask.{name}{tail}" for name in names for tail in ("", ".why")}
    said |= {f"ask.wanted.{kind}" for kind in Kind} | {f"gates.{state}" for state in State}
    for key in languages()["nl"]._texts:
        group, _, name = key.partition(".")
        if group not in ("ask", "gates", "diff") or key in said:
            continue
        # Effects, words and sentences of `difference` are put together of parts.
        parts = [key, name, name.partition(".")[2]]
        whole_key = any(f'"{part}"' in sources or f"'{part}'" in sources for part in parts if part)
        ended = name.rpartition(".")[0]
        assert whole_key or f'"{ended}"' in sources or name.startswith("words."), key


def test_texts_have_the_same_fields() -> None:
    for key, dutch in languages()["nl"]._texts.items():
        if key.startswith(("ask.", "gates.", "diff.")):
            english = languages()["en"]._texts[key]
            fields = [{f for _, f, _, _ in string.Formatter().parse(t) if f} for t in (dutch, english)]
            assert fields[0] == fields[1], key
            assert dutch != english or "{" in dutch, key
