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
import hashlib
import math
import os
from pathlib import Path
from typing import Any

from peilmerk_bench.board.console import BOOTED, RAW_BANNER, READY, Console, Marks
from peilmerk_bench.board.entropy import Handout, SeededEntropy
from peilmerk_bench.board.flash_image import FlashImage
from peilmerk_bench.board.interpreter import Interpreter, extension
from peilmerk_bench.board.port import Port
from peilmerk_bench.board.spec import BLOCK_BYTES, BoardError, BoardSpec
from peilmerk_bench.board.wiring import US, Wiring
from peilmerk_bench.sensors.beam import BeamPair, Edge
from peilmerk_bench.sensors.device import Device, Served
from peilmerk_bench.world.clock import WorldClock
from peilmerk_bench.world.passages import Passage

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = range(1, 6)
RTC_AT_POWER_ON_US = 946_684_800 * US
CONSOLE_KEPT = 65_536
WATCHDOG_FLOOR_S = 2.0
"""A watchdog waits at least so long in host time (or its own time-out, if shorter): a busy host is no hung
board.
"""

JOINED, NO_AP_FOUND, WRONG_PASSWORD = 1010, 201, 202
JOIN_US, SEARCH_US = 2 * US, 3 * US
RESTARTS_IN_A_ROW = 5


