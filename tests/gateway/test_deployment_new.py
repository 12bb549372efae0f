"""A record by questions: checked answer by answer, stopped and gone on with, and what the gates say of it."""

from __future__ import annotations

import json
import re
import string
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from peilmerk_gateway.deployments import new_cli
from peilmerk_gateway.deployments.asking import answers as answering
from peilmerk_gateway.deployments.asking import compose
from peilmerk_gateway.deployments.asking.answers import AnswerError, flat, nested, take
from peilmerk_gateway.deployments.asking.interview import Terms, answer_refused, complete
from peilmerk_gateway.deployments.asking.questions import NOTHING, OPEN, Kind, Question
from peilmerk_gateway.deployments.cli import app
from peilmerk_gateway.deployments.deployment import parse, read
from peilmerk_gateway.deployments.outlook import State, outlook
from peilmerk_gateway.web.language import languages
from peilmerk_protocol import profile
from peilmerk_protocol.profile import STANDARD_COUNTER

TODAY = date(2026, 3, 2)
DEVICE, DIGEST = "abcdefghij234567", "ab" * 32
EN, NL = (Terms(languages()[code], TODAY, "kerkstraat") for code in ("en", "nl"))

STREET: dict[str, Any] = {
    "owner.organisation": "Gemeente Voorbeeld",
    "public_contact": "sensoren@voorbeeld.example",
    "location.description": "Kerkstraat, fietspad",
    "location.point": "52.0907, 5.1214",
    "devices[1].measures": "bicycle_towards, bicycle_away",
    "devices[1].model": "Peilmerk",
    "devices[1].device_id": DEVICE,
    "devices[1].firmware_digest": DIGEST,
    "contains_personal_data": "no",
    "on_device_personal_data": "no",
    "notified_at": "2026-03-01",
    "active_until": "2028-12-31",
}
HOME = {
    key: value
    for key, value in STREET.items()
    if key not in ("notified_at", "owner.organisation", "public_contact")
} | {"private_host": "yes", "devices[1].measures": "pm2_5, temperature"}
ASSESSED = STREET | {
    "on_device_personal_data": "yes",
    "purposes[1].legal_ground": "GDPR 6(1)(e)",
    "purposes[1].privacy_declaration_url": "https://voorbeeld.example/privacy",
    "dpia.status": "approved",
    "dpia.date": "2026-04-01",
    "dpia.review_due": "2027-04-01",
}
RADIO = ASSESSED | {
    "devices[1].measures": "unclassified",
    "devices[1].radio_capture": "yes",
    "location.observed_area": "The market square, north of the fountain",
}


def written(given: dict[str, Any], terms: Terms = EN) -> str:
    asked, known, wrong = complete(terms, given)
    assert wrong == []
    return compose.text_of(asked, known, terms.language, terms.today)


def question(key: str, given: dict[str, Any] = STREET, terms: Terms = EN) -> Question:
    asked, _, _ = complete(terms, given)
    return next(one for one in asked if one.key == key)


# The record that answers make


def test_the_answers_of_a_street_make_its_record() -> None:
    deployment = parse(written(STREET).encode(), Path("kerkstraat.toml"))
    record = deployment.record
    assert deployment.mandates[DEVICE].profile(1) == STANDARD_COUNTER
    assert (record.id, record.version, record.devices[0].name) == ("kerkstraat", "1", "kerkstraat")
    assert (record.notified_at, record.active_from) == (date(2026, 3, 1), date(2026, 3, 6))
    assert (record.purposes[0].dtpr_purpose, record.roles.controller) == ("mobility", "Gemeente Voorbeeld")  # type: ignore[union-attr]
    assert [(s.is_public, s.is_open_data, s.retention_days) for s in record.datastreams] == [
        (True, True, 365),
        (True, True, 365),
    ]
    assert [(c.version, c.date, c.text) for c in record.changelog] == [("1", TODAY, "First version")]


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"profile": "strict"}, profile.Profile(1, 3600, STANDARD_COUNTER.set, (7, 20), (3, 20), 10, 4)),
        (
            {
                "profile": "own",
                "privacy.window_s": "1800",
                "privacy.epsilon_leaf": "1/2",
                "privacy.epsilon_day": "0",
                "privacy.k": "20",
                "privacy.m_assumed": "2",
            },
            profile.Profile(1, 1800, STANDARD_COUNTER.set, (1, 2), (0, 1), 20, 2),
        ),
    ],
)
def test_the_terms_of_counts(more: dict[str, str], wanted: profile.Profile) -> None:
    assert parse(written(STREET | more).encode(), Path("x.toml")).mandates[DEVICE].profile(1) == wanted


