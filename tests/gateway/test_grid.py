"""The grid: where the national grid says a place is, the same cell for ever, and nothing outside of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peilmerk_gateway.deployments.grid import GridError, cell_of

# Points of the certification set of RDNAPTRANS 2018 (NSGI): longitude, latitude (ETRS89), RD east and north.
CERTIFIED = [
    (5.387203657, 52.155172897, 155000.0005, 463000.0011),
    (4.8922, 52.3731, 121290.5649, 487362.2654),
]


@pytest.mark.parametrize(("longitude", "latitude", "east", "north"), CERTIFIED)
def test_a_point_lies_in_its_cell(longitude: float, latitude: float, east: float, north: float) -> None:
    cell = cell_of(longitude, latitude)
    assert (cell.east_m, cell.north_m) == (int(east // 100) * 100, int(north // 100) * 100)
    assert cell.id == f"rd100-E{int(east // 100):04d}N{int(north // 100):04d}"
    assert cell_of(longitude, latitude, 500).size_m == 500


def test_the_outline_is_the_square_around_the_point_counter_clockwise() -> None:
    longitude, latitude = 5.1214, 52.0907
    cell = cell_of(longitude, latitude)
    ring = cell.outline
    assert ring[0] == ring[-1]
    assert len(ring) == 5
    assert min(x for x, _ in ring) < longitude < max(x for x, _ in ring)
    assert min(y for _, y in ring) < latitude < max(y for _, y in ring)
    doubled = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring))
    assert doubled > 0
    # A hundred metres at this latitude, in degrees.
    assert ring[1][0] - ring[0][0] == pytest.approx(100 / 68_500, rel=0.01)
    assert ring[3][1] - ring[0][1] == pytest.approx(100 / 111_270, rel=0.01)
    assert cell_of(*cell.centre) == cell


@given(st.floats(0, 99.9), st.floats(0, 99.9))
def test_every_point_of_a_cell_gives_the_same_cell(right: float, up: float) -> None:
    """So the cell tells nothing of where in it the point is, however often it is published."""
    from pyrdnap import RDNAP2018v1

    place = RDNAP2018v1().reverse(136_700 + max(0.01, right), 455_800 + max(0.01, up))
    assert cell_of(float(place.lon), float(place.lat)).id == "rd100-E1367N4558"


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(7.62, 51.96), (-2.09, 57.15), (52.09, 5.12), (5.12, 49.5), (float("nan"), 52.0), (3.0, 55.9)],
)
def test_outside_of_the_grid_is_refused_without_repeating_the_point(
    longitude: float, latitude: float
) -> None:
    with pytest.raises(GridError, match="outside of the Dutch grid") as caught:
        cell_of(longitude, latitude)
    assert str(latitude) not in str(caught.value)
