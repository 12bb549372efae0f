"""How many bytes a report takes, beside what others would send for the same content.

The contents are the vectors of reports and day totals in `peilmerk_protocol`. Every format is really encoded
and read back:

    ours               sealed: sequence number, window, health and authentication included
    SenML CBOR, JSON   RFC 8428, unauthenticated; numbers whole, or decimal fractions where CBOR has them, as
                       they are shorter than floats. "sealed" puts the CBOR into an envelope like ours
    airRohr            the JSON body of sensor.community's firmware: no time, no spread, no authentication
    AirGradient        the JSON of its measures, likewise; neither of the two has a word for counts

Limits: 40 bytes for a counter's report of two directions of one class, 51 bytes for an air report on a street
(a LoRaWAN frame at its slowest Dutch data rate). Vectors without a limit are shown too: heavy smog, and
values at the edges of their ranges, do make an air report longer than 51 bytes.
"""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import peilmerk_protocol
from peilmerk_protocol import cose, keys, profile, quantities, quantities_names, report, topics

COUNTER_LIMIT = 40
AIR_LIMIT = 51
WINDOW_S = 900

# RFC 8428, section 6, table 4: labels of SenML fields in CBOR.
_SENML_LABELS = {"bn": -2, "bt": -3, "n": 0, "u": 1, "v": 2}
# Units as SenML registers them (RFC 8428, section 12.1, and RFC 8798); by our UCUM unit.
_SENML_UNITS = {"Cel": "Cel", "%": "%RH", "ug/m3": "ug/m3", "1": "count", "[ppm]": "ppm", "hPa": "hPa"}
_SPREAD = "_sd"
_EXTREMES = ("_min", "_max")


class WireError(Exception):
    """An encoding did not read back as what was put in: the comparison would not be one."""


@dataclass(frozen=True)
class Row:
    """Sizes in bytes of one content; None where a vector has no limit or a format no words for it."""

    name: str
    limit: int | None
    ours: int
    senml_cbor: int
    senml_cbor_sealed: int
    senml_json: int
    airrohr: int | None
    airgradient: int | None


def wire_report(counter_limit: int = COUNTER_LIMIT, air_limit: int = AIR_LIMIT) -> dict[str, object]:
    """Measure every report vector: {"name", "ok", "figures", "limits"}, sizes in bytes.

    `figures` holds the longest sealed report under each limit, the longest without one, and all rows.
    """
    rows = measure()
    limits = {"counter_sealed_bytes": counter_limit, "air_sealed_bytes": air_limit}
    counters = [row.ours for row in rows if row.limit == COUNTER_LIMIT]
    airs = [row.ours for row in rows if row.limit == AIR_LIMIT]
    figures: dict[str, object] = {
        # An empty list must fail, not pass: no vector, no claim.
        "counter_sealed_bytes": max(counters, default=None),
        "air_sealed_bytes": max(airs, default=None),
        "counter_vectors": len(counters),
        "air_vectors": len(airs),
        "unlimited_sealed_bytes": max((row.ours for row in rows if row.limit is None), default=None),
        "rows": {
            row.name: {
                "sealed": row.ours,
                "limit": row.limit,
                "senml_cbor": row.senml_cbor,
                "senml_cbor_sealed": row.senml_cbor_sealed,
                "senml_json": row.senml_json,
                "airrohr_json": row.airrohr,
                "airgradient_json": row.airgradient,
            }
            for row in rows
        },
    }
    ok = bool(counters and airs) and max(counters) <= counter_limit and max(airs) <= air_limit
    return {"name": "wire", "ok": ok, "figures": figures, "limits": limits}


def run(json: bool) -> int:
    """Print the measurement, as a table or as one JSON object; exit code 0, or 1 above a limit."""
    result = wire_report()
    if json:
        print(jsonlib.dumps(result))
    else:
        _print_table(result)
    return 0 if result["ok"] else 1


