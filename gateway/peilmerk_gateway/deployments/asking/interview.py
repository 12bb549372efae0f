"""The conversation: a question, what it is about, an answer, and at once what the rules say of it.

`back` (`terug`) goes a question back, `?` explains, `later` leaves a question open. Who speaks and who
answers is given, so that a terminal is one way among others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from peilmerk_gateway.deployments.asking import compose
from peilmerk_gateway.deployments.asking.answers import AnswerError, take
from peilmerk_gateway.deployments.asking.questions import (
    NOTHING,
    OPEN,
    Answers,
    Kind,
    Question,
    questions,
)
from peilmerk_gateway.deployments.complaints import gate
from peilmerk_gateway.deployments.difference_words import PRIVATE
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.web.language import Language
from peilmerk_protocol.quantities_names import ALL

# What an answer of before makes necessary, so that a complaint about it comes from the gates themselves.
_ALSO = {
    "purposes.legal_ground": Reason.G2,
    "purposes.privacy_declaration_url": Reason.G2,
    "active_from": Reason.G3,
}
BACK = frozenset({"back", "terug"})
EXPLAIN, CLEAR = "?", "-"
_SECRET = PRIVATE | {"location.point"}
_SHOWN = frozenset(
    {
        "owner.organisation",
        "public_contact",
        "location.description",
        "devices.name",
        "devices.type",
        "devices.model",
        "purposes.goal",
        "objection_url",
        *(f"dtpr.{key}" for key in ("accountable", "purpose", "technology", "data_type")),
        *(f"dtpr.{key}" for key in ("processing", "access", "storage", "retention")),
    }
)


@dataclass(frozen=True)
class Terms:
    """What an interview goes by: the language, the day, and the name that is proposed as the record's id."""

    language: Language
    today: date
    name: str | None = None

    def questions(self, answers: Answers) -> list[Question]:
        """Return the questions that answers lead to."""
        return questions(answers, self.language, self.today, self.name)


def answer_refused(
    terms: Terms, question: Question, given: object, answers: Answers
) -> tuple[Any, str | None]:
    """Return (the answer, None), or (None, why not) in words for the officer."""
    say = terms.language.text
    if question.needed and given == OPEN:
        return None, say("ask.needed")
    try:
        answer = take(question, given)
    except AnswerError:
        return None, say("ask.refused", found=_found(question, given, terms), wanted=wanted(question, terms))
    if answer in (OPEN, NOTHING):
        return answer, None
    asked = terms.questions({**answers, question.key: answer})
    said = compose.refused(question, answer, asked, answers, terms.language, terms.today)
    if not said:
        return answer, None
    form = say("ask.refused", found=_found(question, given, terms), wanted=wanted(question, terms))
    about = {question.key, "location.public_cell"} if question.kind is Kind.PLACE else {question.key}
    mine = all(any(key in complaint.key for key in about) for complaint in said)
    if mine and (terms.language.code != "en" or any("of the form" in complaint.text for complaint in said)):
        return None, form
    # The rules speak English; where they are about more than this answer, only they can tell.
    return None, say("ask.refused.rule", text="; ".join(str(complaint) for complaint in said))


def complete(
    terms: Terms, given: Mapping[str, object]
) -> tuple[list[Question], dict[str, Any], list[tuple[str, str]]]:
    """Answer every question from what was given, or by its proposal, asking nobody.

    Returns the questions, the answers, and (key, why) of what was refused, is lacking, or was not asked.
    """
    answers: dict[str, Any] = {}
    wrong: list[tuple[str, str]] = []
    say = terms.language.text
    if "boards" not in given and (numbers := [_number(key) for key in given]):
        given = {**given, "boards": max(1, *numbers)}
    while (question := _next(terms.questions(answers), answers)) is not None:
        if question.key in given:
            answer, why = answer_refused(terms, question, given[question.key], answers)
            if why is not None:
                wrong.append((question.key, why))
        elif question.proposal not in (None, NOTHING):
            answer = question.proposal
        elif question.optional:
            answer = NOTHING
        else:
            answer = None
            text = say(f"ask.{question.text}", **question.values)
            wrong.append((question.key, say("ask.lacking", question=text, wanted=wanted(question, terms))))
        answers[question.key] = OPEN if answer is None else answer
        if answer is None and question.needed:
            break
    else:
        asked = {question.key for question in terms.questions(answers)}
        wrong += [(key, say("ask.unasked")) for key in given if key not in asked]
    return terms.questions(answers), answers, wrong