class VirtualBoard:
    """One board. spec: what it is made of; clock: the world's; run_dir: an existing directory for its
    ledger.
    """

    def __init__(self, spec: BoardSpec, clock: WorldClock, run_dir: Path) -> None:
        self.spec = spec
        self.clock = clock
        self.unique_id = b"\x02" + hashlib.sha256(spec.name.encode()).digest()[:5]
        self.on_periods: list[list[float]] = []
        self.resets: list[tuple[float, int]] = []
        self._run_dir = run_dir
        self._wiring = Wiring(spec, self._push)
        self._entropy = None if spec.entropy_seed is None else SeededEntropy(spec.entropy_seed, spec.name)
        self._port: Port | None = None
        self._image: FlashImage | None = None
        self._interpreter: Interpreter | None = None
        self._console: Console | None = None
        self._lives: asyncio.Task[None] | None = None
        self._why: str | None = None
        self._cut = False
        self._cause = PWRON_RESET
        self._rtc_offset_us = 0
        self._rtc_memory = b""
        self._sleep_us = 0
        self._tail = bytearray()
        self._held: bytearray | None = bytearray()
        self._waiting_for_raw = False
        self._ready = asyncio.Event()
        self._news = asyncio.Condition()
        self._news_tasks: set[asyncio.Task[None]] = set()
        self._watchdog_s = 0.0
        self._fed_at = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        self._wifi_up = True

    # -- power ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the port and let the power come; returns when the flash is mounted and boot.py begins.

        Raises BoardError when the interpreter is not installed or the flash image cannot be used.
        """
        extension()
        if self._port is not None:
            raise BoardError(f"board {self.spec.name} was started before")
        self._image = FlashImage(self.spec.flash, self.spec.flash_bytes, self._run_dir)
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
        self._rtc_offset_us = RTC_AT_POWER_ON_US - round(now * US)
        self._rtc_memory = b""
        self._cause = PWRON_RESET
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
        return [] if self._entropy is None else self._entropy.log

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

    async def console_shows(self, text: str, timeout: float = 30.0) -> None:
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
        return self._wifi_up

    @wifi_up.setter
    def wifi_up(self, up: bool) -> None:
        if up != self._wifi_up:
            self._wifi_up = up
            self._push("wifi")

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
                    self._cause = SOFT_RESET
                    quick = quick + 1 if loop.time() - began < 1 else 0
                    if quick > RESTARTS_IN_A_ROW:
                        await asyncio.sleep(0.5)  # a main.py that ends at once must not take the machine
                    continue
                raw = False
                if why == "deepsleep":
                    self._emit(b"\r\nrst: deep sleep\r\n")
                    self._cause = DEEPSLEEP_RESET
                    if not await self._sleep():
                        return
                else:
                    self._cause = WDT_RESET if why == "watchdog" else HARD_RESET
                    self._emit(b"\r\nrst: " + why.encode() + b"\r\n")
        finally:
            now = self.clock.now()
            self.on_periods[-1][1] = now
            self._wiring.power(now, False)

    async def _sleep(self) -> bool:
        """Deep sleep; False if the power went meanwhile."""
        self._why = "power" if self._cut else None
        wake = asyncio.get_running_loop().time() + self.clock.host_seconds(self._sleep_us / US)
        while self._why is None:
            left = wake - asyncio.get_running_loop().time() if self._sleep_us >= 0 else 3600.0
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
        self._marks = Marks()
        self._console = Console(self._marks, raw)
        interpreter = Interpreter(self.spec.heap_kib, self._written, self._asked)
        try:
            await interpreter.start()
            self._interpreter = interpreter
            self.resets.append((self.clock.now(), self._cause))
            if self._why is not None or self._cut:
                interpreter.kill()
            code = await interpreter.wait()
        except asyncio.CancelledError:
            interpreter.kill()
            raise
        finally:
            self._interpreter = None
            self._held = bytearray()
            self._watch(0.0)
            self._wiring.board_ended(self.clock.now())
        if (rest := self._console.end()) and not self._waiting_for_raw:
            self._emit(rest)
        if self._cut:
            return "power", False
        if self._why is None and code < 0:
            self._emit(f"\r\nthe interpreter died of signal {-code}\r\n".encode())
            return "panic", False
        return self._why or "soft", self._console.raw

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
                self._dropped = bytearray()
                self._interpreter.type(b"\x01")

    def _show(self, output: bytes) -> None:
        if self._waiting_for_raw and hasattr(self, "_dropped"):
            self._dropped += output
            at = self._dropped.find(RAW_BANNER)
            if at < 0:
                return
            output = bytes(self._dropped[at:])
            del self._dropped
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
        value = getattr(self, f"_on_{verb}", None) or getattr(self._wiring, _WIRED[verb])
        answer = value(*arguments)
        if number and verb != "wait" and self._interpreter is not None:
            self._interpreter.answer(number, answer)

    def _on_hello(self) -> dict[str, Any]:
        assert self._image is not None
        return {
            "clock": self.clock.microseconds(),
            "booted_at": round(self.clock.now() * US),
            "rtc_offset": self._rtc_offset_us,
            "reset_cause": self._cause,
            "unique_id": self.unique_id.hex(),
            "seeded": self._entropy is not None,
            "image": str(self._image.path),
            "ledger": str(self._image.ledger_path.absolute()),
            "block": BLOCK_BYTES,
            "blocks": self.spec.flash_bytes // BLOCK_BYTES,
            "marks": self._marks.all(),
            "run_main": self.spec.run_main and not self._waiting_for_raw,
        }

    def _on_reset(self) -> None:
        self._end("reset")

    def _on_soft_reset(self) -> None:
        self._end("soft")

    def _on_wait(self) -> None:
        """Asked by a board that is about to end; there is no answer."""

    def _on_power_cut(self) -> None:
        self._end("power")

    def _on_deepsleep(self, at_us: int, us: int) -> None:
        self._sleep_us = us
        self._end("deepsleep")

    def _on_rtc(self, offset_us: int) -> None:
        self._rtc_offset_us = offset_us

    def _on_memory(self) -> str:
        return self._rtc_memory.hex()

    def _on_remember(self, data: str) -> None:
        self._rtc_memory = bytes.fromhex(data)

    def _on_mac(self) -> str:
        return self.unique_id.hex()

    def _on_urandom(self, at_us: int, count: int) -> str:
        data = os.urandom(count) if self._entropy is None else self._entropy.take(at_us / US, count)
        return data.hex()

    def _on_wifi(self, at_us: int, ssid: str, key: str | None) -> tuple[int, int]:
        if not self._wifi_up:
            return NO_AP_FOUND, SEARCH_US
        if not self.spec.wifi:
            return JOINED, JOIN_US
        for network in self.spec.wifi:
            if network.ssid == ssid:
                right = network.password == (key or "")
                return (JOINED, JOIN_US) if right else (WRONG_PASSWORD, SEARCH_US)
        return NO_AP_FOUND, SEARCH_US

    def _on_wifi_scan(self) -> list[str]:
        return [network.ssid for network in self.spec.wifi] if self._wifi_up else []

    def _on_interrupting(self, number: int) -> bool:
        return self._interpreter is not None and self._interpreter.interrupting(number)

    def _on_interrupt_again(self) -> None:
        if self._interpreter is not None:
            self._interpreter.interrupt_again()

    def _on_watchdog(self, timeout_us: int) -> None:
        timeout = timeout_us / US
        self._watch(max(self.clock.host_seconds(timeout), min(timeout, WATCHDOG_FLOOR_S)))

    def _on_feed(self) -> None:
        self._fed_at = asyncio.get_running_loop().time()

    def _watch(self, seconds: float) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._watchdog_s = seconds
        if seconds:
            self._on_feed()
            self._watchdog = asyncio.get_running_loop().call_later(seconds, self._bark)

    def _bark(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._fed_at + self._watchdog_s - loop.time()
        if left <= 0:
            self._end("watchdog")
        else:
            self._watchdog = loop.call_later(left, self._bark)


_WIRED = {
    "pins": "pins",
    "edges": "edges_after",
    "listen": "listen",
    "pin": "pin_set",
    "uart_open": "uart_open",
    "uart_read": "uart_read",
    "uart_write": "uart_write",
    "i2c": "i2c",
    "i2c_scan": "i2c_scan",
}