def test_boards_that_measure_other_things_have_datastreams_of_their_own() -> None:
    other = "bcdefghij2345672"
    text = written(
        STREET
        | {"devices[2].measures": "bicycle_away, pm2_5", "devices[2].device_id": other, "profile": "standard"}
    )
    deployment = parse(text.encode(), Path("x.toml"))
    streams = {s.measures.name: s.devices for s in deployment.record.datastreams}
    assert streams == {
        "pm2_5": ("kerkstraat-2",),
        "bicycle_towards": ("kerkstraat-1",),
        "bicycle_away": None,
    }
    assert deployment.record.devices[1].model == "Peilmerk"
    assert [q.name for q in deployment.record.privacy.unprotected_quantities] == ["pm2_5"]


def test_a_home_is_asked_less_and_its_place_is_not_in_the_record() -> None:
    asked, _, wrong = complete(EN, HOME)
    assert wrong == []
    keys = {one.key for one in asked}
    assert not keys & {"notified_at", "permit.regime", "permit.id", "evaluate_on", "reference", "project"}
    assert len(keys) < len(complete(EN, STREET)[0])
    # A record is public and kept: nobody's name goes into it for want of a signature.
    assert question("signed_by", HOME).text == "signed_by.home"
    assert "never a resident's name" in EN.language.text("ask.signed_by.home.why")
    text = written(HOME)
    record = parse(text.encode(), Path("x.toml")).record
    assert (record.private_host, record.owner.organisation) == (True, "A resident")
    assert (record.privacy.window_s, record.location.public_cell) == (3600, "rd1000-E1360N4550")
    assert record.location.point is None
    assert "5.1214" not in text
    assert "52.09" not in text


def test_radio_and_everything_that_may_be_asked_more() -> None:
    more = RADIO | {
        "more": "yes",
        "owner.phone": "06-12345678",
        "rathenau.privacy.risk": "Being recognised",
        "rathenau.privacy.measure": "Noise",
        "rathenau.privacy.owner": "CISO",
    }
    record = parse(written(more).encode(), Path("x.toml")).record
    assert (record.devices[0].radio_capture, record.owner.phone) == (True, "06-12345678")
    assert record.rathenau is not None
    assert record.rathenau.privacy is not None
    assert (record.rathenau.privacy.owner, record.rathenau.justice) == ("CISO", None)


def test_the_proposals_are_dutch_for_a_dutch_officer() -> None:
    record = parse(written(STREET, NL).encode(), Path("x.toml")).record
    assert record.dtpr.storage == "Bij de hierboven genoemde organisatie, in de Europese Unie."
    assert record.dtpr.retention == "Hier 365 dagen; wat gepubliceerd is, blijft op het dataplatform."
    assert record.datastreams[0].themes == ("mobiliteit",)


