"""What is wrong with a record, said to the person who wrote it: which key, what was found and wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from peilmerk_gateway import toml_words
from peilmerk_gateway.refusal import Reason

# The questions without whose answer nothing may be published (G1), and the eight DTPR categories (G5). A key
# here stands for everything beneath it; numbers in lists are left out.
_GATES: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    (Reason.G1, ("devices", "type")),
    (Reason.G1, ("datastreams", "themes")),
    (Reason.G1, ("location",)),
    (Reason.G1, ("devices", "point")),
    (Reason.G1, ("contains_personal_data",)),
    (Reason.G1, ("on_device_personal_data",)),
    (Reason.G1, ("active_until",)),
    (Reason.G3, ("notified_at",)),
    (Reason.G3, ("permit",)),
    (Reason.G4, ("dpia",)),
    (Reason.G8, ("devices", "radio_capture")),
    (Reason.G5, ("dtpr",)),
    (Reason.G7, ("datastreams", "measures")),
    (Reason.G7, ("datastreams", "observed_property")),
)


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
        if toml_words.is_told_elsewhere(problem):
            continue
        location = tuple(problem["loc"])
        # A key too many is a slip of the pen, not a question left open.
        reason = Reason.RECORD_BROKEN if problem["type"] == "extra_forbidden" else gate(location)
        made.append(Complaint(reason, toml_words.key(location), _text(model, problem)))
    return sorted(set(made), key=lambda complaint: (complaint.key, complaint.text))


def gate(location: Sequence[str | int]) -> Reason:
    """Return the refusal that a fault at this place of a record leads to."""
    names = tuple(step for step in location if isinstance(step, str))
    for reason, where in _GATES:
        if names[: len(where)] == where:
            return reason
    # Without any device there is no type, without any datastream no theme.
    return Reason.G1 if names in (("devices",), ("datastreams",)) else Reason.RECORD_BROKEN


_OF_PERSONS = ("owner", "public_contact", "signed_by")


def _text(model: type[BaseModel], problem: Any) -> str:
    kind = problem["type"]
    if "point" in problem["loc"] and kind not in ("missing", "extra_forbidden"):
        # Whatever stands there may be a place, and complaints go into logs.
        return "found something else, wanted longitude and latitude in degrees"
    if kind == "missing":
        return "not found, wanted an answer"
    if kind == "extra_forbidden":
        return f"no such key, {toml_words.nearest(model, problem['loc'])}"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type"):
        return f"found {toml_words.found(problem['input'])}, wanted a table"
    # Who somebody is and how to reach them: complaints go into logs.
    return toml_words.found_and_wanted(problem, shown=problem["loc"][0] not in _OF_PERSONS)
