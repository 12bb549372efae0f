"""What can be sensed: the drivers' catalogue as a page, as data, and as entries of node.json.

The catalogue lies beside the drivers, in firmware/node/sensing/catalogue.toml; quantities, units and ranges
are the contract's.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peilmerk_protocol import profile, quantities, quantities_names
from peilmerk_provisioning.bundle import firmware_folder
from peilmerk_provisioning.errors import SensorError

__all__ = ["catalogue", "entries", "markdown", "members", "profile_for", "quantities_of", "radio"]

RADIO_DAYS = 366
RADIO_AREA = 20
"""What the driver `radio` holds to, in days and letters."""

_BY_NAME = {row.name: row for row in quantities_names.ALL}


def catalogue(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return {driver: what the catalogue says of it}, every driver's `keys` with the shared ones first."""
    path = (folder or firmware_folder()) / "node" / "sensing" / "catalogue.toml"
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as reason:
        raise SensorError(f"{path}: {reason}, wanted the drivers' catalogue") from reason
    shared = found.pop("shared")
    for row in found.values():
        defaults = row.get("defaults", {})
        of = {use: [_with(key, defaults) for key in keys] for use, keys in shared.items()}
        row["keys"] = [key for use in row.get("uses", ()) for key in of[use]] + row["keys"]
        if "or_uses" in row:
            row["or_keys"] = [key for use in row["or_uses"] for key in of[use]]
    return found