def resumed(terms: Terms, kept: Mapping[str, object]) -> dict[str, Any]:
    """Return the answers of an earlier interview that still hold; the rest is asked anew."""
    answers: dict[str, Any] = {}
    before = -1
    while len(answers) > before:
        before = len(answers)
        for question in terms.questions(answers):
            if question.key in kept and question.key not in answers:
                answer, why = answer_refused(terms, question, kept[question.key], answers)
                if why is None:
                    answers[question.key] = answer
    return answers


def converse(
    terms: Terms,
    answers: dict[str, Any],
    ask: Callable[[str], str],
    tell: Callable[[str], None],
    keep: Callable[[Mapping[str, Any]], None],
) -> list[Question]:
    """Ask until everything is answered, and return the questions; `answers` are added to, and kept each time.

    `ask` shows a prompt and returns a line; what it raises ends the conversation.
    """
    at: str | None = None
    while True:
        asked = terms.questions(answers)
        keys = [question.key for question in asked]
        place = (
            keys.index(at)
            if at in keys
            else next((number for number, key in enumerate(keys) if key not in answers), None)
        )
        if place is None:
            return asked
        question, at = asked[place], None
        _put(question, place + 1, len(asked), terms, tell)
        while True:
            line = ask(_prompt(question, answers, terms)).strip()
            if line.lower() in BACK:
                at = keys[max(place - 1, 0)]
                if not place:
                    tell(terms.language.text("ask.first"))
                break
            if line == EXPLAIN:
                tell(explained(question, terms))
                continue
            given = line or _at_enter(question, answers)
            if question.optional and line == CLEAR:
                given = NOTHING
            answer, why = answer_refused(terms, question, given, answers)
            if why is None:
                answers[question.key] = answer
                keep(answers)
                break
            tell(why)


def wanted(question: Question, terms: Terms) -> str:
    """Say what an answer looks like."""
    return terms.language.text(f"ask.wanted.{question.kind}", choices=", ".join(question.choices))


def explained(question: Question, terms: Terms) -> str:
    """Say what a question is about: what an answer looks like, its key, who sees it, which gate asks."""
    say = terms.language.text
    name = ".".join(part.partition("[")[0] for part in question.key.split("."))
    lines = [wanted(question, terms), say("ask.help.key", name=question.key)]
    if question.kind is Kind.QUANTITIES:
        labels = {one.name: one.label_nl if terms.language.code == "nl" else one.label for one in ALL}
        lines = [f"{choice:24} {labels[choice]}" for choice in question.choices] + lines[1:]
    if name in _SECRET:
        lines.append(say("ask.help.private"))
    if name in _SHOWN:
        lines.append(say("ask.help.public"))
    reason = _ALSO.get(name) or gate(tuple(name.split(".")))
    if reason.startswith("G"):
        lines.append(say("ask.help.gate", gate=reason, sentence=sentence(reason, terms.language.code)))
    return "\n".join(f"  {line}" for line in lines)


def _put(question: Question, number: int, of: int, terms: Terms, tell: Callable[[str], None]) -> None:
    text = terms.language.text(f"ask.{question.text}", **question.values)
    tell(f"\n{number}/{of}  {text}\n  {terms.language.text(f'ask.{question.text}.why')}")


def _prompt(question: Question, answers: Answers, terms: Terms) -> str:
    given = _at_enter(question, answers)
    if given == NOTHING:
        return f"  ({terms.language.text('ask.optional')}) >" if question.optional else "  >"
    clear = f", {terms.language.text('ask.clear')}" if question.optional else ""
    return f"  [{_shown(given, terms)}{clear}] >"


def _at_enter(question: Question, answers: Answers) -> Any:
    """Return what an empty line means: the answer of before, or the proposal."""
    before = answers.get(question.key)
    if before is not None:
        return before
    return NOTHING if question.proposal is None else question.proposal


def _shown(value: Any, terms: Terms) -> str:
    if isinstance(value, bool):
        return terms.language.text("ask.yes" if value else "ask.no")
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return f"{value['latitude']}, {value['longitude']}"
    return value.isoformat() if isinstance(value, date) else str(value)


def _found(question: Question, given: object, terms: Terms) -> str:
    """Say what was found; a place is not repeated, as in every complaint."""
    if given == NOTHING:
        return terms.language.text("ask.nothing")
    return "…" if question.kind is Kind.PLACE else repr(given)


def _next(asked: Sequence[Question], answers: Answers) -> Question | None:
    return next((question for question in asked if question.key not in answers), None)


def _number(key: str) -> int:
    """Return the number of the board that a key is about, 1 where it is about none."""
    found = re.match(r"devices\[([0-9]{1,3})\]\.", key)
    return int(found[1]) if found else 1
