"""A draft of a record: all that is wrong with it and which gates refuse it, told at once; and its terms."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from peilmerk_gateway.deployments import draft
from peilmerk_gateway.deployments.deployment import RecordError

EXAMPLE = (Path(__file__).parents[2] / "docs" / "deployment-example.toml").read_text("utf-8")


def read(folder: Path, *changes: tuple[str, str]) -> draft.Draft:
    """The example with (pattern, replacement) each made once."""
    text = EXAMPLE
    for pattern, new in changes:
        text, made = re.subn(pattern, new, text, count=1, flags=re.MULTILINE | re.DOTALL)
        assert made == 1, pattern
    file = folder / "street.toml"
    file.write_text(text)
    return draft.read(file)


def said(found: draft.Draft) -> list[str]:
    return [f"{complaint.reason} {complaint.key}" for complaint in found.complaints]


def test_a_record_that_is_complete_has_nothing_in_its_way(tmp_path: Path) -> None:
    found = read(tmp_path, (r"\A", ""))
    assert (found.id, found.counts, found.complaints, found.is_all) == ("cycle-path-example", True, (), True)
    assert (found.privacy.epsilon_leaf, found.privacy.k) == (Fraction(7, 10), 10)


NO_DTPR = (r"^\[dtpr\].*?(?=^\[)", "")
NOT_NOTIFIED = (r"^notified_at.*?$", "")
PERSONAL = (r"^on_device_personal_data = false", "on_device_personal_data = true")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        # What is not well formed does not hide what the gates say.
        ([NO_DTPR, NOT_NOTIFIED], ["G5 dtpr", "G3 notified_at"]),
        (
            [NO_DTPR, PERSONAL],
            [
                "G5 dtpr",
                "G2 purposes[1].legal_ground",
                "G2 purposes[1].privacy_declaration_url",
                "G4 dpia",
            ],
        ),
        ([(r"^id = .*?$", "id = 7"), NOT_NOTIFIED], ["record-broken id", "G3 notified_at"]),
        ([(r"^\[owner\].*?(?=^\[)", ""), NOT_NOTIFIED], ["record-broken owner", "G3 notified_at"]),
        ([(r"^status", "statos"), NOT_NOTIFIED], ["record-broken statos", "G3 notified_at"]),
        ([(r"^device_id.*?$", ""), NOT_NOTIFIED], ["record-broken devices[1].device_id", "G3 notified_at"]),
        (
            [(r"^measures.*?$", 'measures = "horses"'), NOT_NOTIFIED],
            ["G7 datastreams[1].measures", "G3 notified_at"],
        ),
        (
            [(r"^point = .*?$", "point = { longitude = 5.1 }"), NOT_NOTIFIED],
            ["G1 location.point.latitude", "G3 notified_at"],
        ),
        # The same key is told once.
        ([(r"^notified_at.*?$", 'notified_at = "soon"')], ["G3 notified_at"]),
        # Nothing that was filled in is anybody's fault; a place outside the grid is.
        ([NO_DTPR, (r"longitude = [\d.]+", "longitude = 15.0")], ["G5 dtpr", "G1 location.point"]),
    ],
)  # fmt: skip
def test_all_that_is_in_the_way_is_told_at_once(
    tmp_path: Path, changes: list[tuple[str, str]], wanted: list[str]
) -> None:
    found = read(tmp_path, *changes)
    assert sorted(said(found)) == sorted(wanted)
    assert found.is_all


def test_what_cannot_be_looked_past_is_said_to_hide_the_rest(tmp_path: Path) -> None:
    twice = (r"^name = .*?$", 'name = "a"\ndevice_id = "bbbbbbbbbbbbbbbb"\ntype = "-"\nmodel = "-"\n'
             f'firmware_digest = "{"0" * 64}"\n[[devices]]\nname = "a"')  # fmt: skip
    found = read(tmp_path, twice, NOT_NOTIFIED)
    assert [str(one) for one in found.complaints] == ["found device name 'a' twice, wanted each once"]
    assert not found.is_all


def test_terms_alone_are_a_draft(tmp_path: Path) -> None:
    file = tmp_path / "street.toml.draft"
    terms = 'window_s = 900\nepsilon_leaf = "7/10"\nepsilon_day = "3/10"\nm_assumed = 4\nk = 10\n'
    file.write_text(f"[privacy]\n{terms}unit = 3\nepsilon = 1\n")
    found = draft.read(file)
    assert (found.id, found.counts, found.is_all) == ("street", None, True)
    assert "record-broken privacy.unit" in said(found)
    assert "record-broken privacy.epsilon" in said(found)
    assert "G3 notified_at" in said(found)
    file.write_text(f'datastreams = [{{measures = "pm2_5"}}]\n[privacy]\n{terms}')
    assert draft.read(file).counts is False


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "privacy: not found, wanted a table with window_s, epsilon_leaf, epsilon_day, m_assumed, k"),
        ("privacy = 1", "privacy: not found, wanted a table with window_s"),
        ("id = ", "not TOML"),
        ("[privacy]\nwindow_s = 7", "privacy.window_s: found 7, wanted at least 60"),
    ],
)
def test_without_terms_there_is_nothing_to_work_with(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "street.toml"
    file.write_text(text)
    with pytest.raises(RecordError, match=re.escape(f"{file}: {error}")):
        draft.read(file)
