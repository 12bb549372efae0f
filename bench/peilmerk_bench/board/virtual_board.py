"""A virtual board: what a board does when its power, its reset line and its console are used.

    board = VirtualBoard(spec, clock, run_dir)
    await board.start()          # power comes; board.port is what mpremote opens
    await board.power_cut()      # memory and real-time clock are lost, flash is not
    await board.power_on()
    await board.stop()

The interpreter is a child process; every run of it is one life from a reset to the next. Moments in all logs
are seconds of world time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peilmerk_bench.board.chip import DEEPSLEEP_RESET, HARD_RESET, SOFT_RESET, WDT_RESET, Chip
from peilmerk_bench.board.console import BOOTED, RAW_BANNER, READY, Console, Marks
from peilmerk_bench.board.entropy import Handout
from peilmerk_bench.board.flash_image import FlashImage
from peilmerk_bench.board.interpreter import Interpreter, extension
from peilmerk_bench.board.network import Network
from peilmerk_bench.board.port import Port
from peilmerk_bench.board.spec import BLOCK_BYTES, BoardError, BoardSpec
from peilmerk_bench.board.wiring import US, Wiring
from peilmerk_bench.sensors.beam import BeamPair
from peilmerk_bench.sensors.device import Device, Edge, Served
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import Passage

CONSOLE_KEPT = 65_536
RESTARTS_IN_A_ROW = 5


class VirtualBoard:
    """One board. spec: what it is made of; clock: the world's; run_dir: for its ledger, made if need be."""

    def __init__(self, spec: BoardSpec, clock: WorldClock, run_dir: Path) -> None:
        self.spec = spec
        self.clock = clock
        self.on_periods: list[list[float]] = []
        self.resets: list[tuple[float, int]] = []
        self.lives: list[list[float]] = []
        self._run_dir = run_dir
        self._wiring = Wiring(spec, self._push)
        self._chip = Chip(spec, clock, self._end)
        self.network = Network()
        self._port: Port | None = None
        self._image: FlashImage | None = None
        self._interpreter: Interpreter | None = None
        self._console: Console | None = None
        self._lives: asyncio.Task[None] | None = None
        self._why: str | None = None
        self._cut = False
        self._tail = bytearray()
        self._held: bytearray | None = bytearray()
        self._waiting_for_raw = False
        self._skip_main = False
        self._dropped: bytearray | None = None
        self._marks = Marks()
        self._ready = asyncio.Event()
        self._news = asyncio.Condition()
        self._news_tasks: set[asyncio.Task[None]] = set()

    # -- power ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the port and let the power come; returns when the flash is mounted and boot.py begins.

        Raises BoardError when the interpreter is not installed or the flash image cannot be used.
        """
        extension()
        if self._port is not None:
            raise BoardError(f"board {self.spec.name} was started before")
        self._image = FlashImage(self.spec.flash, self.spec.flash_bytes, self._run_dir, self.spec.romfs_bytes)
        if self.spec.power_cut_at_write:
            self._image.cut_at(self.spec.power_cut_at_write)
        self._port = Port(self._typed, self._room)
        await self.power_on()

    async def power_on(self) -> None:
        """Power comes back; returns when boot.py begins. Nothing happens if it is there."""
        if self._port is None:
            raise BoardError(f"board {self.spec.name} is not started")
        if self.powered:
            return
        now = self.clock.now()
        self.on_periods.append([now, math.inf])
        self._chip.power_on(now)
        self._cut = False
        self._wiring.power(now, True)
        self._ready.clear()
        self._lives = asyncio.create_task(self._live(), name=f"board {self.spec.name}")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._lives}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._lives.done() and (error := self._lives.exception()) is not None:
            raise error

    async def power_cut(self) -> None:
        """Power goes, at once."""
        if self.powered:
            self._end("power")
            await self.until_off()

    async def until_off(self) -> None:
        """Wait until the power is gone, for instance at the flash write it was to go at."""
        if self._lives is not None:
            await asyncio.wait({self._lives})

    async def hard_reset(self) -> None:
        """Press the reset button; returns when boot.py begins again."""
        self._ready.clear()
        self._end("reset")
        await self._ready.wait()

    async def stop(self) -> None:
        """Power goes and the port is closed; nothing is left behind."""
        await self.power_cut()
        if self._lives is not None:
            self._lives.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lives
        if self._port is not None:
            self._port.close()
            self._port = None
        if self._image is not None:
            self._image.close()
            self._image = None
        self._chip.served.close()
        self.network.close()

    @property
    def powered(self) -> bool:
        """Whether power is there; True in deep sleep."""
        return self._lives is not None and not self._lives.done()

    # -- what can be seen from outside -------------------------------------------------------------

    @property
    def port(self) -> str:
        """Path of the serial port."""
        if self._port is None:
            raise BoardError(f"board {self.spec.name} is not started")
        return self._port.path

    @property
    def unique_id(self) -> bytes:
        """What machine.unique_id() gives: six bytes made of the name."""
        return self._chip.unique_id

    @property
    def pid(self) -> int | None:
        """The interpreter's process."""
        return None if self._interpreter is None else self._interpreter.pid

    @property
    def sensors(self) -> dict[str, Device]:
        """The simulators by name; their faults can be set at any time."""
        return self._wiring.sensors

    @property
    def served(self) -> list[Served]:
        """What the sensors answered."""
        return self._wiring.served

    @property
    def edges(self) -> list[Edge]:
        """Pin edges shown to the board so far, while it was there to see them."""
        now = self.clock.now()
        return [edge for edge in self._wiring.edges if edge[0] <= now]

    @property
    def listening(self) -> list[list[float]]:
        """[from, until) periods in which the board reacted to its pins; the last may be open (inf)."""
        return self._wiring.listening

    @property
    def awake_s(self) -> float:
        """Seconds of world time that the board was neither without power nor in deep or light sleep."""
        now = self.clock.now()
        return sum(min(until, now) - since for since, until in self.lives) - sum(
            seconds for _, seconds in self.naps
        )

    @property
    def wakes(self) -> int:
        """How often it woke from deep sleep."""
        return sum(cause == DEEPSLEEP_RESET for _, cause in self.resets)

    @property
    def joins(self) -> list[float]:
        """When it tried to join a wireless network."""
        return self._chip.joins

    @property
    def naps(self) -> list[tuple[float, float]]:
        """When it slept lightly, and for how many seconds."""
        return self._chip.naps

    @property
    def passages(self) -> list[Passage]:
        """Passages of which the board was shown every edge, so far."""
        shown = set(self.edges)
        found = []
        for beam in self.sensors.values():
            if isinstance(beam, BeamPair) and shown:
                span = beam.passages(min(shown)[0], max(shown)[0])
                found += [passage for passage in span if shown.issuperset(beam.edges_of(passage))]
        return found

    @property
    def pins_set(self) -> list[tuple[float, int, int]]:
        """(moment, pin, level) of every output the board has set."""
        return self._wiring.levels_set

    @property
    def entropy_log(self) -> list[Handout]:
        """Every hand-out of a board with a seed."""
        return [] if self._chip.entropy is None else self._chip.entropy.log

    @property
    def console_tail(self) -> str:
        """The last of what the board wrote."""
        return self._tail.decode("utf-8", "replace")

    @property
    def flash_writes(self) -> int:
        """Flash programs and erases since start()."""
        return 0 if self._image is None else self._image.writes

    def cut_power_after_writes(self, count: int) -> None:
        """The power goes in the middle of the count-th flash write from now; 0 calls it off."""
        if self._image is not None:
            self._image.cut_at(self._image.writes + count if count else 0)

    async def console_shows(self, text: str, timeout: float = 120.0) -> None:
        """Wait until the console's tail holds a text; raises TimeoutError naming it (host seconds)."""
        wanted = text.encode()
        try:
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: wanted in self._tail)
        except TimeoutError:
            raise TimeoutError(
                f"board {self.spec.name} never wrote {text!r}; it wrote {self.console_tail!r}"
            ) from None

    def pass_by(self, sensor: str, direction: str, soon_s: float = 0.1) -> Passage:
        """Somebody passes a beam pair by hand, `soon_s` host seconds from now."""
        beam = self.sensors[sensor]
        if not isinstance(beam, BeamPair) or direction not in ("in", "out"):
            raise BoardError(f"{sensor!r} and {direction!r}: wanted a beam pair, and in or out")
        passage = Passage(self.clock.now() + soon_s * self.clock.speed, direction)
        beam.passing.append(passage)
        self._push("edges")
        return passage

    def type(self, text: str | bytes) -> None:
        """Type on the console, as a client of the port would."""
        self._typed(text.encode() if isinstance(text, str) else text)

    @property
    def wifi_up(self) -> bool:
        """Whether the wireless networks are there; setting it tells the board."""
        return self._chip.wifi_up

    @wifi_up.setter
    def wifi_up(self, up: bool) -> None:
        if up != self._chip.wifi_up:
            self._chip.wifi_up = up
            self._push("wifi")

    def hang_radio(self) -> None:
        """The station hears nothing any more, until it is switched off and on."""
        self._push("radio_hangs")

    @property
    def phones(self) -> int:
        """How many phones are at the board's access point; browsers of this machine do not count by
        themselves.
        """
        return self._chip.phones

    @phones.setter
    def phones(self, number: int) -> None:
        self._chip.phones = number

    @property
    def access_point(self) -> tuple[str, str, int] | None:
        """The board's own access point: name, key and security as MicroPython numbers it; None when it is
        off.
        """
        return self._chip.point

    @property
    def http_url(self) -> str | None:
        """Where a browser on this machine reaches the board's port 80; None before the board served there."""
        port = self._chip.served.known(80)
        return None if port is None else f"http://127.0.0.1:{port}/"

    @property
    def dns_address(self) -> tuple[str, int] | None:
        """Where this machine reaches the board's port 53 (UDP); None before the board served there."""
        port = self._chip.served.known(53)
        return None if port is None else ("127.0.0.1", port)

    # -- lives of the interpreter ----------------------------------------------------------------------------

    async def _live(self) -> None:
        raw = False
        quick = 0
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                why, raw = await self._one_life(raw)
                if why == "power":
                    return
                if why == "soft":
                    self._emit(b"MPY: soft reboot\r\n")
                    self._chip.cause = SOFT_RESET
                    quick = quick + 1 if loop.time() - began < 1 else 0
                    if quick > RESTARTS_IN_A_ROW:
                        await asyncio.sleep(0.5)  # a main.py that ends at once must not take the machine
                    continue
                raw = False
                if why == "interrupted":
                    self._skip_main = True
                    continue
                if why == "deepsleep":
                    self._emit(b"\r\nrst: deep sleep\r\n")
                    self._chip.cause = DEEPSLEEP_RESET
                    if not await self._sleep():
                        return
                else:
                    self._chip.cause = WDT_RESET if why == "watchdog" else HARD_RESET
                    self._emit(b"\r\nrst: " + why.encode() + b"\r\n")
        finally:
            now = self.clock.now()
            self.on_periods[-1][1] = now
            self._wiring.power(now, False)

    async def _sleep(self) -> bool:
        """Deep sleep; False if the power went meanwhile."""
        self._why = "power" if self._cut else None
        sleep_s = self._chip.asleep()
        if self._chip.sleep_us >= 0 and self.clock.skip(sleep_s):
            await asyncio.sleep(0)
            return self._why != "power"
        wake = asyncio.get_running_loop().time() + self.clock.host_seconds(sleep_s)
        while self._why is None:
            left = wake - asyncio.get_running_loop().time() if self._chip.sleep_us >= 0 else 3600.0
            if left <= 0:
                return True
            async with self._news:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), left)
        return self._why != "power"

    async def _one_life(self, raw: bool) -> tuple[str, bool]:
        """From reset to the next; returns why it ended and whether the REPL was raw."""
        if self._cut:
            return "power", False
        self._why = None
        self._waiting_for_raw = raw
        self._dropped = None
        self._marks = Marks()
        self._console = Console(self._marks, raw)
        assert self._image is not None
        romfs = self._image.romfs_path if self.spec.romfs_bytes else None
        interpreter = Interpreter(self.spec.heap_kib, self._written, self._asked, romfs)
        self.lives.append([self.clock.now(), math.inf])
        try:
            await interpreter.start()
            self._interpreter = interpreter
            self.resets.append((self.clock.now(), self._chip.cause))
            if self._why is not None or self._cut:
                interpreter.kill()
            code = await interpreter.wait()
        except asyncio.CancelledError:
            interpreter.kill()
            raise
        finally:
            self.lives[-1][1] = self.clock.now()
            self._interpreter = None
            self._held = bytearray()
            self._skip_main = False
            self._chip.run_ended()
            self._wiring.board_ended(self.clock.now())
        if (rest := self._console.end()) and not self._waiting_for_raw:
            self._emit(rest)
        if self._cut:
            return "power", False
        if self._why is None and interpreter.typed_since_interrupt is not None and self._crashed(code):
            # The interpreter's own handler of Ctrl-C throws out of any C code and can be its end; on a chip
            # Ctrl-C is taken between two steps. The prompt, which it was to reach, is reached by a new start.
            self._held = interpreter.typed_since_interrupt
            return "interrupted", False
        if self._why is None and code < 0:
            self._emit(f"\r\nthe interpreter died of signal {-code}\r\n".encode())
            return "panic", False
        return self._why or "soft", self._console.raw

    def _crashed(self, code: int) -> bool:
        return code < 0 or self._tail.rstrip().rpartition(b"\n")[2].startswith(b"FATAL: uncaught NLR")

    def _end(self, why: str) -> None:
        """End the life that is being lived; the first reason counts, except that power is always gone."""
        self._cut = self._cut or why == "power"
        if self._why is None or self._cut:
            self._why = why
        if self._interpreter is not None:
            self._interpreter.kill()
        self._tell()

    # -- console -----------------------------------------------------------------------------------

    def _typed(self, data: bytes) -> None:
        if self._held is not None:
            self._held += data
        elif self._interpreter is not None:
            self._interpreter.type(data)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held and self._interpreter is not None:
            self._interpreter.type(bytes(held))

    def _room(self, room: bool) -> None:
        if self._interpreter is not None:
            self._interpreter.hold(not room)

    def _written(self, chunk: bytes) -> None:
        assert self._console is not None
        for output, mark in self._console.take(chunk):
            self._show(output)
            if mark == READY:
                self._ready.set()
                if not self._waiting_for_raw:
                    self._release()
            elif mark == BOOTED and self._waiting_for_raw and self._interpreter is not None:
                # the interpreter always begins friendly: bring it back to the REPL it was in, unseen
                self._dropped = bytearray()  # until the raw banner comes
                self._interpreter.type(b"\x01")

    def _show(self, output: bytes) -> None:
        if self._dropped is not None:
            self._dropped += output
            at = self._dropped.find(RAW_BANNER)
            if at < 0:
                return
            output = bytes(self._dropped[at:])
            self._dropped = None
            self._waiting_for_raw = False
            self._release()
        self._emit(output)

    def _emit(self, output: bytes) -> None:
        if not output:
            return
        self._tail += output
        del self._tail[:-CONSOLE_KEPT]
        if self._port is not None:
            self._port.write(output)
        self._tell()

    def _tell(self) -> None:
        async def notify() -> None:
            async with self._news:
                self._news.notify_all()

        task = asyncio.create_task(notify())
        self._news_tasks.add(task)
        task.add_done_callback(self._news_tasks.discard)

    # -- what the board asks -----------------------------------------------------------------------

    def _push(self, *message: object) -> None:
        if self._interpreter is not None and self._held is None:
            self._interpreter.push(*message)

    def _asked(self, number: int, verb: str, arguments: list[Any]) -> None:
        own: dict[str, Callable[..., Any]] = {
            "hello": self._hello,
            "interrupting": self._interrupting,
            "interrupt_again": self._interrupt_again,
            "wait": lambda: None,  # asked by a run that is about to end: it gets no answer
        }
        answer = own.get(verb) or self._chip.answers(verb) or self.network.answers(verb)
        answer = answer or self._wiring.answers(verb)
        value = answer(*arguments)
        if number and verb != "wait" and self._interpreter is not None:
            self._interpreter.answer(number, value)

    def _hello(self) -> dict[str, Any]:
        assert self._image is not None
        return {
            "clock": self.clock.microseconds(),
            "booted_at": round(self.clock.now() * US),
            "stepped": self.spec.stepped,
            "rtc_offset": self._chip.rtc_offset_us,
            "reset_cause": self._chip.cause,
            "unique_id": self.unique_id.hex(),
            "seeded": self._chip.entropy is not None,
            "image": str(self._image.path),
            "ledger": str(self._image.ledger_path.absolute()),
            "block": BLOCK_BYTES,
            "blocks": self.spec.flash_bytes // BLOCK_BYTES,
            "romfs": self.spec.romfs_bytes,
            "marks": self._marks.all(),
            "run_main": self.spec.run_main and not self._waiting_for_raw and not self._skip_main,
        }

    def _interrupting(self, number: int) -> bool:
        return self._interpreter is not None and self._interpreter.interrupting(number)

    def _interrupt_again(self) -> None:
        if self._interpreter is not None:
            self._interpreter.interrupt_again()
