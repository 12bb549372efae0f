"""What the firmware costs a board: bytes of flash, bytes of heap, and instructions, under 32-bit MicroPython.

Memory and instructions are those of `wasm32`; the network is there without TLS, whose buffers lie outside the
Python heap. Two ways of carrying the firmware are measured side by side:

    in RAM      .mpy files on LittleFS, as every MicroPython for ESP32 runs them: bytecode goes to the heap
    in place    a ROM file system image (VfsRom), as `peilmerk device deploy` puts it onto a board whose
                MicroPython was built with MICROPY_VFS_ROM and a "romfs" partition: bytecode stays in flash

The limits of the heap are held for what runs in place, which is how boards are to be deployed. The image is
the one that deploying writes.

    mpy         the bytecode that a board of the kind carries, joined as it is shipped
    live        heap after boot, everything that the profile needs loaded
    peak        the highest the heap stood between two moments at which no task ran, in so many windows, with
                everything that these stretches left behind, so an upper bound
"""

from __future__ import annotations

import json as jsonlib
import tempfile
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from peilmerk_bench.measure import wasm32
from peilmerk_protocol import romfs
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning.kinds import node_settings

KINDS = ("counter", "air", "air, battery")
"""What boards are; one on batteries is measured as it is until it sleeps."""
WINDOWS = 12
HEAP = 1024 * 1024
KIB = 1024

LIMITS = {"mpy_bytes": 64 * KIB, "live_bytes": 64 * KIB, "peak_bytes": 80 * KIB}

INSTRUCTIONS = {
    "passage": 116_000,
    "radar_frame": 324_000,
    "sample": 33_000,
    "draw": 310_000,
    "encode": 226_000,
    "seal": 217_000,
    "window": 2_120_000,
}
"""The most instructions that each may take: the first honest measurement and a tenth."""

# What others load for the same job, in bytes of .mpy as mpy-cross 1.29 -O3 makes them: mqtt_as 7b6a11d
# (2025-05-07), microdot.py 118f4ef (2026-08-09), cbor2 of micropython-lib ee4bb8ff (2026-08-17).
OTHERS = {"mqtt": ("mqtt_as", 10_224), "portal": ("microdot", 11_241), "cbor": ("cbor2", 3_449)}
OURS = {"mqtt": ("node/uplink/mqtt",), "portal": ("node/portal/",), "cbor": ("peilmerk_protocol/cbor",)}


