"""Short names: the most used get the shortest, and none is one that something else goes by."""

from __future__ import annotations

import builtins
import keyword
import string
from collections.abc import Container, Iterator
from pathlib import Path

__all__ = ["FOREIGN", "LETTERS", "shorts"]

FOREIGN = frozenset(
    line
    for line in Path(__file__).with_name("foreign.txt").read_text("utf-8").split("\n")
    if line and not line.startswith("#")
) | frozenset(dir(builtins))
"""Names that MicroPython's modules, types and functions have and that the firmware's own attributes share."""

LETTERS = string.ascii_lowercase


def shorts(taken: Container[str]) -> Iterator[str]:
    """Yield names of one letter, then of two characters, that are not in `taken`."""
    for first in string.ascii_letters:
        yield from _free(first, taken)
    for first in string.ascii_letters:
        for second in string.ascii_letters + string.digits:
            yield from _free(first + second, taken)


def _free(name: str, taken: Container[str]) -> Iterator[str]:
    if name not in taken and name not in FOREIGN and not keyword.iskeyword(name):
        yield name
