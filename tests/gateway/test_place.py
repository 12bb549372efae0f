"""The square of a home: as fine as enough addresses allow, for ever the same, coarse where nobody knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_street import FIRMWARE, record

from peilmerk_gateway.deployments.deployment import Deployment, RecordError, parse
from peilmerk_gateway.deployments.dwellings import ADDRESSES, DwellingsError, place, read
from peilmerk_gateway.deployments.grid import SIZES_M, Cell, GridError, cell_named, cell_of
from peilmerk_protocol.profile import AIR, Profile

LONGITUDE, LATITUDE = 5.1214, 52.0907
FINE = cell_of(LONGITUDE, LATITUDE)
HOURLY = Profile(1, 3_600, AIR.set, (0, 1), (0, 1), 0, 0)
POINT = f"point = {{ longitude = {LONGITUDE}, latitude = {LATITUDE} }}"


class Counted:
    """A source of one's own: any object that has `within`."""

    def __init__(self, by_corner: dict[tuple[int, int], int]) -> None:
        self.by_corner = by_corner
        self.asked: list[Cell] = []

    def within(self, square: Cell) -> Mapping[tuple[int, int], int]:
        self.asked.append(square)
        return Counter(self.by_corner)


def around(here: int, near: int, far: int) -> Counted:
    """So many addresses in the square of 100 m, so many more within 500 m, and so many more within 1 km."""
    half, whole = cell_of(LONGITUDE, LATITUDE, 500), cell_of(LONGITUDE, LATITUDE, 1_000)

    def corner(cell: Cell, without: Cell) -> tuple[int, int]:
        for east in range(cell.east_m, cell.east_m + cell.size_m, 100):
            if not without.east_m <= east < without.east_m + without.size_m:
                return east, cell.north_m
        raise AssertionError

    outside = whole.east_m - 100, whole.north_m
    return Counted(
        {
            (FINE.east_m, FINE.north_m): here,
            corner(half, FINE): near,
            corner(whole, half): far,
            outside: 1_000,
        }
    )


@pytest.mark.parametrize(
    ("here", "near", "far", "size", "found"),
    [
        (10, 0, 0, 100, 10),
        (9, 1, 0, 500, 10),
        (9, 0, 1, 1_000, 10),
        (0, 10, 90, 500, 10),
        (0, 0, 10, 1_000, 10),
        (50, 50, 50, 100, 50),
    ],
)
def test_the_finest_square_with_enough_addresses(
    here: int, near: int, far: int, size: int, found: int
) -> None:
    chosen = place(LONGITUDE, LATITUDE, around(here, near, far))
    assert (chosen.cell, chosen.addresses) == (cell_of(LONGITUDE, LATITUDE, size), found)


def test_a_home_with_too_few_around_it_is_on_no_map_and_without_a_source_the_coarsest() -> None:
    with pytest.raises(DwellingsError, match="found 9 addresses within 1 km, wanted at least 10") as caught:
        place(LONGITUDE, LATITUDE, around(3, 3, 3))
    assert str(LATITUDE) not in str(caught.value)
    assert place(LONGITUDE, LATITUDE, None) == place(LONGITUDE, LATITUDE, None)
    assert place(LONGITUDE, LATITUDE, None).cell.size_m == 1_000
    assert place(LONGITUDE, LATITUDE, around(10, 20, 70), wanted=30).cell.size_m == 500


def test_a_source_is_asked_for_a_square_and_never_for_a_point() -> None:
    source = around(10, 0, 0)
    place(LONGITUDE, LATITUDE, source)
    assert source.asked == [cell_of(LONGITUDE, LATITUDE, 1_000)]


@settings(max_examples=40)
@given(st.floats(4.4, 6.6), st.floats(51.5, 53.0))
def test_squares_lie_in_each_other_and_their_names_lead_back(longitude: float, latitude: float) -> None:
    """So that a home whose square became coarser has told nothing by the finer one that it did not before."""
    cells = [cell_of(longitude, latitude, size) for size in SIZES_M]
    for finer, coarser in pairwise(cells):
        assert coarser.east_m <= finer.east_m
        assert finer.east_m + finer.size_m <= coarser.east_m + coarser.size_m
        assert coarser.north_m <= finer.north_m
        assert finer.north_m + finer.size_m <= coarser.north_m + coarser.size_m
    assert [cell_named(cell.id) for cell in cells] == cells


@pytest.mark.parametrize(
    "name",
    ["rd250-E1365N4555", "rd500-E1366N4555", "rd1000-E1365N4550", "rd100-E1365", "rd100-E9999N4555", ""],
)
def test_what_is_no_square_is_refused(name: str) -> None:
    with pytest.raises(GridError, match="wanted a square of the Dutch grid"):
        cell_named(name)


def written(folder: Path, text: str) -> Path:
    file = folder / "addresses.csv"
    file.write_text(text, "utf-8")
    return file


def rows(cell: Cell, n: int) -> list[tuple[float, float]]:
    return [(cell.east_m + 1.0 + 7 * k, cell.north_m + 99.0 - 7 * k) for k in range(n)]


def test_addresses_of_the_bag_in_metres(tmp_path: Path) -> None:
    east = cell_of(LONGITUDE, LATITUDE, 1_000).east_m
    lines = [f"{x:.1f};{y:.1f};huis" for x, y in [*rows(FINE, 12), (east - 1.0, FINE.north_m + 1.0)]]
    file = written(tmp_path, "\ufeffX;Y;naam\n" + "\n".join(lines).replace(".", ",") + "\n\n")
    assert place(LONGITUDE, LATITUDE, read(file)).addresses == 12


