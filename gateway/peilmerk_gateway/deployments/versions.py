"""Which version of a record comes after which, and when a changed record must be refused.

What is published carries the version of its record, and whoever signed a version signed its content. So a
version stands for one content for ever: a record with another content under a version that was in force, or
under a lower one, is refused and its deployment stops, because nobody could tell any more under which terms
a figure was published. Comments and layout are not content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.refusal import Reason

_NUMBERS = re.compile(r"v?(\d+(?:[.-]\d+)*)")


@dataclass(frozen=True, slots=True)
class TakenUp:
    """The version of a deployment that was taken up last; `record` is None where its text is not kept."""

    version: str
    digest: str
    record: Record | None


def is_above(new: str, old: str) -> bool:
    """Whether one version comes after another: numbers such as 2, 1.4 or 2026-03, compared one by one.

    What is not numbers comes after nothing and before every number: its order cannot be told.
    """
    numbers = _numbers(new)
    return numbers is not None and numbers > (_numbers(old) or ())


def complaint(record: Record, digest: str, before: TakenUp | None) -> Complaint | None:
    """Say why a record may not follow the one that was taken up before, or None when it may."""
    if before is None or digest == before.digest or record == before.record:
        return None
    if is_above(record.version, before.version):
        return None
    if record.version == before.version:
        why = "because its content changed"
    elif _numbers(record.version) is None:
        why = "as numbers, because its content changed"
    else:
        why = "because that was in force since"
    if before.record is None:
        why += " (the text of before is not kept)"
    return Complaint(
        Reason.RECORD_BROKEN, "version", f"found {record.version!r}, wanted above {before.version!r}, {why}"
    )


def _numbers(version: str) -> tuple[int, ...] | None:
    match = _NUMBERS.fullmatch(version)
    if match is None:
        return None
    numbers = [int(part) for part in re.split("[.-]", match[1])]
    while len(numbers) > 1 and not numbers[-1]:
        # 2.0 is 2.
        numbers.pop()
    return tuple(numbers)
