"""The catalogue of sensors: it says what the drivers are, and the page in docs is what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from patience import DEADLINE_S
from typer.testing import CliRunner

from peilmerk_protocol import profile, quantities, quantities_names
from peilmerk_provisioning import bundle, sensing
from peilmerk_provisioning.cli import app
from peilmerk_provisioning.errors import SensorError
from peilmerk_provisioning.kinds import KINDS, node_settings

ROOT = Path(__file__).parents[2]
FOUND = sensing.catalogue()
MICROPYTHON = Path(sys.executable).with_name("micropython")

# Makes each entry's driver and tells its quantities and every key it asked for with its limits.
DRIVERS = """
import json, sys
from node import sensing

asked = {}
whole = sensing.whole
def noted(spec, key, lowest, highest, default=None):
    asked[key] = [lowest, highest, default]
    return whole(spec, key, lowest, highest, default)
sensing.whole = noted

class Spec:
    def __init__(self, entry):
        self.entry = entry
    def get(self, key, default=None):
        asked.setdefault(key, None)
        return self.entry.get(key, default)
    def __getitem__(self, key):
        asked.setdefault(key, None)
        return self.entry[key]
    def __contains__(self, key):
        asked.setdefault(key, None)
        return key in self.entry

for line in sys.stdin.read().splitlines():
    asked.clear()
    driver = sensing.load(Spec(json.loads(line)))
    health = [driver.good, driver.faults, driver.damaged, driver.resets]
    print(json.dumps([list(driver.quantities), asked, health, driver.expected(86400)]))