def test_addresses_of_the_bag_in_degrees(tmp_path: Path) -> None:
    from pyrdnap import RDNAP2018v1

    project = RDNAP2018v1()
    places = [project.reverse(x, y) for x, y in rows(FINE, 10)]
    lines = [f"{float(p.lon):.7f},{float(p.lat):.7f}" for p in places] + ["-2.09,57.15", "3.0,55.9"]
    chosen = place(LONGITUDE, LATITUDE, read(written(tmp_path, "lon,lat\n" + "\n".join(lines))))
    assert (chosen.cell.size_m, chosen.addresses) == (100, 10)


def test_statistics_by_squares_of_which_the_secret_ones_count_as_none(tmp_path: Path) -> None:
    code = FINE.id.removeprefix("rd100-")
    beside = f"E{FINE.east_m // 100 + 1:04d}N{FINE.north_m // 100:04d}"
    text = "crs28992res100m,aantal_inwoners,aantal_woningen\n"
    text += f"{code},40,-99997\n{beside},90,35\nE0001N4000,5,900\n"
    same_half = cell_of(LONGITUDE, LATITUDE, 500)
    assert same_half.east_m <= FINE.east_m + 100 < same_half.east_m + 500
    chosen = place(LONGITUDE, LATITUDE, read(written(tmp_path, text)))
    assert (chosen.cell, chosen.addresses) == (same_half, 35)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found columns none, wanted x and y"),
        ("a,b\n1,2\n", "found columns a, b, wanted x and y"),
        ("x,y\n1,two\n", "line 2: y: found no number"),
        ("x,y\n1\n", "line 2: y: found no number"),
        ("x,y\nnan,1\n", "line 2: x: found no number"),
        ("crs28992res100m,aantal_woningen\nE1N2,5\n", "line 2: found 'E1N2', wanted a square"),
    ],
)
def test_a_file_that_is_no_source_names_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DwellingsError, match=r"addresses\.csv") as caught:
        place(LONGITUDE, LATITUDE, read(written(tmp_path, text)))
    assert said in str(caught.value)


def test_a_source_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(DwellingsError, match="cannot be read"):
        read(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"x,y\n\xff\xfe,1\n")
    with pytest.raises(DwellingsError, match="cannot be read"):
        place(LONGITUDE, LATITUDE, read(tmp_path / "bytes.csv"))


def home(**lines: str) -> Deployment:
    """A record of a private host with these lines instead of its point."""
    text = record("lucht", [("lucht-0", "a" * 16)], HOURLY, notified_at=None)
    assert FIRMWARE.hex() in text
    return parse(
        text.replace(POINT, "\n".join(f"{k} = {v}" for k, v in lines.items())).encode(), Path("lucht.toml")
    )


def said(**lines: str) -> str:
    with pytest.raises(RecordError) as caught:
        home(**lines)
    return str(caught.value)


def test_the_record_of_a_home_needs_no_point() -> None:
    deployment = home(public_cell=f'"{FINE.id}"', addresses="12")
    assert deployment.cells["lucht-0"] == FINE
    assert deployment.record.location.point is None


def test_a_home_whose_addresses_nobody_counted_is_in_the_coarsest_square() -> None:
    point = f"{{ longitude = {LONGITUDE}, latitude = {LATITUDE} }}"
    assert home(point=point).cells["lucht-0"].size_m == 1_000
    coarsest = cell_of(LONGITUDE, LATITUDE, 1_000)
    assert home(public_cell=f'"{coarsest.id}"').cells["lucht-0"] == coarsest
    for size in (100, 500):
        finer = cell_of(LONGITUDE, LATITUDE, size).id
        assert "G1: location.addresses: not found, wanted how many lie" in said(public_cell=f'"{finer}"')


def test_too_few_addresses_are_refused_in_whatever_square() -> None:
    for size in SIZES_M:
        cell = f'"{cell_of(LONGITUDE, LATITUDE, size).id}"'
        few = str(ADDRESSES - 1)
        assert f"G1: location.addresses: found {few}, wanted at least" in said(
            public_cell=cell, addresses=few
        )
        assert home(public_cell=cell, addresses=str(ADDRESSES)).cells["lucht-0"].size_m == size


def test_a_place_is_wanted_and_a_point_must_lie_in_its_square() -> None:
    assert "G1: location.point: not found, wanted an answer" in said()
    point = f"{{ longitude = {LONGITUDE}, latitude = {LATITUDE} }}"
    wrong = said(public_cell='"rd500-E1365N4550"', addresses="20", point=point)
    assert f"wanted '{cell_of(LONGITUDE, LATITUDE, 500).id}', in which location.point lies" in wrong
    assert str(LATITUDE) not in wrong
    assert "G1: location.public_cell: found 'rd300-E1365N4550'" in said(
        public_cell='"rd300-E1365N4550"', addresses="20"
    )


def test_a_municipality_s_record_keeps_its_point_and_its_hundred_metres() -> None:
    text = record("straat", [("lucht-0", "a" * 16)], AIR)
    assert parse(text.encode(), Path("x.toml")).cells["lucht-0"] == FINE
    with pytest.raises(RecordError, match=r"G1: location\.point: not found"):
        parse(text.replace(POINT, f'public_cell = "{FINE.id}"').encode(), Path("x.toml"))


def test_the_square_is_the_same_over_ten_thousand_readings() -> None:
    text = record("lucht", [("lucht-0", "a" * 16)], HOURLY, notified_at=None)
    assert {parse(text.encode(), Path("x.toml")).cells["lucht-0"].id for _ in range(20)} == {
        cell_of(LONGITUDE, LATITUDE, 1_000).id
    }
    assert {cell_of(LONGITUDE, LATITUDE).id for _ in range(10_000)} == {FINE.id}