# Answers


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("id", "Kerk Straat", "Wanted: lower-case letters, digits and hyphens"),
        ("private_host", "maybe", "That cannot be: 'maybe'. Wanted: yes or no."),
        ("private_host", OPEN, "This answer is needed to go on"),
        ("location.point", "", "That cannot be: nothing. Wanted: latitude and longitude"),
        ("location.point", "52.0907", "That cannot be: …. Wanted: latitude and longitude"),
        ("location.point", "48.85, 2.35", "That cannot be: …. Wanted: latitude and longitude"),
        # Within the fence of degrees, and in the sea outside of the grid.
        ("location.point", "55.9, 2.1", "found a point outside of the Dutch grid"),
        ("boards", "0", "Wanted: a whole number from 1 to 99."),
        ("boards", 100, "Wanted: a whole number from 1 to 99."),
        ("devices[1].measures", "faces", "Wanted: one or more names of the list"),
        ("devices[1].measures", "bicycle, bicycle", "Wanted: one or more names of the list"),
        ("devices[1].measures", "samples", "Wanted: one or more names of the list"),
        ("devices[1].measures", "pm2_5_extremes", "along with which it goes; wanted both"),
        ("devices[1].device_id", "AA:BB", "wanted the 16 characters that 'peilmerk device enrol' printed"),
        ("devices[1].firmware_digest", "abc", "wanted 64 hexadecimal digits"),
        ("profile", "crowd", "Wanted: one of standard, strict, own."),
        ("purposes[1].dtpr_purpose", "profit", "Wanted: one of accessibility, "),
        ("notified_at", "soon", "Wanted: a date such as 2027-12-31."),
        ("notified_at", "2026-02-30", "Wanted: a date such as 2027-12-31."),
        ("active_until", "2026-03-01", "wanted a day after active_from 2026-03-06"),
        ("objection_url", "voorbeeld.example", "objection_url: found 'voorbeeld.example', wanted"),
        ("retention_days", "0", "retention_days: found 0, wanted at least 1"),
        ("location.description", "x" * 2001, "location.description: found"),
        ("location.description", "", "That cannot be: nothing. Wanted: text"),
        ("public_contact", 5, "That cannot be: 5. Wanted: one line"),
    ],
)
def test_an_answer_is_refused_at_once_by_the_rules_of_check(key: str, given: object, said: str) -> None:
    asked, known, _ = complete(EN, STREET)
    one = next(one for one in asked if one.key == key)
    answer, why = answer_refused(EN, one, given, known)
    assert answer is None
    assert why is not None
    assert said in why
    _, why = answer_refused(NL, one, given, known)
    assert why is not None
    assert why.startswith(("Dat kan niet", "Dit antwoord is nodig"))


def test_what_is_refused_for_the_sake_of_another_answer_says_which() -> None:
    asked, known, _ = complete(EN, RADIO)
    one = next(one for one in asked if one.key == "on_device_personal_data")
    _, why = answer_refused(EN, one, "no", known)
    assert why is not None
    assert "G8: on_device_personal_data: found false, wanted true: addresses of radios" in why
    own = STREET | {
        "profile": "own",
        "privacy.epsilon_leaf": "1/2",
    }
    asked, known, _ = complete(EN, own)
    for key, bad, said in (
        ("privacy.epsilon_leaf", "0.7", "not a decimal"),
        ("privacy.epsilon_leaf", "0", "found 0, wanted more, because bicycle_towards is a count"),
        ("privacy.window_s", "901", "wanted seconds that divide a day"),
        ("privacy.k", "-1", "wanted at least 0"),
    ):
        one = next(one for one in asked if one.key == key)
        _, why = answer_refused(EN, one, bad, known)
        assert why is not None
        assert said in why


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (Kind.YES_NO, "JA", True),
        (Kind.YES_NO, "n", False),
        (Kind.YES_NO, True, True),
        (Kind.DAY, "31-12-2027", date(2027, 12, 31)),
        (Kind.DAY, "1/2/2027", date(2027, 2, 1)),
        (Kind.DAY, date(2027, 1, 2), date(2027, 1, 2)),
        (Kind.PLACE, "5.1214; 52.0907", {"longitude": 5.1214, "latitude": 52.0907}),
        (Kind.PLACE, "52.0907°N 5.1214°E", {"longitude": 5.1214, "latitude": 52.0907}),
        (Kind.WORDS, " a , b,", ["a", "b"]),
        (Kind.WORDS, ["a", "b"], ["a", "b"]),
        (Kind.WHOLE, "10", 10),
        (Kind.LINE, OPEN, OPEN),
        (Kind.LINE, " x ", "x"),
    ],
)
def test_how_an_answer_may_be_written(kind: Kind, given: object, taken: object) -> None:
    assert take(Question("key", "text", kind), given) == taken