"""

NEEDED: dict[str, dict[str, Any]] = {
    "radio": {"from": 1_772_438_400, "until": 1_772_697_600, "area": "Market square, north side"},
}
"""What an entry needs that has no place on the standard board."""


def variants(name: str) -> list[dict[str, Any]]:
    """Entries of a driver: every choice of every key, both wirings, and all that may be left out said."""
    row = FOUND[name]
    base = {"driver": name} | row.get("standard", {}) | NEEDED.get(name, {})
    said = {key["key"]: 5 for key in row["keys"] if key.get("optional")}
    made = [base | said]
    for key in row["keys"]:
        made += [base | said | {key["key"]: choice} for choice in key.get("choices", ())]
    if "or_keys" in row:
        # Pins 1, 2, 3 …
        other = {key["key"]: number for number, key in enumerate(row["or_keys"], start=1)}
        made.append({"driver": name} | other)
    if name == "pulse_pair":
        made = [entry | {"spacing_mm": 1000} for entry in made]
    return made


def load(entries: list[dict[str, Any]]) -> list[tuple[list[int], dict[str, Any], list[int], int]]:
    path = os.pathsep.join(
        str(folder) for folder in (ROOT / "tests/firmware/shim", ROOT / "firmware", ROOT / "protocol")
    )
    done = subprocess.run(
        [str(MICROPYTHON), "-c", DRIVERS],
        env={**os.environ, "MICROPYPATH": path + os.pathsep + ".frozen"},
        input="\n".join(map(json.dumps, entries)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", FOUND)
def test_the_catalogue_is_what_the_driver_is(name: str) -> None:
    row = FOUND[name]
    entries = variants(name)
    told = load(entries)
    given = {number for numbers, _, _, _ in told for number in numbers}
    assert sorted(row["quantities"]) == sorted(quantities_names.by_number(n).name for n in given)
    keys = {key["key"]: key for key in row["keys"] + row.get("or_keys", [])}
    asked = {key for _, of, _, _ in told for key in of} - {"driver"}
    assert asked == set(keys)
    limits = told[0][1] | told[-1][1]
    for key, limit in limits.items():
        if limit is None or "lowest" not in keys[key]:
            continue
        lowest, highest, default = limit
        assert (lowest, highest) == (keys[key]["lowest"], keys[key]["highest"]), key
        if key not in NEEDED.get(name, {}) and (name, key) != ("pulse_pair", "spacing_mm"):
            assert default == keys[key].get("default"), key
    for entry, (numbers, _, health, expected) in zip(entries, told, strict=True):
        assert health == [0, 0, 0, 0]
        sampled = not quantities.is_count(numbers[0])
        assert (expected > 0) == sampled
        if sampled:
            # Deploying knows what a sensor gives as it is set.
            agreed = sensing.profile_for(profile.AIR, [entry])
            assert agreed.set == quantities.mask([*numbers, quantities.SAMPLES])


def test_every_driver_is_in_the_catalogue() -> None:
    registered = set()
    for path in (ROOT / "firmware/node/sensing").glob("*.py"):
        registered |= set(re.findall(r'^register\("(\w+)"', path.read_text("utf-8"), re.MULTILINE))
    assert registered == set(FOUND)
    assert all(row["kind"] in KINDS for row in FOUND.values())


def test_the_page_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["sensing", "--markdown"])
    assert printed.exit_code == 0
    assert (ROOT / "docs/sensing.md").read_text("utf-8") == printed.stdout, (
        "peilmerk device sensing --markdown > docs/sensing.md"
    )
    for name in FOUND:
        assert f"### `{name}`" in printed.stdout


def test_the_command_speaks_to_people_and_to_scripts() -> None:
    lines = CliRunner().invoke(app, ["sensing"]).stdout.splitlines()
    assert len(lines) == len(FOUND)
    assert re.fullmatch(r"scd4x +air +co2, temperature, humidity", next(x for x in lines if "scd4x" in x))
    told = json.loads(CliRunner().invoke(app, ["sensing", "--json"]).stdout)["figures"]["sensors"]
    barometer = next(one for one in told if one["driver"] == "bme280")
    assert barometer["quantities"][0] == {
        "name": "pressure",
        "unit": "hPa",
        "lowest": 300.0,
        "highest": 1100.0,
    }
    assert barometer["keys"][-1]["default"] == 30


def test_sensors_are_taken_from_the_standard_board_unless_said() -> None:
    made = sensing.entries("air", ["pmsx003:model=5003t,power=13", "sps30:uart=1,tx=17,rx=16", "bme280"])
    assert made == [
        {"driver": "pmsx003", "uart": 2, "tx": 26, "rx": 25, "model": "5003t", "power": 13},
        {"driver": "sps30", "uart": 1, "tx": 17, "rx": 16},
        {"driver": "bme280", "i2c": 0, "scl": 22, "sda": 21},
    ]
    assert sensing.entries("air", ["sht3x:address=0x45"])[0]["address"] == 0x45
    assert sensing.entries("counter", ["beam_pair:class=vehicle"])[0]["class"] == "vehicle"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["lidar"], "found --sensor 'lidar', wanted one of sds011, pmsx003,"),
        (["beam_pair"], "found --sensor 'beam_pair', wanted one of .* for a node that is air"),
        (["sht3x:colour=1"], "--sensor sht3x:colour=1: found key 'colour', wanted one of i2c, scl, sda"),
        (["sht3x:address"], "--sensor sht3x:address: found 'address', wanted key=value"),
        (["sht3x:address=70"], "--sensor sht3x:address=70: address: found '70', wanted 68 to 69"),
        (["sht3x:address=x"], "--sensor sht3x:address=x: address: found 'x', wanted 68 to 69"),
        (["pmsx003:model=9"], "--sensor pmsx003:model=9: model: found '9', wanted one of 3003, 5003,"),
        (["sps30:uart=1"], "--sensor sps30:uart=1: found no tx, rx, wanted sps30:tx=…"),
        (["sds011", "pmsx003:uart=1"], "found sds011 and pmsx003 both on UART 1, wanted them apart"),
        (["sds011", "sht3x:scl=17"], "found sds011 and scl of i2c 0 both on pin 17, wanted them apart"),
        (["sht3x", "bme280:scl=21,sda=22"], "found sda of i2c 0 and scl of i2c 0 both on pin 21"),
    ],
)
def test_a_sensor_that_cannot_be_is_refused_in_one_line(asked: list[str], said: str) -> None:
    with pytest.raises(SensorError, match=said):
        sensing.entries("air", asked)


def test_an_air_node_with_other_sensors_starts_with_a_profile_of_what_they_sample() -> None:
    made = sensing.entries("air", ["pmsx003", "scd4x", "bme280", "dnms"])
    agreed = sensing.profile_for(profile.AIR, made)
    wanted = (
        "pm1",
        "pm2_5",
        "pm10",
        "co2",
        "temperature",
        "humidity",
        "pressure",
        "laeq",
        "lamax",
        "samples",
    )
    assert agreed.set == quantities.mask([quantities_names.by_name(name).number for name in wanted])
    settings = node_settings("air", made, agreed)
    assert settings["sensors"] == made
    assert settings["profile"]["set"] == agreed.set
    same = sensing.profile_for(profile.AIR, sensing.entries("air", ["sds011", "sht3x"]))
    assert same is profile.AIR
    counting = sensing.entries("counter", ["beam_pair"])
    assert sensing.profile_for(profile.STANDARD_COUNTER, counting) is profile.STANDARD_COUNTER


def test_a_board_gets_the_drivers_that_were_named_and_what_they_share() -> None:
    made = sensing.entries("air", ["sps30:uart=1,tx=17,rx=16"])
    built = bundle.build(kind="air", drivers=[one["driver"] for one in made])
    files, program = built.files, built.program
    assert program is not None
    names = {name.rpartition(".")[2] for name in program.part if name.startswith("node.sensing.")}
    assert {"sps30", "shdlc", "frames", "sensirion", "sampler"} <= names
    assert not {"scd4x", "dnms", "beam_pair"} & names
    assert not [path for path in files if path.endswith(".toml")]


def test_bluetooth_is_asked_for_with_its_period_and_area() -> None:
    area = "Market square, north side"
    begin, until = datetime(2026, 3, 2, 8), datetime(2026, 3, 5)
    assert sensing.radio(None, None, None) is None
    entry = sensing.radio(begin, until, area)
    assert entry == {"driver": "radio", "from": 1772438400, "until": 1772668800, "area": area}
    for asked, said in (
        ((begin, until, None), "found --radio-… in part"),
        (
            (until, begin, area),
            "found a period from 2026-03-05 to 2026-03-02, wanted one of at most 366 days",
        ),
        ((begin, datetime(2027, 3, 4), area), "wanted one of at most 366 days"),
        ((begin, until, "Market square"), "wanted where it listens in 20 letters or more"),
    ):
        with pytest.raises(SensorError, match=said):
            sensing.radio(*asked)
    source = (ROOT / "firmware/node/sensing/radio.py").read_text("utf-8")
    assert f"_NO_AREA = const({sensing.RADIO_AREA})" in source
    assert f"_LONGEST_S = const({sensing.RADIO_DAYS * 86400})" in source
