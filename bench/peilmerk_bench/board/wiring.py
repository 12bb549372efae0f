"""The board's wires in the supervisor: what its UARTs, I2C buses and pins are connected to.

Moments arrive as whole microseconds of world time and are handed to the sensors in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peilmerk_bench.board.spec import BoardSpec, SensorSpec
from peilmerk_bench.sensors.device import (
    BusHang,
    Device,
    Edge,
    I2cDevice,
    Nack,
    PinDevice,
    Served,
    UartDevice,
)
from peilmerk_bench.sensors.radio import MASK, Air

HORIZON_S = 3600.0
"""Edges are told ahead for at most so much world time …"""

EDGES_AT_ONCE = 96
"""… and at most so many of them: they wait in the board's memory."""

US = 1_000_000


def microseconds(at: float) -> int:
    return round(at * US)


@dataclass
class _Uart:
    sensor: UartDevice
    spec: SensorSpec
    connected: bool = False
    rxbuf: int = 256


@dataclass
class Wiring:
    """The sensors of a board by name, and the answers to what its shims ask about them."""

    spec: BoardSpec
    push: Callable[..., None]
    sensors: dict[str, Device] = field(default_factory=dict)
    served: list[Served] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    listening: list[list[float]] = field(default_factory=list)
    levels_set: list[tuple[float, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._uarts: dict[int, _Uart] = {}
        self._i2c: list[tuple[SensorSpec, I2cDevice]] = []
        self._on_pins: list[PinDevice] = []
        self._air: list[Air] = []
        self._listeners: set[int] = set()
        for spec in self.spec.sensors:
            sensor = spec.make(spec.name)
            sensor.served = self.served
            self.sensors[spec.name] = sensor
            if isinstance(sensor, UartDevice) and spec.uart is not None:
                self._uarts[spec.uart] = _Uart(sensor, spec)
                sensor.on_change = lambda number=spec.uart: self.push("uart", number)
            elif isinstance(sensor, I2cDevice) and spec.i2c is not None:
                self._i2c.append((spec, sensor))
            elif isinstance(sensor, PinDevice):
                self._on_pins.append(sensor)
                sensor.on_change = lambda: self.push("edges")
            elif isinstance(sensor, Air):
                self._air.append(sensor)

    def answers(self, verb: str) -> Callable[..., Any]:
        """The method that answers a verb of the board's shims."""
        verbs: dict[str, Callable[..., Any]] = {
            "pins": self.pins,
            "edges": self.edges_after,
            "listen": self.listen,
            "pin": self.pin_set,
            "uart_open": self.uart_open,
            "uart_read": self.uart_read,
            "uart_write": self.uart_write,
            "i2c": self.i2c,
            "i2c_scan": self.i2c_scan,
            "adverts": self.adverts,
        }
        return verbs[verb]

    def power(self, at: float, on: bool) -> None:
        """The board's supply, which is the sensors' supply, comes or goes."""
        for sensor in self.sensors.values():
            sensor.switch(at, on)

    def board_ended(self, at: float) -> None:
        """The interpreter ended: edges that were told ahead did not happen for it."""
        self.edges[:] = [edge for edge in self.edges if edge[0] <= at]
        if self._listeners:
            self.listening[-1][1] = at
            self._listeners.clear()
        for port in self._uarts.values():
            port.connected = False

    def pins(self) -> list[int]:
        return [pin for device in self._on_pins for pin in device.pins]

    def edges_after(self, after_us: int) -> dict[str, Any]:
        """The levels at a moment, the edges after it, and until when they are complete."""
        after = after_us / US
        until = after + HORIZON_S
        self.edges[:] = [edge for edge in self.edges if microseconds(edge[0]) <= after_us]
        found = sorted(edge for device in self._on_pins for edge in device.edges(after, until))
        found = [edge for edge in found if microseconds(edge[0]) > after_us]
        if len(found) > EDGES_AT_ONCE:
            found = found[:EDGES_AT_ONCE]
            until = found[-1][0]
        self.edges += found
        flat = [value for at, pin, level in found for value in (microseconds(at), pin, level)]
        # a moment is exact to half a microsecond: what was told as an edge up to now is in the levels
        levels = [pair for device in self._on_pins for pair in device.levels(after + 0.5 / US).items()]
        return {"levels": levels, "edges": flat, "until": microseconds(until)}

    def listen(self, at_us: int, pin: int, on: bool) -> None:
        """The board begins or ends to react to a pin."""
        before = bool(self._listeners)
        self._listeners = self._listeners | {pin} if on else self._listeners - {pin}
        if not before and self._listeners:
            self.listening.append([at_us / US, math.inf])
        elif before and not self._listeners:
            self.listening[-1][1] = at_us / US

    def pin_set(self, at_us: int, pin: int, level: int) -> None:
        """The board sets a pin: sensors whose supply hangs on it come or go."""
        self.levels_set.append((at_us / US, pin, level))
        for spec in self.spec.sensors:
            if spec.power == pin:
                self.sensors[spec.name].switch(at_us / US, bool(level))

    def uart_open(
        self,
        at_us: int,
        number: int,
        baud: int,
        bits: int,
        parity: int,
        stop: int,
        pins: list[int | None],
        rxbuf: int,
    ) -> None:
        """A wrong speed, format or pin leaves the line dead."""
        port = self._uarts.get(number)
        if port is None:
            return
        right = zip((port.spec.tx, port.spec.rx), pins, strict=True)
        wired = all(want is None or have is None or want == have for want, have in right)
        port.connected = wired and (baud, bits, parity, stop) == (port.sensor.baud, 8, -1, 1)
        port.rxbuf = rxbuf
        port.sensor.read(at_us / US)

    def uart_read(self, at_us: int, number: int) -> tuple[str, int]:
        """What arrived, and when more will be there (-1: not by itself)."""
        port = self._uarts.get(number)
        if port is None or not port.connected:
            return "", -1
        at = at_us / US
        data = port.sensor.arrived(at)
        following = port.sensor.following(at)
        # rounded up: at the moment named, the last byte is there
        return data[: port.rxbuf].hex(), -1 if following is None else math.ceil(following * US) + 1

    def uart_write(self, at_us: int, number: int, data: str) -> None:
        port = self._uarts.get(number)
        if port is not None and port.connected:
            port.sensor.receive(at_us / US, bytes.fromhex(data))

    def i2c(self, at_us: int, wiring: list[int], address: int, data: str | None, size: int) -> str:
        """Hex of what was read, or the name of the error."""
        at = at_us / US
        for spec, sensor in self._i2c:
            if sensor.address == address and _on(spec, wiring):
                try:
                    return sensor.transfer(at, None if data is None else bytes.fromhex(data), size).hex()
                except Nack:
                    return "ENODEV"
                except BusHang:
                    return "ETIMEDOUT"
        return "ENODEV"

    def adverts(self, after_us: int, share: float) -> dict[str, Any]:
        """What a scanner hears after a moment, addresses masked, and until when that is complete."""
        if not self._air:
            return {"adverts": [], "until": after_us + round(HORIZON_S * US)}
        heard, until = self._air[0].adverts(after_us / US, share)
        flat = [
            value
            for at, address, rssi in heard
            for value in (microseconds(at), int.from_bytes(address, "big") ^ MASK, rssi)
        ]
        return {"adverts": flat, "until": max(microseconds(until), after_us + 1)}

    def i2c_scan(self, at_us: int, wiring: list[int]) -> list[int]:
        """The addresses that acknowledge."""
        return sorted(
            s.address for spec, s in self._i2c if _on(spec, wiring) and not s.silent and not s.hanging
        )


def _on(spec: SensorSpec, wiring: list[int]) -> bool:
    """Whether a sensor hangs on the bus the board opened: by number (-1 for a software bus) and by pins."""
    number, scl, sda = wiring
    if number >= 0 and number != spec.i2c:
        return False
    return all(want is None or have < 0 or want == have for want, have in ((spec.scl, scl), (spec.sda, sda)))