@pytest.mark.parametrize(
    ("kind", "given"),
    [(Kind.WHOLE, True), (Kind.YES_NO, 1), (Kind.LINE, ["x"]), (Kind.PLACE, [5.1, 52.1]), (Kind.WHOLE, 1.5)],
)
def test_a_value_of_another_type_is_refused(kind: Kind, given: object) -> None:
    with pytest.raises(AnswerError):
        take(Question("key", "text", kind), given)


ASKED, KNOWN, _ = complete(EN, RADIO | {"more": "yes", "rathenau.privacy.risk": "x"})


@given(
    number=st.integers(0, len(ASKED) - 1),
    given=st.text(max_size=30)
    | st.sampled_from(["-1", "99999999", "0/0", "1e5", "later", "devices", "52.1, 5.1", "2026-01-01"])
    | st.integers()
    | st.booleans()
    | st.dates()
    | st.lists(st.text(max_size=4), max_size=3)
    | st.dictionaries(st.sampled_from(["longitude", "latitude", "x"]), st.floats() | st.text(max_size=3)),
)
@settings(max_examples=60)
def test_any_answer_is_taken_or_refused_in_words_and_what_is_taken_checks(number: int, given: Any) -> None:
    one = ASKED[number]
    answer, why = answer_refused(EN, one, given, KNOWN)
    if why is not None:
        assert why
        return
    if answer in (OPEN, NOTHING):
        return
    known = {**KNOWN, one.key: answer}
    asked = EN.questions(known)
    fill = [other.key for other in asked if known.get(other.key, OPEN) == OPEN]
    text = compose.text_of(asked, known, EN.language, TODAY, fill)
    assert compose.complaints(text, Path("x.toml")) == []


def test_answers_go_into_a_file_and_come_back() -> None:
    _, known, _ = complete(EN, RADIO)
    assert dict(flat(nested(known))) == known
    assert dict(flat(tomllib.loads(answering.as_toml(nested(known))))) == known


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


# What the gates make of it


def looked(given: dict[str, Any], today: date) -> dict[str, tuple[str, date | None]]:
    record = parse(written(given).encode(), Path("x.toml")).record
    return {str(one.gate): (one.state.value, one.day) for one in outlook(record, [], today)}


def test_g3_waits_for_five_days_after_notice_and_is_over_after_the_last_day() -> None:
    early = STREET | {"active_from": "2026-03-03"}
    assert looked(early, date(2026, 3, 5))["G3"] == ("waits", date(2026, 3, 6))
    assert looked(early, date(2026, 3, 6))["G3"] == ("passes", None)
    assert looked(early, date(2028, 12, 31))["G3"] == ("passes", None)
    assert looked(early, date(2029, 1, 1))["G3"] == ("over", date(2028, 12, 31))
    assert looked(STREET | {"active_from": "2026-05-01"}, TODAY)["G3"] == ("waits", date(2026, 5, 1))


def test_g4_waits_for_its_assessment_and_is_over_when_its_review_was_due() -> None:
    assert looked(STREET, TODAY)["G4"] == ("passes", None)
    assert looked(ASSESSED, date(2026, 3, 31))["G4"] == ("waits", date(2026, 4, 1))
    assert looked(ASSESSED, date(2026, 4, 1))["G4"] == ("passes", None)
    assert looked(ASSESSED, date(2027, 4, 2))["G4"] == ("over", date(2027, 4, 1))


