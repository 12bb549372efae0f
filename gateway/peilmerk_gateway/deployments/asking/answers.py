"""What an answer means, and answers in files: what was kept of an interview, and what is given beforehand.

An answer file is TOML in the form of a record, with the questions' own keys beside (`boards`, `themes`,
`profile`, …). Answers are held flat, {"devices[1].name": …}, as the questions are.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from peilmerk_gateway.deployments.as_toml import as_toml
from peilmerk_gateway.deployments.asking.questions import MOST_BOARDS, NOTHING, OPEN, Kind, Question
from peilmerk_gateway.deployments.grid import LATITUDE, LONGITUDE
from peilmerk_gateway.errors import PeilmerkError

_STEP = re.compile(r"([^.\[\]]+)(?:\[([1-9]\d{0,2})\])?")
YES = frozenset({"ja", "j", "yes", "y", "true"})
_NO = frozenset({"nee", "n", "no", "false"})
_NUMBERS = frozenset({Kind.BOARDS, Kind.WHOLE, Kind.WINDOW})


class AnswerError(PeilmerkError):
    """An answer is not what was asked for, or a file of answers cannot be used."""


def take(question: Question, given: object) -> Any:
    """Return the answer that was given as text, or as a value of TOML. Raises AnswerError, told elsewhere."""
    if isinstance(given, str):
        return _read(question, given.strip())
    kind = question.kind
    fits = (
        isinstance(given, bool)
        if kind is Kind.YES_NO
        else isinstance(given, date) and not isinstance(given, datetime)
        if kind is Kind.DAY
        else isinstance(given, int) and not isinstance(given, bool)
        if kind in _NUMBERS
        else isinstance(given, list) and all(isinstance(item, str) for item in given)
        if kind in (Kind.QUANTITIES, Kind.WORDS)
        else kind is Kind.PLACE and isinstance(given, dict)
    )
    if not fits:
        raise AnswerError
    if isinstance(given, list):
        return _read(question, ",".join(given))
    return _within(question, given) if isinstance(given, int) else given


def _within(question: Question, number: int) -> int:
    if question.kind is Kind.BOARDS and not 1 <= number <= MOST_BOARDS:
        raise AnswerError
    return number


def _read(question: Question, text: str) -> Any:
    if text == OPEN and not question.needed:
        return OPEN
    if text == NOTHING and question.optional:
        return NOTHING
    if not text:
        raise AnswerError
    kind = question.kind
    if kind is Kind.YES_NO:
        if text.lower() not in YES | _NO:
            raise AnswerError
        return text.lower() in YES
    if kind is Kind.DAY:
        return _day(text)
    if kind is Kind.PLACE:
        return _place(text)
    if kind in _NUMBERS:
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise AnswerError
        return _within(question, int(text))
    if kind is Kind.CHOICE:
        if text.lower() not in question.choices:
            raise AnswerError
        return text.lower()
    if kind in (Kind.QUANTITIES, Kind.WORDS):
        items = [item.strip() for item in text.split(",") if item.strip()]
        if not items or len(set(items)) < len(items):
            raise AnswerError
        if kind is Kind.QUANTITIES and not set(items) <= set(question.choices):
            raise AnswerError
        return items
    return text


def _day(text: str) -> date:
    """Read 2027-12-31, or 31-12-2027 as the Dutch write it."""
    turned = re.fullmatch(r"(\d{1,2})[-/](\d{1,2})[-/](\d{4})", text)
    if turned:
        text = f"{turned[3]}-{int(turned[2]):02}-{int(turned[1]):02}"
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise AnswerError from None


def _place(text: str) -> dict[str, float]:
    """Read two numbers; in the Netherlands the larger one is the latitude, whatever the order."""
    numbers = re.findall(r"\d+\.\d+", text)
    if len(numbers) != 2 or re.sub(r"\d+\.\d+", "", text).strip(" ,;°NE"):
        raise AnswerError
    longitude, latitude = sorted(map(float, numbers))
    if not (LONGITUDE[0] <= longitude <= LONGITUDE[1] and LATITUDE[0] <= latitude <= LATITUDE[1]):
        raise AnswerError
    return {"longitude": longitude, "latitude": latitude}


def flat(tables: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every answer in a document."""
    for name, value in tables.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict) and name != "point":
            yield from flat(value, key)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for number, item in enumerate(value, 1):
                yield from flat(item, f"{key}[{number}]")
        else:
            yield key, value


def nested(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers as the tables of a document; the way back of `flat`."""
    document: dict[str, Any] = {}
    for key, value in answers.items():
        at: Any = document
        *way, last = _STEP.findall(key)
        for name, number in way:
            if not number:
                at = at.setdefault(name, {})
                continue
            items = at.setdefault(name, [])
            while len(items) < int(number):
                items.append({})
            at = items[int(number) - 1]
        at[last[0]] = value
    return document


def read_file(file: Path) -> dict[str, Any]:
    """Read a file of answers. Raises AnswerError."""
    try:
        return dict(flat(tomllib.loads(file.read_text("utf-8"))))
    except OSError as reason:
        raise AnswerError(f"{file}: cannot be read: {reason.strerror}") from reason
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise AnswerError(f"{file}: not TOML: {reason}") from reason


def read_given(given: Sequence[str]) -> dict[str, Any]:
    """Read answers of the form KEY=VALUE. Raises AnswerError."""
    found = {}
    for one in given:
        key, mark, value = one.partition("=")
        steps = key.strip()
        if not mark or ".".join(name + (f"[{n}]" if n else "") for name, n in _STEP.findall(steps)) != steps:
            raise AnswerError(f"--set: found {one!r}, wanted KEY=VALUE such as devices[1].name=fietspad-1")
        found[steps] = value
    return found


def keep(file: Path, answers: Mapping[str, Any]) -> None:
    """Write answers to a file that only its owner reads, in one step. Raises AnswerError."""
    draft = file.with_name(file.name + ".part")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(as_toml(nested(answers)))
        draft.replace(file)
    except OSError as reason:
        raise AnswerError(f"{file}: cannot be written: {reason.strerror}") from reason
