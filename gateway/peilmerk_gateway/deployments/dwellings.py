"""How coarse the square of a home must be, so that enough other addresses lie in it.

A sensor at somebody's home is on the map as a square in which at least ADDRESSES addresses lie: 100 m where
that is enough, else 500 m, else 1 km, each within the next. Whoever knows only the square is right about
the address in one case of ten at most. Ten, because it is the threshold below which no count is published
either, and twice what Statistics Netherlands asks of its own squares; a street in a town has it in 100 m, a
village in 500 m, and most farmland in 1 km. Where there are too few even then, the home is on no map.

Fails closed: without a source of addresses the square is the coarsest one; a square, or a figure, that the
source does not have counts as empty. The square is found once, when the host joins, and is written into the
deployment record; it never changes by itself, however the source changes, since two squares of one home would
tell more than either.

A source is anything that has `within` (`Dwellings`). `read` makes one of a CSV file, of either form:

- addresses, a row each, as extracted from the BAG: columns x and y (RD, EPSG:28992, metres), or lon and lat
  (WGS84, degrees);
- the statistics of Statistics Netherlands by squares of 100 m: columns crs28992res100m ("E1367N4558") and
  aantal_woningen; figures that it keeps secret (negative ones) count as none.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peilmerk_gateway.deployments.grid import COARSEST_M, SIZES_M, Cell, GridError, cell_of, square_of
from peilmerk_gateway.errors import PeilmerkError

ADDRESSES = 10

_SQUARE = re.compile(r"E(\d{4})N(\d{4})")
_POINTS = (("x", "y"), ("rd_x", "rd_y"), ("east_m", "north_m"))
_DEGREES = (("lon", "lat"), ("longitude", "latitude"))
_STATISTICS = ("crs28992res100m", "aantal_woningen")


class DwellingsError(PeilmerkError):
    """A source of addresses cannot be read, or has too few; no text repeats a home's place."""


class Dwellings(Protocol):
    """Knows where people live."""

    def within(self, square: Cell) -> Mapping[tuple[int, int], int]:
        """Return how many addresses lie in each square of 100 m of a larger one, by its south-west corner
        (east, north) in metres; squares without any may be left out. Raises DwellingsError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """The square of a home, and how many addresses lie in it; None where no source could say."""

    cell: Cell
    addresses: int | None


def place(longitude: float, latitude: float, dwellings: Dwellings | None, wanted: int = ADDRESSES) -> Place:
    """Return the finest square around a point (degrees WGS84) with at least `wanted` addresses in it.

    Raises DwellingsError when even the coarsest has fewer, and GridError outside of the Dutch grid.
    """
    coarsest = cell_of(longitude, latitude, COARSEST_M)
    if dwellings is None:
        return Place(coarsest, None)
    counted = dwellings.within(coarsest)
    found = 0
    for size in SIZES_M:
        cell = cell_of(longitude, latitude, size)
        found = sum(n for corner, n in counted.items() if _holds(cell, *corner))
        if found >= wanted:
            return Place(cell, found)
    raise DwellingsError(
        f"found {found} addresses within 1 km, wanted at least {wanted}: a sensor at this home cannot be "
        "on a map, so nothing of it may be public"
    )


def _holds(cell: Cell, east: float, north: float) -> bool:
    inside_east = cell.east_m <= east < cell.east_m + cell.size_m
    return inside_east and cell.north_m <= north < cell.north_m + cell.size_m


def read(file: Path) -> Dwellings:
    """Return the source that a CSV file is; told apart by its columns. Raises DwellingsError."""
    columns = {name.lower(): name for name in _Rows(file).columns}
    if all(name in columns for name in _STATISTICS):
        return Statistics(file, columns[_STATISTICS[0]], columns[_STATISTICS[1]])
    for pairs, degrees in ((_POINTS, False), (_DEGREES, True)):
        for first, second in pairs:
            if first in columns and second in columns:
                return Addresses(file, columns[first], columns[second], degrees=degrees)
    raise DwellingsError(
        f"{file}: found columns {', '.join(columns.values()) or 'none'}, wanted x and y, lon and lat, or "
        f"{' and '.join(_STATISTICS)}"
    )


class _Rows:
    """The rows of a CSV file, each a mapping, read one by one: the file may be the whole country's."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with self._open() as rows:
            self.columns = next(rows.reader, [])

    def _open(self) -> _Open:
        return _Open(self.file)

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        with self._open() as rows:
            names = next(rows.reader, [])
            for row in rows.reader:
                if row:
                    yield rows.reader.line_num, dict(zip(names, row, strict=False))


class _Open:
    """An open CSV file, its separator told by its first line; whatever goes wrong is a DwellingsError."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> _Open:
        try:
            self._handle = self._file.open(encoding="utf-8-sig", newline="")
            first = self._handle.readline()
            self._handle.seek(0)
        except (OSError, UnicodeDecodeError) as reason:
            raise DwellingsError(f"{self._file}: cannot be read as CSV: {type(reason).__name__}") from None
        self.reader = csv.reader(self._handle, delimiter=";" if first.count(";") else ",")
        return self

    def __exit__(self, kind: object, reason: BaseException | None, trace: object) -> None:
        self._handle.close()
        if isinstance(reason, csv.Error | UnicodeDecodeError | OSError):
            raise DwellingsError(
                f"{self._file}: line {self.reader.line_num}: cannot be read as CSV"
            ) from None


class Addresses:
    """Addresses, a row each."""

    def __init__(self, file: Path, first: str, second: str, *, degrees: bool) -> None:
        self._rows = _Rows(file)
        self._names = first, second
        self._degrees = degrees

    def within(self, square: Cell) -> Counter[tuple[int, int]]:
        """See `Dwellings`."""
        found: Counter[tuple[int, int]] = Counter()
        longitudes, latitudes = zip(*square.outline, strict=True)
        for line, row in self._rows:
            first, second = (_number(self._rows.file, line, name, row.get(name)) for name in self._names)
            if self._degrees:
                # A country's addresses are not all projected: first by the degrees.
                near = min(longitudes) <= first <= max(longitudes) and min(latitudes) <= second <= max(
                    latitudes
                )
                corner = _corner(first, second) if near else None
            else:
                corner = int(first // 100) * 100, int(second // 100) * 100
            if corner is not None and _holds(square, *corner):
                found[corner] += 1
        return found


def _corner(longitude: float, latitude: float) -> tuple[int, int] | None:
    try:
        return square_of(longitude, latitude)
    except GridError:
        return None


class Statistics:
    """Numbers of dwellings by squares of 100 m."""

    def __init__(self, file: Path, square: str, dwellings: str) -> None:
        self._rows = _Rows(file)
        self._names = square, dwellings

    def within(self, square: Cell) -> Counter[tuple[int, int]]:
        """See `Dwellings`."""
        found: Counter[tuple[int, int]] = Counter()
        for line, row in self._rows:
            name, n = (row.get(column) for column in self._names)
            code = _SQUARE.fullmatch(name or "")
            if code is None:
                raise DwellingsError(
                    f"{self._rows.file}: line {line}: found {name!r}, wanted a square such as E1367N4558"
                )
            corner = int(code[1]) * 100, int(code[2]) * 100
            if _holds(square, *corner):
                found[corner] += max(0, int(_number(self._rows.file, line, self._names[1], n or "0")))
        return found


def _number(file: Path, line: int, column: str, text: str | None) -> float:
    try:
        number = float((text or "").replace(",", "."))
    except ValueError:
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        # Not repeated: in the wrong file it may be anything.
        raise DwellingsError(f"{file}: line {line}: {column}: found no number, wanted one")
    return number