def test_what_is_decided_on_each_message_is_said_to_be() -> None:
    found = looked(STREET, date(2026, 3, 6))
    assert found == {
        "G1": ("passes", None),
        "G2": ("passes", None),
        "G3": ("passes", None),
        "G4": ("passes", None),
        "G5": ("passes", None),
        "G6": ("board", None),
        "G7": ("board", None),
        "G8": ("passes", None),
    }


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(new_cli, "_today", lambda: TODAY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, lines: list[str] | None = None, locale: str = "C") -> Result:
    typed = "".join(f"{line}\n" for line in lines or [])
    environment = {"LC_ALL": locale, "LC_MESSAGES": "", "LANG": ""}
    return CliRunner(env=environment).invoke(app, ["new", *words], input=typed)


def set_options(given: dict[str, Any]) -> list[str]:
    return [word for key, value in given.items() for word in ("--set", f"{key}={value}")]


def replies(given: dict[str, Any], terms: Terms) -> list[tuple[str, str]]:
    """(key, line) of every question: what is given, else Enter."""
    return [(one.key, str(given.get(one.key, ""))) for one in complete(terms, given)[0]]


def test_an_officer_is_asked_step_by_step(place: Path) -> None:
    lines = [line for _, line in replies(STREET, NL)]
    done = run("kerkstraat.toml", lines=lines, locale="nl_NL.UTF-8")
    assert done.exit_code == 0, done.output
    assert (place / "kerkstraat.toml").read_text("utf-8") == written(STREET, NL)
    assert sorted(file.name for file in place.iterdir()) == ["kerkstraat.toml"]
    assert f"1/{len(lines)}  Hangt een particulier de sensor thuis op?" in done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == ["kerkstraat.toml is geschreven.", "Wat de privacypoort ervan zegt:"]
    assert "  G3  weigert tot 2026-03-06: Er is geen melding van minstens vijf dagen geleden" in said[4]
    assert said[-1] == (
        "Vanaf 2026-03-06 tot en met 2028-12-31 mag worden gepubliceerd wat de sensoren sturen."
    )
    assert CliRunner().invoke(app, ["check", "kerkstraat.toml"]).exit_code == 0


def test_a_refused_answer_is_asked_again_and_a_question_is_explained(place: Path) -> None:
    lines = [
        line
        for key, reply in replies(STREET, EN)
        for line in (
            ["later", "?", "maybe", reply]
            if key == "private_host"
            else ["49.1, 5.1", "?", reply]
            if key == "location.point"
            else ["?", reply]
        )
    ]
    done = run("kerkstraat.toml", lines=lines)
    assert done.exit_code == 0, done.output
    assert read(place / "kerkstraat.toml").id == "kerkstraat"
    for said in (
        "This answer is needed to go on; it cannot be left open.",
        "That cannot be: 'maybe'. Wanted: yes or no.",
        "That cannot be: …. Wanted: latitude and longitude",
        "This is never published.",
        "This is shown on the public page or on the sign at the sensor.",
        "In the record: devices[1].device_id",
        "bicycle_towards          Bicycles, towards",
        "Without a right answer G1 refuses: The deployment record lacks type, theme",
        "Without a right answer G3 refuses: There is no notification",
        "Without a right answer G5 refuses: ",
    ):
        assert said in done.stderr, said


def test_back_goes_back_and_the_answers_since_stand(place: Path) -> None:
    found = replies(STREET, EN)
    keys = [key for key, _ in found]
    lines = [line for _, line in found]
    at = keys.index("location.point")
    changed = keys.index("owner.organisation")
    # From the place back to the organisation, another answer, and Enter for what was answered since.
    lines[at:at] = ["back"] * (at - changed) + ["Gemeente Elders"]
    done = run("kerkstraat.toml", lines=["terug", *lines])
    assert done.exit_code == 0, done.output
    assert "This is the first question." in done.stderr
    record = read(place / "kerkstraat.toml").record
    assert record.owner.organisation == "Gemeente Elders"
    assert (record.public_contact, record.location.description) == (
        STREET["public_contact"],
        STREET["location.description"],
    )
    assert "[Gemeente Voorbeeld] >" in done.stderr


