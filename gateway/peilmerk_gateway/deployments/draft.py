"""A record that is being written: its terms of privacy, to work with, and all that stands in its way.

`deployment.parse` tells first what is not well formed, and only of what is well formed which gates refuse. Of
a draft both are wanted at once, so what lacks or is wrong is filled in with answers that no gate minds, and
the gates are asked about the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from peilmerk_gateway.deployments import deployment, gates
from peilmerk_gateway.deployments.complaints import Complaint, complain
from peilmerk_gateway.deployments.deployment import Misplaced, RecordError
from peilmerk_gateway.deployments.record import Privacy, Record
from peilmerk_gateway.refusal import Reason
from peilmerk_protocol.quantities import QuantityError
from peilmerk_protocol.quantities_names import by_name

TERMS = ("window_s", "epsilon_leaf", "epsilon_day", "m_assumed", "k")
# An answer can hide another one that is wrong: what follows from it is looked at again.
_ROUNDS = 8
_STREAM = {"measures": "temperature", "observed_property": "temperature", "themes": ["-"], "is_public": False}
_DEVICE = {"type": "-", "model": "-", "firmware_digest": "0" * 64}
_CATEGORIES = (
    "accountable",
    "purpose",
    "technology",
    "data_type",
    "processing",
    "access",
    "storage",
    "retention",
)
_FILLED: Mapping[tuple[str, ...], Any] = {
    ("id",): "draft",
    ("owner",): {"organisation": "-"},
    ("devices",): [{"name": "sensor-1", "device_id": "a" * 16, **_DEVICE}],
    **{("devices", key): value for key, value in _DEVICE.items()},
    ("location",): {"description": "-", "point": {"longitude": 5.387, "latitude": 52.155}},
    ("datastreams",): [_STREAM],
    **{("datastreams", key): value for key, value in _STREAM.items()},
    ("contains_personal_data",): False,
    ("on_device_personal_data",): False,
    ("active_until",): date.max,
    ("dtpr",): dict.fromkeys(_CATEGORIES, "-"),
    ("changelog", "date"): date.min,
    ("permit", "regime"): "notification",
}


@dataclass(frozen=True)
class Draft:
    """What there is of a record. `id` is that of the file where it has none; `counts`: whether a datastream
    of it counts, None where that cannot be told yet. `complaints` is empty for a record that is complete;
    is_all: whether these are all, as far as a record by itself tells.
    """

    id: str
    privacy: Privacy
    counts: bool | None
    complaints: tuple[Complaint, ...]
    is_all: bool


def read(file: Path) -> Draft:
    """Read a record, complete or not. Raises RecordError when there are no terms of privacy to work with."""
    data = deployment.bytes_of(file)
    tables, _ = deployment.tables_of(data, file)
    found, is_all = _complaints(tables, data, file)
    counts = _counts(tables.get("datastreams"))
    name = tables.get("id")
    return Draft(
        name if isinstance(name, str) and name.strip() else file.name.partition(".")[0],
        _terms(tables.get("privacy"), file, must_count=counts is not False),
        counts,
        tuple(found),
        is_all,
    )


def _terms(table: object, file: Path, must_count: bool) -> Privacy:
    """Return the terms, whatever else is in their table."""
    if not isinstance(table, dict):
        text = "not found, wanted a table with " + ", ".join(TERMS)
        raise RecordError(file, [Complaint(Reason.RECORD_BROKEN, "privacy", text)])
    try:
        found = Privacy.model_validate({key: table[key] for key in TERMS if key in table})
    except ValidationError as reason:
        problems = [{**one, "loc": ("privacy", *one["loc"])} for one in reason.errors(include_url=False)]
        raise RecordError(file, complain(Record, problems)) from None
    if must_count:
        lacking = [key for key in ("epsilon_leaf", "m_assumed") if not getattr(found, key)]
        text = "found 0, wanted more, because a count needs it"
        if lacking:
            raise RecordError(
                file, [Complaint(Reason.RECORD_BROKEN, f"privacy.{key}", text) for key in lacking]
            )
    return found


def _counts(streams: object) -> bool | None:
    if not isinstance(streams, list) or not streams:
        return None
    known: list[bool | None] = []
    for stream in streams:
        try:
            known.append(by_name(stream["measures"]).is_count)
        except (QuantityError, KeyError, TypeError):
            known.append(None)
    return True if any(known) else None if None in known else False


def _complaints(tables: Mapping[str, Any], data: bytes, file: Path) -> tuple[list[Complaint], bool]:
    """Return what stands in the way of a record, and whether that is all."""
    try:
        deployment.parse(data, file)
    except RecordError as reason:
        first = reason.complaints
    else:
        return [], True
    record = _mended(tables)
    if record is None:
        return first, False
    more = gates.complaints(record)
    said = {complaint.key for complaint in first}
    if not any(key.partition(".")[0] == "location" for key in said):
        try:
            deployment.cells_of(record)
        except Misplaced as reason:
            more.append(reason.complaint)
    # What was filled in, or is wrong in itself, was told already.
    return [*first, *(one for one in more if not any(_is_within(key, one.key) for key in said))], True


def _is_within(key: str, other: str) -> bool:
    return key == other or (bool(other) and key.startswith((f"{other}.", f"{other}[")))


def _mended(tables: Mapping[str, Any]) -> Record | None:
    """Return the record with what lacks or is wrong filled in; None where that does not help."""
    document = deepcopy(dict(tables))
    mended: set[tuple[str | int, ...]] = set()
    for _ in range(_ROUNDS):
        try:
            return Record.model_validate(document)
        except ValidationError as reason:
            for problem in reason.errors(include_url=False):
                location, lacks = problem["loc"], problem["type"] == "missing"
                # What filling in and leaving out have not mended is wrong as a whole.
                while (*location, lacks) in mended:
                    location, lacks = location[:-1], False
                mended.add((*location, lacks))
                if not _mend(document, location, lacks):
                    return None
    return None


def _mend(document: dict[str, Any], location: Sequence[str | int], lacks: bool) -> bool:
    """Fill in what a complaint is about, or leave it out; False where it is about the record as a whole."""
    at: Any = document
    way: list[tuple[dict[str, Any], str, tuple[str, ...], int]] = []
    names: tuple[str, ...] = ()
    number = 0
    for step in location:
        if isinstance(step, str):
            if not isinstance(at, dict):
                break
            names = (*names, step)
            way.append((at, step, names, number))
            at = at.get(step)
        else:
            if not isinstance(at, list) or step >= len(at):
                break
            number, at = step, at[step]
    if not way:
        return False
    table, key, names, number = way[-1]
    if names == ("devices", "name"):
        table[key] = f"sensor-{number + 1}"
    elif names == ("devices", "device_id"):
        table[key] = "".join("a2"[number >> bit & 1] for bit in range(16))
    elif names == ("datastreams", "observed_property") and isinstance(table.get("measures"), str):
        table[key] = table["measures"]
    elif names in _FILLED:
        table[key] = deepcopy(_FILLED[names])
    elif lacks:
        table[key] = "-"
    else:
        table.pop(key, None)
    return True