def measure() -> list[Row]:
    """Encode every vector of a report and of a day's total in every format, and read each back.

    Raises WireError if one does not come back.
    """
    sealed = _vectors("sealed.json")
    device_id = str(sealed["device_id"])
    key = keys.derive(bytes.fromhex(sealed["root_key"]), keys.UP)
    limits = {row["name"]: row.get("limit") for row in sealed["vectors"]}
    rows = []
    vectors = _vectors("report.json")
    for vector in vectors["vectors"] + vectors["days"]:
        values = {int(number): tuple(value) for number, value in vector["values"].items()}
        content = report.Report(vector["seq"], vector["window"], vector["revision"], vector["health"], values)
        is_day = vector in vectors["days"]
        start = content.window * (profile.DAY_S if is_day else WINDOW_S)
        senml_cbor = _senml_cbor(content, start, device_id)
        rows.append(
            Row(
                name=vector["name"],
                limit=limits[vector["name"]],
                ours=len(_ours(content, topics.DAY if is_day else topics.REPORT, device_id, key)),
                senml_cbor=len(senml_cbor),
                senml_cbor_sealed=len(_sealed_alike(senml_cbor)),
                senml_json=len(_senml_json(content, start, device_id)),
                airrohr=_length(_airrohr(content)),
                airgradient=_length(_airgradient(content)),
            )
        )
    return rows


def _vectors(name: str) -> Any:
    path = Path(peilmerk_protocol.__file__).parent / "vectors" / name
    return jsonlib.loads(path.read_text())


def _length(encoded: bytes | None) -> int | None:
    return None if encoded is None else len(encoded)


def _ours(content: report.Report, kind: int, device_id: str, key: bytes) -> bytes:
    body = report.encode(content.seq, content.window, content.revision, content.health, content.values)
    sealed = cose.seal(key, kind, device_id, body)
    decode = report.decode_day if kind == topics.DAY else report.decode
    if decode(cose.open_sealed(key, kind, device_id, sealed)) != content:
        raise WireError("our own report did not come back")
    return sealed


def _physical(content: report.Report) -> list[tuple[str, str, Decimal]]:
    """List (name, UCUM unit, physical value) of all components, spreads included."""
    rows = []
    for number, value in sorted(content.values.items()):
        quantity = quantities_names.by_number(number)
        numerator, denominator = quantity.scale
        ends = _EXTREMES if quantity.kind == quantities.KIND_EXTREMES else ("", _SPREAD)
        for end, component in zip(ends, value, strict=False):
            rows.append((quantity.name + end, quantity.unit, Decimal(component * numerator) / denominator))
    return rows


def _senml(content: report.Report, start: int, device_id: str) -> list[dict[str, object]]:
    """Make a SenML pack: base name and time in the first record, then one record a number."""
    records: list[dict[str, object]] = [
        {"bn": device_id + ":", "bt": start, "n": "seq", "v": content.seq},
        {"n": "revision", "v": content.revision},
        {"n": "health", "v": content.health},
    ]
    for name, unit, value in _physical(content):
        records.append({"n": name, "u": _SENML_UNITS.get(unit, "dB"), "v": value})
    return records


def _senml_json(content: report.Report, start: int, device_id: str) -> bytes:
    records = _senml(content, start, device_id)
    plain = [{key: _number(value) for key, value in record.items()} for record in records]
    encoded = jsonlib.dumps(plain, separators=(",", ":")).encode()
    if jsonlib.loads(encoded) != plain:
        raise WireError("SenML JSON did not come back")
    return encoded


def _senml_cbor(content: report.Report, start: int, device_id: str) -> bytes:
    records = [
        {_SENML_LABELS[key]: _shortest(value) for key, value in record.items()}
        for record in _senml(content, start, device_id)
    ]
    encoded = cbor2.dumps(records, canonical=True)
    if cbor2.loads(encoded) != records:
        raise WireError("SenML CBOR did not come back")
    return encoded


def _sealed_alike(payload: bytes) -> bytes:
    """Put a payload into an envelope of the size of ours, however long it is."""
    return cbor2.dumps([cbor2.dumps({1: 4}), {}, payload, bytes(cose.TAG_LENGTH)])