def test_an_optional_answer_can_be_taken_back(place: Path) -> None:
    lines = [
        line
        for key, reply in replies(STREET, EN)
        for line in (["the alderman", "back", "-"] if key == "signed_by" else [reply])
    ]
    done = run("kerkstraat.toml", lines=lines)
    assert "[the alderman, - clears it] >" in done.stderr
    assert read(place / "kerkstraat.toml").record.signed_by is None


@pytest.mark.parametrize("stop", [None, typer.Abort, KeyboardInterrupt])
def test_stopped_half_way_it_goes_on_there_next_time(
    place: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException] | None
) -> None:
    lines = [line for _, line in replies(STREET, EN)]
    half = len(lines) // 2
    if stop is None:
        done = run("kerkstraat.toml", lines=lines[:half])
    else:
        left = iter(lines[:half])

        def line(prompt: str) -> str:
            for one in left:
                return one
            raise stop

        monkeypatch.setattr(new_cli, "_line", line)
        done = run("kerkstraat.toml")
        monkeypatch.undo()
        monkeypatch.setattr(new_cli, "_today", lambda: TODAY)
        monkeypatch.chdir(place)
    assert done.exit_code == 130
    assert f"Kept in kerkstraat.toml.draft: {half} answers. The same command goes on there." in done.stderr
    assert sorted(file.name for file in place.iterdir()) == ["kerkstraat.toml.draft"]
    assert (place / "kerkstraat.toml.draft").stat().st_mode & 0o777 == 0o600
    done = run("kerkstraat.toml", lines=lines[half:])
    assert done.exit_code == 0, done.output
    assert f"Going on with kerkstraat.toml.draft: {half} answers of last time." in done.stderr
    assert (place / "kerkstraat.toml").read_text("utf-8") == written(STREET, EN)
    assert sorted(file.name for file in place.iterdir()) == ["kerkstraat.toml"]


def test_stopped_before_the_first_answer_nothing_is_kept(place: Path) -> None:
    done = run("kerkstraat.toml")
    assert done.exit_code == 130
    assert "nothing was answered yet and nothing was kept" in done.stderr
    assert list(place.iterdir()) == []


def test_what_does_not_hold_any_more_of_a_draft_is_asked_anew(place: Path) -> None:
    draft = place / "kerkstraat.toml.draft"
    draft.write_text('private_host = false\nid = "Kerk Straat"\nboards = 100000\nnonsense = 1\n', "utf-8")
    lines = [line for key, line in replies(STREET, EN) if key != "private_host"]
    done = run("kerkstraat.toml", lines=lines)
    assert done.exit_code == 0, done.output
    assert read(place / "kerkstraat.toml").id == "kerkstraat"
    draft.write_text("broken = ", "utf-8")
    done = run("kerkstraat.toml", "--force")
    assert done.exit_code == 2
    assert "kerkstraat.toml.draft: not TOML" in done.stderr


def test_a_file_that_is_there_is_replaced_only_when_asked_for(place: Path) -> None:
    file = place / "kerkstraat.toml"
    file.write_text("mine\n", "utf-8")
    lines = [line for _, line in replies(STREET, EN)]
    for reply in ("", "no", "what"):
        done = run("kerkstraat.toml", lines=[reply, *lines])
        assert (done.exit_code, file.read_text()) == (2, "mine\n")
        assert "kerkstraat.toml was not changed." in done.stderr
    done = run("kerkstraat.toml", *set_options(STREET))
    assert (done.exit_code, file.read_text()) == (2, "mine\n")
    assert "found it there already, wanted a new file, or --force to replace it" in done.stderr
    assert run("kerkstraat.toml", lines=["yes", *lines]).exit_code == 0
    assert file.read_text("utf-8") == written(STREET, EN)
    file.write_text("mine\n", "utf-8")
    assert run("kerkstraat.toml", "--force", *set_options(STREET)).exit_code == 0
    assert file.read_text("utf-8") == written(STREET, EN)
    assert sorted(one.name for one in place.iterdir()) == ["kerkstraat.toml"]


