"""The sizes that the contract promises, and the measurement that prints them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peilmerk_bench.measure import wire
from peilmerk_protocol import cose, report, topics

# Figures, not bounds: a change of one byte anywhere shows here.
SIZES = {
    "counter": 36,
    "counter-first-quiet": 30,
    "counter-noise-below-zero": 34,
    "counter-vehicles": 37,
    "counter-widest": 39,
    "air": 45,
    "air-frost": 46,
    "air-summer-dust": 48,
    "air-six-samples": 43,
    "air-unhealthy-device": 47,
    "air-new-year-smog": 52,
    "air-widest": 60,
    "air-dust-sensor-silent": 38,
    "air-all-sensors-silent": 31,
    "air-paused-by-its-host": 31,
    "air-full": 64,
    "air-full-widest": 87,
    "every-quantity": 104,
    "day": 34,
    "day-not-whole": 36,
    "day-quiet": 30,
    "day-widest": 37,
}


def sealed_length(revision: int, health: int, values: dict[int, tuple[int, ...]]) -> int:
    """Length under the longest sequence number and window index."""
    body = report.encode(2**32 - 1, 2**32 - 1, revision, health, values)
    return len(cose.seal(bytes(32), topics.REPORT, "a" * 16, body))


def test_the_report_holds_its_limits() -> None:
    result = wire.wire_report()
    assert result["name"] == "wire"
    assert result["ok"] is True
    assert result["limits"] == {"counter_sealed_bytes": 40, "air_sealed_bytes": 51}
    figures = result["figures"]
    assert isinstance(figures, dict)
    assert {name: row["sealed"] for name, row in figures["rows"].items()} == SIZES
    assert (figures["counter_sealed_bytes"], figures["air_sealed_bytes"]) == (39, 48)
    assert figures["unlimited_sealed_bytes"] == 104


def test_others_are_longer_for_the_same_content() -> None:
    for row in wire.measure():
        assert row.ours < row.senml_cbor < row.senml_cbor_sealed < row.senml_json, row.name
        # What airRohr was measured to send: 127 to 518 bytes.
        assert row.airrohr is None or 127 <= row.airrohr <= 518


@pytest.mark.parametrize("limits", [(38, 51), (40, 47)])
def test_one_byte_above_a_limit_fails(limits: tuple[int, int]) -> None:
    assert wire.wire_report(*limits)["ok"] is False


@pytest.mark.parametrize(("tag_length", "code"), [(8, 0), (12, 1)])
def test_a_longer_seal_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tag_length: int, code: int
) -> None:
    """Break the feature: a tag of 12 bytes still opens, but no longer fits."""
    real = cose.seal

    def longer(key: bytes, kind: int, device_id: str, body: bytes) -> bytes:
        return real(key, kind, device_id, body) + bytes(tag_length - 8)

    real_open = cose.open_sealed
    monkeypatch.setattr(cose, "seal", longer)
    monkeypatch.setattr(
        cose,
        "open_sealed",
        lambda key, kind, device, data: real_open(key, kind, device, data[: len(data) - tag_length + 8]),
    )
    assert wire.run(json=True) == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is (code == 0)
    assert set(printed) == {"name", "ok", "figures", "limits"}


def test_the_table_shows_every_vector(capsys: pytest.CaptureFixture[str]) -> None:
    assert wire.run(json=False) == 0
    printed = capsys.readouterr().out
    for name, size in SIZES.items():
        assert any(name in line and f" {size} " in line for line in printed.splitlines()), name


EVERYDAY_PARTICLES = st.tuples(st.integers(0, 511), st.integers(0, 279))


@given(
    revision=st.integers(0, 255),
    health=st.integers(0, 255),
    pm2_5=EVERYDAY_PARTICLES,
    pm10=EVERYDAY_PARTICLES,
    temperature=st.tuples(st.integers(-156, 355), st.integers(0, 47)),
    humidity=st.tuples(st.integers(489, 1000), st.integers(0, 279)),
    samples=st.integers(0, 65535),
)
def test_everyday_air_fits_51_bytes_whatever_the_device_says(
    revision: int,
    health: int,
    pm2_5: tuple[int, int],
    pm10: tuple[int, int],
    temperature: tuple[int, int],
    humidity: tuple[int, int],
    samples: int,
) -> None:
    """Particles to 51.1 +- 27.9 ug/m3, -15.6 to 35.5 Cel +- 4.7, 48.9 to 100 % +- 27.9, any health."""
    values: dict[int, tuple[int, ...]] = {0: pm2_5, 1: pm10, 2: temperature, 3: humidity, 4: (samples,)}
    assert sealed_length(revision, health, values) <= 51


@given(pm2_5=st.integers(0, 10000), pm10=st.integers(0, 10000), spreads=st.integers(0, 279))
def test_a_healthy_device_fits_51_bytes_in_smog_too(pm2_5: int, pm10: int, spreads: int) -> None:
    """Any particle concentration, as long as it spreads by at most 27.9 ug/m3 within the window."""
    values: dict[int, tuple[int, ...]] = {
        0: (pm2_5, spreads),
        1: (pm10, spreads),
        2: (14, 6),
        3: (884, 12),
        4: (65535,),
    }
    assert sealed_length(1, 0, values) <= 51


def test_what_does_not_fit_is_known() -> None:
    """Outside those bounds a report grows to 60 bytes: as far as an air report can get."""
    widest: dict[int, tuple[int, ...]] = {
        0: (10000, 10000),
        1: (10000, 10000),
        2: (850, 1250),
        3: (0, 1000),
        4: (65535,),
    }
    assert sealed_length(255, 255, widest) == 60