def write_flash(kind: str, bundle: bundles.Bundle, flash: Path) -> Path:
    """Write a board's flash below a folder: firmware in slot a, made-up identity; returns the ROM image."""
    for path, data in bundle.files.items():
        target = flash / ("a/" + path if "/" in path else path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    link = {
        "host": "gateway.example",
        "port": 8883,
        "server_name": "gateway.example",
        "ntp": [["time.example", 123]],
        "timeout_s": 30,
        "wifi": [["street", "password of it"]],
    }
    identity = {
        "device_id": "abcdefghijklmnop",
        "mqtt_password": "m" * 43,
        "root_key": "00" * 32,
        "setup_password": "abcdefghjk",
    }
    (flash / "node.json").write_text(jsonlib.dumps(node_settings(kind) | {"watchdog_s": 0, "link": link}))
    (flash / "identity.json").write_text(jsonlib.dumps(identity))
    (flash / "trust.der").write_bytes(bytes(600))
    modules = {path: data for path, data in bundle.files.items() if "/" in path}
    heads, _ = romfs.heads([(path, len(data)) for path, data in modules.items()])
    image = b"".join(head + data for head, data in zip(heads, modules.values(), strict=True))
    (flash / "image").write_bytes(image)
    if bundle.program:
        (flash / "guest").mkdir()
        script = (wasm32.GUESTS / "node_heap.py").read_text("utf-8")
        (flash / "guest/node_heap.py").write_text(bundle.program.guest(script))
    return flash / "image"


def measure(kind: str, windows: int = WINDOWS) -> dict[str, Any]:
    """Measure one kind of node; figures in bytes. Raises WasmError, BundleError."""
    kind, _, power = kind.partition(", ")
    bundle = bundles.build(kind=kind)
    if not power:
        bundle = bundle.on_mains()
    bytecode = sum(len(data) for path, data in bundle.files.items() if path.endswith(".mpy"))
    figures: dict[str, Any] = {"mpy_bytes": bytecode, "files_bytes": bundle.size, "windows": windows}
    for way in ("in_ram", "in_place"):
        with tempfile.TemporaryDirectory(prefix="peilmerk-flash-") as folder:
            image = write_flash(kind, bundle, Path(folder))
            figures["image_bytes"] = image.stat().st_size
            extra = ("/flash/image",) if way == "in_place" else ()
            heap = HEAP + figures["image_bytes"]
            found = wasm32.run("node_heap", Path(folder), str(windows), *extra, heap=heap).figures
        figures[way] = {
            "modules_bytes": found["modules"],
            "live_bytes": found["live"],
            "peak_bytes": found["peak"],
            "after_bytes": found["after"],
            "published": found["published"],
        }
    return figures


def instructions() -> dict[str, int]:
    """Count the instructions of each piece of work, with a counter's firmware, its modules as they lie in the
    sources: the bench reaches into them. Raises WasmError.
    """
    with tempfile.TemporaryDirectory(prefix="peilmerk-flash-") as folder:
        write_flash("counter", bundles.build(), Path(folder))
        found = wasm32.run("node_cost", Path(folder), heap=16 * HEAP).figures
    return {name: int(found[name]) for name in INSTRUCTIONS}


def beside_others() -> dict[str, dict[str, Any]]:
    """Return the bytes of .mpy of what we have written ourselves, beside what others load for it: each module
    by itself under its own names, as theirs.
    """
    files = bundles.build().files
    rows = {}
    for name, places in OURS.items():
        ours = sum(len(data) for path, data in files.items() if path.startswith(places))
        library, theirs = OTHERS[name]
        rows[name] = {"ours_bytes": ours, "library": library, "theirs_bytes": theirs}
    return rows


def device_report(windows: int = WINDOWS) -> dict[str, Any]:
    """Measure everything: {"name", "ok", "figures", "limits", "above"}; `above` names each limit exceeded."""
    kinds = {kind: measure(kind, windows) for kind in KINDS}
    counted = instructions()
    above = []
    for kind, found in kinds.items():
        if found["mpy_bytes"] > LIMITS["mpy_bytes"]:
            above.append(f"{kind}: mpy_bytes {found['mpy_bytes']} > {LIMITS['mpy_bytes']}")
        for name in ("live_bytes", "peak_bytes"):
            if found["in_place"][name] > LIMITS[name]:
                above.append(f"{kind}: {name} in place {found['in_place'][name]} > {LIMITS[name]}")
    above += [
        f"{name}: {n} instructions > {INSTRUCTIONS[name]}"
        for name, n in counted.items()
        if n > INSTRUCTIONS[name]
    ]
    return {
        "name": "device",
        "ok": not above,
        "figures": {"kinds": kinds, "instructions": counted, "beside_others": beside_others()},
        "limits": LIMITS | {"instructions": INSTRUCTIONS},
        "above": above,
    }


def run(json: bool, windows: int = WINDOWS) -> int:
    """Print the measurement, as tables or as one JSON object; exit code 0, or 1 above a limit."""
    result = device_report(windows)
    if json:
        print(jsonlib.dumps(result))
    else:
        _print_tables(result)
    return 0 if result["ok"] else 1


def _print_tables(result: dict[str, Any]) -> None:
    console = Console()
    figures, limits = result["figures"], result["limits"]
    heap = Table("kind", "carried", box=SIMPLE_HEAD, title="Bytes, under 32-bit MicroPython without TLS")
    for name in ("mpy", "modules loaded", "live", "peak", "after"):
        heap.add_column(name, justify="right")
    for kind, found in figures["kinds"].items():
        for way, words in (("in_ram", "in RAM"), ("in_place", "in place")):
            row = found[way]
            columns = ("modules_bytes", "live_bytes", "peak_bytes", "after_bytes")
            heap.add_row(kind, words, f"{found['mpy_bytes']:,}", *(f"{row[name]:,}" for name in columns))
    heap.add_row(
        "limit",
        "in place",
        *(f"{limits[n]:,}" if n else "" for n in ("mpy_bytes", "", "live_bytes", "peak_bytes", "")),
    )
    console.print(heap)
    cost = Table("per", box=SIMPLE_HEAD, title="WebAssembly instructions, the same on every machine")
    cost.add_column("found", justify="right")
    cost.add_column("limit", justify="right")
    for name, number in figures["instructions"].items():
        cost.add_row(name.replace("_", " "), f"{number:,}", f"{INSTRUCTIONS[name]:,}")
    console.print(cost)
    beside = Table("for", "ours", "library", "its bytes of .mpy", box=SIMPLE_HEAD)
    for name, row in figures["beside_others"].items():
        beside.add_row(name, f"{row['ours_bytes']:,}", row["library"], f"{row['theirs_bytes']:,}")
    console.print(beside)
    for line in result["above"]:
        console.print(f"above its limit: {line}")
