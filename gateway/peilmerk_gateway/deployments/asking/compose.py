"""The record that answers make, and what the rules of `check` say of it while it is not finished."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from peilmerk_gateway.deployments.as_toml import as_toml
from peilmerk_gateway.deployments.asking.answers import nested
from peilmerk_gateway.deployments.asking.questions import (
    NOTHING,
    OPEN,
    Answers,
    Kind,
    Question,
    answered,
    boards,
    counts,
    measured,
    measured_by,
)
from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.deployment import RecordError, parse
from peilmerk_gateway.deployments.grid import COARSEST_M, GridError, cell_of
from peilmerk_gateway.deployments.template import HEADER, datastream
from peilmerk_gateway.web.language import Language

# window_s, epsilon_leaf, epsilon_day, k, m_assumed (PRIVACY.md's table of profiles).
_PROFILES: Mapping[str, tuple[int, str, str, int, int]] = {
    "standard": (900, "7/10", "3/10", 10, 4),
    "strict": (3600, "7/20", "3/20", 10, 4),
}
_PRIVACY = ("window_s", "epsilon_leaf", "epsilon_day", "k", "m_assumed")
# Answers that are taken apart; what remains are keys of the record.
_TAKEN_APART = ("boards", "themes", "is_public", "is_open_data", "retention_days", "profile", "more")


def text_of(
    asked: Sequence[Question], answers: Answers, language: Language, today: date, fill: Sequence[str] = ()
) -> str:
    """Return the TOML text of the record that answers to these questions make.

    Questions that were left open lack in it, but those in `fill`, which get an answer that the rules take.
    """
    document = _document({question.key: question for question in asked}, answers, language, today, fill)
    return HEADER + as_toml(document)


def complaints(text: str, file: Path) -> list[Complaint]:
    """Return what `check` says of a record."""
    try:
        parse(text.encode(), file)
    except RecordError as reason:
        return reason.complaints
    return []


def refused(
    question: Question,
    answer: Any,
    asked: Sequence[Question],
    answers: Answers,
    language: Language,
    today: date,
) -> list[Complaint]:
    """Return what the rules say of an answer: with it, and with answers that they take to what is open.

    `asked` are the questions that there are with this answer.
    """
    file = Path("record.toml")

    def said(known: Answers) -> list[Complaint]:
        fill = [other.key for other in asked if known.get(other.key, OPEN) == OPEN]
        return complaints(text_of(asked, known, language, today, fill), file)

    found = said({**answers, question.key: answer})
    if not found:
        return []
    # What is wrong without it as well is not its fault.
    without = said({key: value for key, value in answers.items() if key != question.key})
    return [complaint for complaint in found if complaint not in without]


def _document(
    asked: Mapping[str, Question],
    answers: Answers,
    language: Language,
    today: date,
    fill: Sequence[str],
) -> dict[str, Any]:
    known = {key: answers[key] for key in asked if answers.get(key, OPEN) not in (OPEN, NOTHING)}
    for key in fill:
        known[key] = _filled(asked[key], known, today)
    apart = {key: known.pop(key, None) for key in _TAKEN_APART}
    per_board = {
        number: measured_by(known, number) for number in boards({**known, "boards": apart["boards"]})
    }
    all_of_it = {**known, "boards": apart["boards"] or 1}
    for number in per_board:
        known.pop(f"devices[{number}].measures", None)
    if known.get("private_host") and "location.point" in known:
        # Of a home the record has the square only, the coarsest: who lives there can be anybody in it.
        known["location.public_cell"] = _square(known.pop("location.point"))
    tables = nested(known)
    devices = tables.get("devices", [])
    if tables.get("private_host") is False:
        del tables["private_host"]
    privacy = _privacy(all_of_it, apart["profile"], tables.get("privacy", {}))
    signed_by = known.get("signed_by")
    first = {
        "version": "1",
        "date": today,
        "text": language.text("ask.words.first_version"),
        "signed_by": signed_by,
    }
    streams = []
    for quantity in measured(all_of_it):
        names = [
            known.get(f"devices[{number}].name", f"sensor-{number}")
            for number, found in per_board.items()
            if quantity in found
        ]
        public = bool(apart["is_public"])
        streams.append(
            datastream(
                quantity,
                apart["themes"] or [],
                privacy.get("window_s", 900),
                public,
                public and bool(apart["is_open_data"]),
                names if len(names) < len(per_board) else None,
            )
            | {"retention_days": apart["retention_days"]}
        )
    order = ("id", "reference", "project", "status", "version", "signed_by", "public_contact")
    # Beside what was asked; a table without any answer is left out.
    whole = {**tables, "status": "active", "version": "1", "privacy": privacy}
    whole |= {"devices": [{**device, "active": True} for device in devices], "datastreams": streams}
    whole["changelog"] = [first]
    return {key: whole[key] for key in (*order, *(key for key in whole if key not in order)) if key in whole}


def _square(point: Mapping[str, float]) -> str:
    try:
        return cell_of(point["longitude"], point["latitude"], COARSEST_M).id
    except (GridError, KeyError, TypeError):
        return "?"  # which the rules refuse


def _privacy(answers: Answers, profile: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
    terms: dict[str, Any]
    if not counts(answers):
        terms = {**own, "epsilon_leaf": "0", "epsilon_day": "0", "k": 0, "m_assumed": 0}
    elif profile is not None and profile in _PROFILES:
        terms = dict(zip(_PRIVACY, _PROFILES[profile], strict=True))
    else:
        terms = dict(own)
    unprotected = [quantity.name for quantity in measured(answers) if not quantity.is_count]
    return {**terms, "unit": "one passage in one window", "unprotected_quantities": unprotected}


def _filled(question: Question, known: Answers, today: date) -> Any:
    """Return an answer that the rules take, for looking at the others."""
    if question.kind is Kind.DAY:
        return _day_for(question.key, known, today)
    if question.proposal not in (None, NOTHING):
        return question.proposal
    number = zlib.crc32(question.key.encode())
    return {
        # Addresses of radios are personal data.
        Kind.YES_NO: question.key == "on_device_personal_data" and _radio(known),
        Kind.NAME: f"sensor-{number}",
        Kind.PLACE: {"longitude": 5.387, "latitude": 52.155},
        Kind.URL: "https://example.org/",
        Kind.CHOICE: question.choices[0] if question.choices else "",
        # Not a count, about whose terms would have been asked.
        Kind.QUANTITIES: ["temperature"],
        Kind.WORDS: ["-"],
        Kind.DEVICE_ID: _device_id(number),
        Kind.DIGEST: "0" * 64,
    }.get(question.kind, "-")


def _day_for(key: str, known: Answers, today: date) -> date:
    begin, end = answered(known, "active_from"), answered(known, "active_until")
    if key == "active_from":
        return end or today
    if key == "active_until":
        return (begin or today) + timedelta(days=1)
    return today


def _radio(known: Answers) -> bool:
    return any(value is True for key, value in known.items() if key.endswith(".radio_capture"))


def _device_id(number: int) -> str:
    """Return an id that no board will have drawn: of few different characters, another for each number."""
    return "".join("a2"[number >> bit & 1] for bit in range(16))