def _with(key: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return key | ({"default": defaults[key["key"]]} if key["key"] in defaults else {})


def _limits(key: dict[str, Any]) -> str:
    if "choices" in key:
        return ", ".join(f"`{choice}`" for choice in key["choices"])
    return f"{key['lowest']} to {key['highest']}" if "lowest" in key else ""


def _default(key: dict[str, Any]) -> str:
    if "default" in key:
        return f"`{json.dumps(key['default'])}`"
    return "none" if key.get("optional") else "must be given"


def _number(value: int, scale: tuple[int, int]) -> str:
    return f"{value * scale[0] / scale[1]:,g}"


def _range(name: str) -> str:
    row = _BY_NAME[name]
    low, high = (_number(value, row.scale) for value in row.range)
    return f"{low} to {high}"


PAGE = """\
<!-- Made by `peilmerk device sensing --markdown`; change firmware/node/sensing/catalogue.toml instead. -->

# What can be sensed

Every sensor that a board can carry, what it measures, how it is wired, what its entry in `/node.json` may
say, and what of it never leaves the board. `peilmerk device sensing` prints the same in short, and with
`--json` for scripts.

What leaves a board is one report a window: counts with noise, and of what is sampled the mean and its spread,
or the level. Single samples, moments of passages and exact counts stay in its memory and are overwritten
there.

Other sensors than those of a kind are named when the firmware is put on the board, in the order of their
precedence, with what differs from the standard board:

```sh
peilmerk device deploy --port /dev/ttyUSB0 --kind air --sensor sps30 --sensor bme280:address=0x77
```

The profile that the board then starts with has the quantities that these sensors sample.

## How every driver that samples works

- A sample counts when every checksum in it is right and every value lies within the range of its quantity.
  Everything else is a fault; the first of a row is said on the console.
- Every question to a sensor has a time-out and three attempts. Nothing that a sensor does or sends ends the
  driver, and no driver stops another.
- After a fault the sensor is brought into its known state again. After {faults} faults in a row, and after
  every {faults} more, it is reset: its supply is cut for a second if a pin switches it (`power`), then its
  own reset follows.
- Each driver counts good samples, faults, damaged answers (wrong checksum, also when the next attempt was
  good) and resets since boot, and knows how many samples a window should have.
- Where two sensors of a board measure the same, the one that `sensors` names first gives it. Passages of two
  counters are added up.
- While a board is paused its sensors are at rest, and without supply if `power` says how.

## Quantities

| quantity | what | range | step | unit |
|---|---|---|---|---|
{quantities}

## Sensors for air and noise

{air}
## Sensors that count

Counts leave the board with noise only. `class` says what passes there; the quantities of that class are the
ones that are given.

{counter}"""

FAULTS_TO_RESET = 10


def markdown() -> str:
    """Return docs/sensing.md."""
    found = catalogue()
    rows = []
    for name in _named(found):
        row = _BY_NAME[name]
        step = _number(1, row.scale)
        rows.append(f"| `{name}` | {row.label} | {_range(name)} | {step} | {row.unit_label or '1'} |")
    parts = {
        kind: "\n".join(_section(name, row) for name, row in found.items() if row["kind"] == kind)
        for kind in ("air", "counter")
    }
    return PAGE.format(faults=FAULTS_TO_RESET, quantities="\n".join(rows), **parts)


def _named(found: dict[str, dict[str, Any]]) -> list[str]:
    """Names of all quantities that some sensor gives, in the contract's order."""
    given = {name for row in found.values() for name in row["quantities"]}
    return [name for name in _BY_NAME if name in given]


def _section(name: str, row: dict[str, Any]) -> str:
    example = json.dumps({"driver": name} | row.get("standard", {}))
    lines = [
        f"### `{name}`: {row['name']}",
        "",
        row["what"],
        "",
        f"- Quantities: {', '.join(f'`{quantity}`' for quantity in row['quantities'])}",
        f"- Wiring: {row['wiring']}",
        f"- Never leaves the device: {row['stays']}",
    ]
    if row.get("standard"):
        lines.append(f"- On the standard board: `{example}`")
    lines += ["", "| key | limits | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{k['key']}` | {_limits(k)} | {_default(k)} | {k['means']} |" for k in row["keys"]]
    if "or_keys" in row:
        instead = ", ".join(f"`{key['key']}`" for key in row["or_keys"] if not key.get("optional"))
        lines += ["", f"In place of the pins above it may have {instead} (limits as elsewhere on this page)."]
    return "\n".join(lines) + "\n"


def members() -> list[dict[str, Any]]:
    """Return the catalogue for scripts: one object a driver, with units and ranges of its quantities."""
    found = []
    for name, row in catalogue().items():
        quantity_rows = []
        for quantity in row["quantities"]:
            of = _BY_NAME[quantity]
            low, high = (value * of.scale[0] / of.scale[1] for value in of.range)
            quantity_rows.append({"name": quantity, "unit": of.unit, "lowest": low, "highest": high})
        found.append(
            {"driver": name}
            | {key: row[key] for key in ("name", "kind", "what", "wiring", "stays")}
            | {"quantities": quantity_rows, "keys": row["keys"], "or_keys": row.get("or_keys", [])}
            | {"standard": row.get("standard", {})}
        )
    return found


def entries(kind: str, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """Return node.json's sensors for what `--sensor NAME[:key=value,…]` said. Raises SensorError."""
    found = catalogue()
    made = [_entry(found, kind, text) for text in wanted]
    _check_pins(made)
    return made


def _entry(found: dict[str, dict[str, Any]], kind: str, text: str) -> dict[str, Any]:
    name, _, rest = text.partition(":")
    known = [driver for driver, row in found.items() if row["kind"] == kind]
    if name not in known:
        raise SensorError(
            f"found --sensor {name!r}, wanted one of {', '.join(known)} for a node that is {kind}"
        )
    row = found[name]
    given = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise SensorError(f"--sensor {text}: found {pair!r}, wanted key=value")
        given[key] = value
    keys = {key["key"]: key for key in row["keys"]}
    standard = dict(row.get("standard", {}))
    if "or_keys" in row and given.keys() & {key["key"] for key in row["or_keys"]} - keys.keys():
        standard = {}
        keys = {key["key"]: key for key in row["or_keys"]} | {
            key["key"]: key for key in row["keys"] if "default" in key
        }
    entry = {"driver": name} | standard
    for key, value in given.items():
        if key not in keys:
            raise SensorError(f"--sensor {text}: found key {key!r}, wanted one of {', '.join(keys)}")
        entry[key] = _value(text, keys[key], value)
    missing = [k for k, key in keys.items() if not ({"default", "optional"} & key.keys() or k in entry)]
    if missing:
        raise SensorError(f"--sensor {text}: found no {', '.join(missing)}, wanted {name}:{missing[0]}=…")
    return entry


def _value(text: str, key: dict[str, Any], value: str) -> Any:
    if "choices" in key:
        if value not in key["choices"]:
            wanted = ", ".join(key["choices"])
            raise SensorError(f"--sensor {text}: {key['key']}: found {value!r}, wanted one of {wanted}")
        return value
    if "lowest" not in key:
        raise SensorError(f"--sensor {text}: {key['key']} has no short form: write it into /node.json")
    try:
        number = int(value, 0)
    except ValueError:
        number = key["lowest"] - 1
    if not key["lowest"] <= number <= key["highest"]:
        raise SensorError(
            f"--sensor {text}: {key['key']}: found {value!r}, wanted {key['lowest']} to {key['highest']}"
        )
    return number


def radio(begin: datetime | None, until: datetime | None, area: str | None) -> dict[str, Any] | None:
    """Return the entry of the board's own Bluetooth for a period (UTC) and the area in words; None without
    any of them. Raises SensorError when one is missing or outside what the driver permits.
    """
    if begin is None and until is None and area is None:
        return None
    if begin is None or until is None or area is None:
        raise SensorError("found --radio-… in part, wanted --radio-from, --radio-until and --radio-area")
    first, last = (int(moment.replace(tzinfo=UTC).timestamp()) for moment in (begin, until))
    if not first < last <= first + RADIO_DAYS * 86400:
        raise SensorError(
            f"found a period from {begin:%Y-%m-%d} to {until:%Y-%m-%d}, "
            f"wanted one of at most {RADIO_DAYS} days"
        )
    if len(area) < RADIO_AREA:
        raise SensorError(
            f"found --radio-area {area!r}, wanted where it listens in {RADIO_AREA} letters or more"
        )
    return {"driver": "radio", "from": first, "until": last, "area": area}


def _check_pins(made: list[dict[str, Any]]) -> None:
    """Refuse what cannot be wired: two on one UART, or one pin for two things; a bus is shared."""
    used: dict[tuple[str, int], str] = {}
    for entry in made:
        name = entry["driver"]
        taken = {("UART", entry["uart"]): name} if "uart" in entry else {}
        taken |= {("pin", entry[key]): name for key in ("tx", "rx", "power", "pin") if key in entry}
        taken |= {("pin", pin): name for pin in entry.get("pins", ())}
        taken |= {
            ("pin", entry[key]): f"{key} of i2c {entry['i2c']}" for key in ("scl", "sda") if key in entry
        }
        for what, owner in taken.items():
            if what in used and not (" of i2c " in owner and owner == used[what]):
                raise SensorError(
                    f"found {used[what]} and {owner} both on {what[0]} {what[1]}, wanted them apart"
                )
            used[what] = owner


def _given(found: dict[str, dict[str, Any]], entry: dict[str, Any]) -> set[str]:
    """Names of the quantities that a sensor gives as it is set."""
    row = found[entry["driver"]]
    given = set(row["quantities"])
    for key, choices in row.get("only_with", {}).items():
        default = next(k["default"] for k in row["keys"] if k["key"] == key)
        for quantity, wanted in choices.items():
            if entry.get(key, default) not in wanted:
                given.discard(quantity)
    return given


def quantities_of(entry: dict[str, Any]) -> list[int]:
    """Return the numbers of the quantities that the sensor of an entry of node.json gives."""
    return sorted(_BY_NAME[name].number for name in _given(catalogue(), entry))


def profile_for(agreed: profile.Profile, made: list[dict[str, Any]]) -> profile.Profile:
    """Return `agreed` with the quantities that these sensors sample, and the samples behind them.

    Counts stay as they were agreed: what leaves of them is a matter of the deployment's record.
    """
    found = catalogue()
    given = {name for entry in made for name in _given(found, entry)}
    sampled = [_BY_NAME[name].number for name in given if not _BY_NAME[name].is_count]
    if not sampled:
        return agreed
    chosen = quantities.mask([*sampled, quantities.SAMPLES]) | agreed.set & quantities.COUNTS
    if chosen == agreed.set:
        return agreed
    return profile.Profile(
        agreed.revision, agreed.window_s, chosen, agreed.epsilon_leaf, agreed.epsilon_day, agreed.k, agreed.m
    )
