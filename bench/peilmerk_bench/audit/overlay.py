"""The shipped sources with a few words of them changed, for mutants: in a folder of their own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from peilmerk_gateway.errors import PeilmerkError


class AuditError(PeilmerkError):
    """The audit cannot be made; the text says what was found and what was wanted."""


@dataclass(frozen=True)
class Change:
    """In file `path` below a room, `old`, which is there exactly once, becomes `new`."""

    path: str
    old: str
    new: str


def changed_copy(room: Path, changes: tuple[Change, ...], folder: Path) -> Path:
    """Copy the Python sources below `room` into `folder` and make the changes; returns `folder`.

    Raises AuditError when a change does not fit the sources: a mutant that changes nothing proves nothing.
    """
    shutil.copytree(room, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for change in changes:
        file = folder / change.path
        text = file.read_text("utf-8") if file.is_file() else ""
        if text.count(change.old) != 1:
            raise AuditError(
                f"{change.path}: found {text.count(change.old)} of {change.old!r}, wanted one: "
                "the mutant does not fit the sources any more"
            )
        file.write_text(text.replace(change.old, change.new), "utf-8")
    return folder
