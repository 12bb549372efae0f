"""What is written for people to begin from, the template's records and the demo's, has every export."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from peilmerk_bench.street.plan import House
from peilmerk_bench.street.records import write_records
from peilmerk_gateway.deployments.deployment import Deployment, parse, read
from peilmerk_gateway.deployments.exports.export import KINDS, Wish, export
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_protocol.profile import AIR, STANDARD_COUNTER, Profile

PAGE = "https://sensors.example.org/"


def exported(deployment: Deployment) -> dict[str, bytes]:
    """Every export in every form; OpenDP's registry is about counts alone."""
    wish = Wish("nl", deployment.record.devices[0].name, PAGE)
    counts = any(stream.measures.is_count for stream in deployment.record.datastreams)
    return {
        f"{kind}.{form}": export(deployment, kind, form, wish)
        for kind in KINDS
        for form in KINDS[kind].forms
        if counts or kind != "opendp"
    }


def purpose_of(exports: dict[str, bytes]) -> list[dict[str, str]]:
    chain = json.loads(exports["dtpr.json"])
    (found,) = (category for category in chain["categories"] if category["id"] == "device__purpose")
    elements: list[dict[str, str]] = found["elements"]
    return elements


@pytest.mark.parametrize(("profile", "purpose"), [(STANDARD_COUNTER, "mobility"), (AIR, "health")])
def test_a_record_from_the_template_has_every_export(profile: Profile, purpose: str) -> None:
    text = new_record(
        id="street",
        description="Voorbeeldstraat",
        longitude=5.1214,
        latitude=52.0907,
        devices=[NewDevice("one", "a" * 16, bytes(32), "a type", "a model")],
        profile=profile,
        notified_at=date(2023, 6, 1),
        active_from=date(2024, 1, 1),
        active_until=date(2030, 1, 1),
        organisation="Gemeente Voorbeeld",
        contact="sensoren@voorbeeld.example",
    )
    exports = exported(parse(text.encode(), Path("street.toml")))
    assert purpose_of(exports) == [{"id": purpose}]
    assert all(exports.values())


def test_the_records_of_the_demo_have_every_export_and_rise_by_a_version_when_they_change(
    tmp_path: Path,
) -> None:
    boards = [House("fietspad-1", "counter", 0.0, "a" * 16), House("lucht-1", "air", 0.0, "b" * 16)]
    old, new = ({"counter": digit * 64, "air": "0" * 64} for digit in "12")
    counters, air = tmp_path / "fietspad-voorbeeldstraat.toml", tmp_path / "lucht-voorbeeldstraat.toml"

    def versions() -> list[str]:
        return [read(file).record.version for file in (counters, air)]

    write_records(tmp_path, boards, old)
    for file in (counters, air):
        assert all(exported(read(file)).values())
    first = counters.read_bytes()
    write_records(tmp_path, boards, old)
    assert (counters.read_bytes(), versions()) == (first, ["1", "1"])
    write_records(tmp_path, boards, new)
    assert versions() == ["2", "1"]
    # A street from before, whose record lacked what is written now.
    air.write_text(air.read_text("utf-8").replace('dtpr_purpose = "health"\n', ""), "utf-8")
    write_records(tmp_path, boards, new)
    assert versions() == ["2", "2"]
