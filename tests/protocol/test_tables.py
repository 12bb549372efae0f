"""Quantities, profiles, topics and the rules of the room itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from patience import DEADLINE_S

from peilmerk_protocol import (
    command,
    cose,
    device_ids,
    keys,
    profile,
    quantities,
    quantities_names,
    report,
    topics,
)
from peilmerk_protocol.error import ProtocolError

ROOM = Path(quantities.__file__).parent
MODULES = sorted(ROOM.glob("*.py"))


def test_the_table_of_words_and_the_table_of_the_wire_are_one() -> None:
    assert [quantity.number for quantity in quantities_names.ALL] == list(range(quantities.NUMBER))
    for quantity in quantities_names.ALL:
        constant = quantity.name.upper()
        assert getattr(quantities, constant) == quantity.number
        assert quantities_names.by_name(quantity.name) is quantity
        assert quantities_names.by_number(quantity.number) is quantity
        assert quantity.is_count == bool(quantities.COUNTS >> quantity.number & 1)
        assert quantity.is_count == (quantity.unit == "1" and quantity.name != "samples")
        mean = quantities_names.by_number(quantities.mean_of(quantity.number))
        if quantity.kind == quantities.KIND_EXTREMES:
            assert (quantity.name, mean.kind) == (mean.name + "_extremes", quantities.KIND_MEAN)
            assert (quantity.unit, quantity.scale, quantity.range) == (mean.unit, mean.scale, mean.range)
        else:
            assert mean is quantity
        assert quantity.observed_property.startswith("http")
        assert (quantity.ngsi_ld is None) == (quantity.ngsi_ld_type is None)
    names = [quantity.name for quantity in quantities_names.ALL]
    assert len(set(names)) == len(names)
    for language in ("label", "label_nl"):
        labels = [getattr(quantity, language) for quantity in quantities_names.ALL]
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("name", "unit", "code", "scale", "bounds", "components"),
    [
        ("pm2_5", "ug/m3", "GQ", (1, 10), (0, 10000), 2),
        ("temperature", "Cel", "CEL", (1, 10), (-400, 850), 2),
        ("humidity", "%", "P1", (1, 10), (0, 1000), 2),
        ("samples", "1", "C62", (1, 1), (0, 65535), 1),
        ("bicycle_towards", "1", "C62", (1, 1), (-65536, 65535), 1),
        ("co2", "[ppm]", "59", (1, 1), (0, 40000), 2),
        ("pressure", "hPa", "A97", (1, 10), (3000, 11000), 2),
        ("laeq", "dB[SPL]", "2N", (1, 10), (0, 1500), 1),
        ("completeness", "%", "P1", (1, 1), (0, 100), 1),
        ("temperature_extremes", "Cel", "CEL", (1, 10), (-400, 850), 2),
        ("co2_extremes", "[ppm]", "59", (1, 1), (0, 40000), 2),
        ("pressure_extremes", "hPa", "A97", (1, 10), (3000, 11000), 2),
    ],
)
def test_units_scales_and_ranges(
    name: str, unit: str, code: str, scale: tuple[int, int], bounds: tuple[int, int], components: int
) -> None:
    quantity = quantities_names.by_name(name)
    assert (quantity.unit, quantity.unit_code, quantity.scale) == (unit, code, scale)
    assert (quantity.range, quantity.components) == (bounds, components)


@pytest.mark.parametrize("number", range(quantities.NUMBER))
def test_a_value_fits_up_to_the_edge_and_not_beyond(number: int) -> None:
    low, high = quantities.value_range(number)
    if quantities.kind(number) == quantities.KIND_EXTREMES:
        assert quantities.fits(number, (low, high))
        assert quantities.fits(number, (high, high))
        for wrong in ((low - 1, high), (low, high + 1), (high, low), (low,), (low, low, low), (low, True)):
            assert not quantities.fits(number, wrong)
        return
    rest = (0,) if quantities.components(number) == 2 else ()
    assert quantities.fits(number, (low, *rest))
    assert quantities.fits(number, (high, *rest))
    assert not quantities.fits(number, (low - 1, *rest))
    assert not quantities.fits(number, (high + 1, *rest))
    assert not quantities.fits(number, (low, 0, *rest))
    assert not quantities.fits(number, ())
    assert not quantities.fits(number, (True, *rest))
    if rest:
        assert quantities.fits(number, (low, high - low))
        assert not quantities.fits(number, (low, high - low + 1))
        assert not quantities.fits(number, (low, -1))


@pytest.mark.parametrize("number", [-1, 32, 63, 1000])
def test_unknown_quantities(number: int) -> None:
    for ask in (quantities.kind, quantities.scale, quantities.value_range, quantities_names.by_number):
        with pytest.raises(quantities.QuantityError):
            ask(number)
    with pytest.raises(quantities.QuantityError):
        quantities_names.by_name("passages")
    with pytest.raises(quantities.QuantityError):
        quantities.mask([number])
    with pytest.raises(quantities.QuantityError):
        quantities.members(1 << 32)
    assert quantities.members(quantities.mask([6, 5])) == [5, 6]


def test_built_in_profiles() -> None:
    counter = profile.STANDARD_COUNTER
    assert counter.fields() == [1, 900, 96, 7, 10, 3, 10, 10, 4]
    assert quantities.members(counter.set) == [5, 6]
    assert profile.AIR.fields() == [1, 900, 31, 0, 1, 0, 1, 0, 0]
    assert counter != profile.AIR
    full = [quantities_names.by_number(number).name for number in quantities.members(profile.AIR_FULL.set)]
    means = ["pm2_5", "pm10", "temperature", "humidity"]
    assert full == [*means, "samples", "completeness", *(f"{mean}_extremes" for mean in means)]
    # The figures that a deployment record's gateway compares: a change of either is a change of the contract.
    assert profile.digest(counter).hex()[:16] == "d1626000aa5358b0"
    assert profile.digest(profile.AIR).hex()[:16] == "878f0f083a332307"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epsilon_leaf": (14, 20)}, "epsilon"),
        ({"epsilon_leaf": (0, 1)}, "count-without-noise"),
        ({"epsilon_leaf": (0.7, 1)}, "epsilon"),
        ({"window_s": 7 * 60 * 11}, "window"),
        ({"m": 0}, "m"),
        ({"set": 0}, "set"),
        ({"set": 1 << 32}, "set"),
        ({"revision": True}, "revision"),
    ],
)
def test_a_profile_is_checked_when_it_is_made(change: dict[str, object], reason: str) -> None:
    fields: dict[str, object] = {
        "revision": 1,
        "window_s": 900,
        "set": 96,
        "epsilon_leaf": (7, 10),
        "epsilon_day": (3, 10),
        "k": 10,
        "m": 4,
    }
    assert profile.Profile(**fields) == profile.STANDARD_COUNTER  # type: ignore[arg-type]
    with pytest.raises(profile.ProfileError, match=f"^{reason}$"):
        profile.Profile(**{**fields, **change})  # type: ignore[arg-type]


def test_the_encoders_refuse_what_the_decoders_would() -> None:
    with pytest.raises(report.ReportError, match="range"):
        report.encode(1, 1, 1, 0, {0: (10001, 0)})
    with pytest.raises(report.ReportError, match="values"):
        report.encode(1, 1, 1, 0, {0: (1,)})
    with pytest.raises(report.ReportError, match="set"):
        report.encode(1, 1, 1, 0, {32: (1,)})
    with pytest.raises(report.ReportError, match="seq"):
        report.encode(0, 1, 1, 0, {})
    with pytest.raises(report.ReportError, match="range"):
        report.encode(1, 1, 1, 0, {5: (1.5,)})  # type: ignore[dict-item]
    with pytest.raises(command.CommandError, match="argument"):
        command.Command(1, 1, command.FORGET, 1)
    with pytest.raises(cose.SealError, match="too-large"):
        cose.seal(bytes(32), topics.REPORT, "a" * 16, bytes(cose.MAX_BODY + 1))
    with pytest.raises(topics.TopicError, match="device-id"):
        topics.topic("AA:BB:CC:DD:EE:FF", topics.REPORT)
    with pytest.raises(topics.TopicError, match="kind"):
        topics.topic("a" * 16, 6)
    with pytest.raises(topics.TopicError, match="device-id"):
        device_ids.new_device_id(bytes(6))
    with pytest.raises(keys.KeyUseError, match="root-key"):
        keys.derive(bytes(16), keys.UP)
    with pytest.raises(keys.KeyUseError, match="direction"):
        keys.derive(bytes(32), 3)


def test_one_family_of_errors() -> None:
    for module in (command, cose, keys, profile, quantities, report, topics):
        errors = [thing for name, thing in vars(module).items() if name.endswith("Error")]
        assert errors
        assert all(issubclass(error, ProtocolError) for error in errors)


@pytest.mark.parametrize("path", MODULES, ids=[path.name for path in MODULES])
def test_no_float_can_arise_in_the_room(path: Path) -> None:
    """No float literal, no true division, no float() and no import that a board does not have."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float | complex), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ast.Div), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Name):
            assert node.id not in ("float", "round"), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Import):
            assert {name.name for name in node.names} <= {"hashlib"}, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] == "peilmerk_protocol", f"{path.name}:{node.lineno}"


def test_what_a_board_loads_is_small() -> None:
    """Compiled and loaded by MicroPython: the room's whole weight on a board's heap, in bytes.

    Measured at 64-bit objects; an ESP32's are half as wide, so its share is smaller.
    """
    script = (
        "import gc; gc.collect(); before = gc.mem_alloc()\n"
        "from peilmerk_protocol import cose, report, profile, statement, topics\n"
        "gc.collect(); print(gc.mem_alloc() - before)"
    )
    done = subprocess.run(
        [str(Path(sys.executable).with_name("micropython")), "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={"MICROPYPATH": str(ROOM.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000
