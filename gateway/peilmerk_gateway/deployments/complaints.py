"""What is wrong with a record, said to the person who wrote it: which key, what was found and wanted."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from peilmerk_gateway.refusal import Reason

# The questions without whose answer nothing may be published (G1), and the eight DTPR categories (G5). A key
# here stands for everything beneath it; numbers in lists are left out.
_GATES: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    (Reason.G1, ("devices", "type")),
    (Reason.G1, ("datastreams", "themes")),
    (Reason.G1, ("location",)),
    (Reason.G1, ("devices", "point")),
    (Reason.G1, ("contains_personal_data",)),
    (Reason.G1, ("active_until",)),
    (Reason.G5, ("dtpr",)),
    (Reason.G7, ("datastreams", "measures")),
    (Reason.G7, ("datastreams", "observed_property")),
)

# What a person would call what pydantic's types of complaint ask for.
_WANTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "date_from_datetime_parsing": "a date such as 2027-12-31",
    "date_parsing": "a date such as 2027-12-31",
    "date_type": "a date such as 2027-12-31",
    "float_type": "a number",
    "float_parsing": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "some text",
    "string_type": "text",
    "too_long": "at most {max_length}",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
    "url_parsing": "an http or https address",
    "url_scheme": "an http or https address",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong with a record: the gate it fails, the key, and what was found and wanted."""

    reason: Reason
    key: str
    text: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        gate = f"{self.reason}: " if self.reason.startswith("G") else ""
        return f"{gate}{key}{self.text}"


def complain(model: type[BaseModel], problems: Sequence[Any]) -> list[Complaint]:
    """Turn pydantic's list of errors about `model` into complaints, in the order of the keys."""
    made = []
    for problem in problems:
        # A list with one bad item is counted without it; the item's own complaint says enough.
        if problem["type"] == "too_short" and problem["input"]:
            continue
        location = tuple(problem["loc"])
        # A key too many is a slip of the pen, not a question left open.
        reason = Reason.RECORD_BROKEN if problem["type"] == "extra_forbidden" else gate(location)
        made.append(Complaint(reason, key(location), _text(model, problem)))
    return sorted(set(made), key=lambda complaint: (complaint.key, complaint.text))


def gate(location: Sequence[str | int]) -> Reason:
    """Return the refusal that a fault at this place of a record leads to."""
    names = tuple(step for step in location if isinstance(step, str))
    for reason, where in _GATES:
        if names[: len(where)] == where:
            return reason
    # Without any device there is no type, without any datastream no theme.
    return Reason.G1 if names in (("devices",), ("datastreams",)) else Reason.RECORD_BROKEN


def key(location: Sequence[str | int]) -> str:
    """Write ('devices', 0, 'type') as a person would: devices[1].type, counting from one."""
    text = ""
    for step in location:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _text(model: type[BaseModel], problem: Any) -> str:
    kind = problem["type"]
    if "point" in problem["loc"] and kind not in ("missing", "extra_forbidden"):
        # Whatever stands there may be a place, and complaints go into logs.
        return "found something else, wanted longitude and latitude in degrees"
    if kind == "missing":
        return "not found, wanted an answer"
    if kind == "extra_forbidden":
        return _unknown(model, problem["loc"])
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type"):
        return f"found {_found(problem['input'])}, wanted a table"
    wanted = _WANTED.get(kind) or problem["msg"].removeprefix("Input should be ")
    try:
        wanted = wanted.format_map(problem.get("ctx", {}))
    except KeyError:
        pass
    return f"found {_found(problem['input'])}, wanted {wanted}"


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """Say that a key is not part of a record, with the nearest one that is."""
    for step in location[:-1]:
        if isinstance(step, str) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation) or model
    near = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    wanted = f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(model.model_fields)}"
    return f"no such key, {wanted}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the table's model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for part in typing.get_args(annotation):
        if (found := _model_in(part)) is not None:
            return found
    return None