def test_a_file_that_came_meanwhile_is_not_replaced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_of: Callable[..., str] = compose.text_of

    def meanwhile(*words: Any) -> str:
        (place / "kerkstraat.toml").write_text("mine\n", "utf-8")
        return text_of(*words)

    monkeypatch.setattr(new_cli.compose, "text_of", meanwhile)
    done = run("kerkstraat.toml", *set_options(STREET))
    assert done.exit_code == 2
    assert (place / "kerkstraat.toml").read_text() == "mine\n"
    assert sorted(one.name for one in place.iterdir()) == ["kerkstraat.toml"]


def test_what_is_left_open_is_told_with_the_gate_that_refuses_for_it(place: Path) -> None:
    left = STREET | {"notified_at": OPEN, "devices[1].device_id": OPEN}
    done = run("kerkstraat.toml", "--json", *set_options(left))
    assert done.exit_code == 1
    figures = json.loads(done.stdout)["figures"]
    assert figures["written"]
    assert figures["gates"]["G3"] == {"state": "refuses", "day": None}
    assert figures["gates"]["G1"] == {"state": "passes", "day": None}
    assert figures["open"] == ["devices[1].device_id", "notified_at"]
    assert [said.partition(", wanted")[0] for said in figures["refused"]] == [
        "devices[1].device_id: not found",
        "G3: notified_at: not found",
    ]
    assert CliRunner().invoke(app, ["check", "kerkstraat.toml"]).exit_code == 1
    done = run("kerkstraat.toml", "--force", *set_options(left))
    assert "  G3  refuses: There is no notification" in done.stdout
    assert "Until that is filled in, nothing is published." in done.stdout
    assert "  notified_at: When was the municipality notified of the sensor?" in done.stdout


def test_without_asking_what_lacks_is_named_and_nothing_is_written(place: Path) -> None:
    given = {key: value for key, value in STREET.items() if key not in ("notified_at", "public_contact")}
    done = run("kerkstraat.toml", "--json", *set_options(given | {"owner.shoe": "42", "boards": "x"}))
    assert done.exit_code == 1
    assert list(place.iterdir()) == []
    figures = json.loads(done.stdout)["figures"]
    assert not figures["written"]
    assert [said.partition(":")[0] for said in figures["refused"]] == ["public_contact", "boards"]
    done = run("kerkstraat.toml", *set_options(given | {"owner.shoe": "42"}))
    assert re.findall(r"^error: ([a-z_.]+): ", done.stderr, re.MULTILINE) == [
        "public_contact",
        "notified_at",
        "owner.shoe",
    ]
    assert "kerkstraat.toml is not written: 3 answers lack or cannot be." in done.stderr


def test_answers_from_a_file_and_what_does_not_fit(place: Path) -> None:
    _, known, _ = complete(EN, HOME)
    answering.keep(place / "answers.toml", known)
    done = run("home.toml", "--answers", "answers.toml", "--set", "id=tuin", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"]
    assert read(place / "home.toml").id == "tuin"
    done = run("other.toml", "--answers", "answers.toml", "--set", "notified_at=2026-01-01")
    assert done.exit_code == 1
    assert "error: notified_at: With these answers this is not asked." in done.stderr
    for options, said in (
        (["--answers", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["--set", "id"], "--set: found 'id', wanted KEY=VALUE"),
        (["--set", "devices[0].name=x"], "--set: found 'devices[0].name=x', wanted KEY=VALUE"),
        (["--language", "de"], "found 'de', wanted nl or en"),
    ):
        done = run("other.toml", *options)
        assert done.exit_code == 2
        assert said in done.stderr
    done = run("none/other.toml", "--answers", "answers.toml")
    assert done.exit_code == 2
    assert "none/other.toml: cannot be written: No such file or directory" in done.stderr