def _number(value: object) -> object:
    """Give a number as JSON writes it: whole where it is whole."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _shortest(value: object) -> object:
    """Give a number in CBOR's shortest form: whole, or a decimal fraction (tag 4) instead of a float."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    return value


# What an SDS011 with a temperature and humidity sensor sends, by our quantity number.
_AIRROHR = {1: "SDS_P1", 0: "SDS_P2", 2: "SHT3X_temperature", 3: "SHT3X_humidity"}
_AIRGRADIENT = {0: "pm02", 1: "pm10", 2: "atmp", 3: "rhum"}


def _airrohr(content: report.Report) -> bytes | None:
    means = _means(content, _AIRROHR)
    if not means:
        return None
    rows = [{"value_type": name, "value": f"{value:.2f}"} for name, value in means]
    # Sent with every measurement by that firmware, whatever the sensors.
    for name, text in (
        ("samples", "5003746"),
        ("min_micro", "28"),
        ("max_micro", "20076"),
        ("interval", "145000"),
        ("signal", "-67"),
    ):
        rows.append({"value_type": name, "value": text})
    values = jsonlib.dumps(rows, separators=(",", ":"))
    head = '{"esp8266id": "12331981", "software_version": "NRZ-2020-133", "sensordatavalues":'
    encoded = (head + values + "}").encode()
    if jsonlib.loads(encoded)["sensordatavalues"] != rows:
        raise WireError("airRohr's JSON did not come back")
    return encoded


def _airgradient(content: report.Report) -> bytes | None:
    means = _means(content, _AIRGRADIENT)
    if not means:
        return None
    body: dict[str, object] = {"wifi": -46, "serialno": "ecda3b1eaaaf"}
    body.update({name: _number(value) for name, value in means})
    body.update({"boot": 6, "bootCount": 6, "ledMode": "pm", "firmware": "3.1.3", "model": "O-1PST"})
    encoded = jsonlib.dumps(body, separators=(",", ":")).encode()
    if jsonlib.loads(encoded) != body:
        raise WireError("AirGradient's JSON did not come back")
    return encoded


def _means(content: report.Report, names: dict[int, str]) -> list[tuple[str, Decimal]]:
    """List the means that a format has a word for, in its order; empty unless there is one of particles."""
    if 0 not in content.values and 1 not in content.values:
        return []
    rows = []
    for number, name in names.items():
        if number in content.values:
            numerator, denominator = quantities_names.by_number(number).scale
            rows.append((name, Decimal(content.values[number][0] * numerator) / denominator))
    return rows


def _print_table(result: dict[str, object]) -> None:
    figures, limits = result["figures"], result["limits"]
    assert isinstance(figures, dict)
    assert isinstance(limits, dict)
    # Narrow enough for 80 columns.
    table = Table(
        title="Bytes of one report, by format",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("report", no_wrap=True)
    for heading in (
        "limit",
        "ours,\nsealed",
        "SenML\nCBOR,\nsealed",
        "SenML\nCBOR",
        "SenML\nJSON",
        "airRohr\nJSON",
        "Air-\nGradient\nJSON",
    ):
        table.add_column(heading, justify="right")
    order = ("sealed", "senml_cbor_sealed", "senml_cbor", "senml_json", "airrohr_json", "airgradient_json")
    for name, row in figures["rows"].items():
        limit = row["limit"]
        cells = ["—" if row[key] is None else str(row[key]) for key in order]
        if limit is not None:
            cells[0] = f"[{'green' if row['sealed'] <= limit else 'bold red'}]{cells[0]}[/]"
        table.add_row(name, "—" if limit is None else str(limit), *cells)
    console = Console(soft_wrap=True)
    console.print(table)
    for kind in ("counter", "air"):
        key = f"{kind}_sealed_bytes"
        console.print(f"{kind}: at most {figures[key]} bytes sealed, limit {limits[key]}")
    longest = max((row["sealed"], name) for name, row in figures["rows"].items() if row["limit"] is None)
    console.print(f"without a limit: at most {longest[0]} bytes ({longest[1]})")
    console.print("[green]ok[/]" if result["ok"] else "[bold red]above a limit[/]")
