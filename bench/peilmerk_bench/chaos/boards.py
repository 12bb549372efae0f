"""Boards in software: the real protocol and real MQTT over TLS, without a microcontroller.

A `SoftBoard` does what the firmware's outbox and link do: a message has its number and its seal for good, it
is sent until the broker has acknowledged it, and what was acknowledged is never sent again. What was
acknowledged is what the gateway owes (`owed`). One thread a board.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from peilmerk_gateway.registry import Device
from peilmerk_protocol import cose, keys, profile, report, statement, topics

WINDOW_S = profile.STANDARD_COUNTER.window_s
TOWARDS, AWAY = 5, 6
IN_FLIGHT = 4
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Gate:
    """Where boards connect, and who vouches for it."""

    port: int
    authority: Path
    others: tuple[int, ...] = ()
    """Ports of the other servers of a cluster; a board takes any, at every connection anew."""


class SoftBoard:
    """One board that reports the windows from `first` on, `rate` of them a second, until it has none left.

    Of every fourth window one count lies below the threshold.
    """

    def __init__(
        self, device: Device, gate: Gate, firmware: bytes, first: int, rate: float, seed: str
    ) -> None:
        self.device_id = device.device_id
        self.owed: set[int] = set()
        """Numbers of the messages that the broker acknowledged."""
        self.connections = 0
        self.resent = 0
        self._password = device.mqtt_password or ""
        self._key = keys.derive(device.root_key, keys.UP)
        self._gate = gate
        self._firmware = firmware
        self._window = first
        self._random = random.Random(seed)
        self._pause = 1.0 / rate
        self._seq = 0
        self._waiting: dict[int, tuple[int, bytes]] = {}
        self._flying: dict[int, int] = {}  # packet id -> number
        self._tried: set[int] = set()
        self._admitted = False
        self._lost = False
        self._quiet = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"board {self.device_id}", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def quieten(self) -> None:
        """Make no new messages; what waits is still brought."""
        self._quiet.set()

    @property
    def waiting(self) -> int:
        """How many messages the broker has not acknowledged yet."""
        return len(self._waiting)

    def stop(self) -> None:
        """Leave at once."""
        self._stop.set()
        self._thread.join(CONNECT_S + 5)

    def _seal(self) -> None:
        """Make the next message: a statement first, then a window each."""
        self._seq += 1
        if self._seq == 1:
            digest = profile.digest(profile.STANDARD_COUNTER)
            said = statement.Statement(
                1, 1, self._firmware, digest, 1, (0, 1, 0), (1, 29, 0), 1, 60, 50_000, 100_000
            )
            kind, body = topics.STATEMENT, statement.encode(said)
        else:
            small = self._window % 4 == 0
            counts: dict[int, tuple[int, ...]] = {
                TOWARDS: (20 + self._seq % 50,),
                AWAY: (3 if small else 30 + self._seq % 70,),
            }
            kind, body = topics.REPORT, report.encode(self._seq, self._window, 1, 0, counts)
            self._window += 1
        self._waiting[self._seq] = kind, cose.seal(self._key, kind, self.device_id, body)

    def _has_more(self) -> bool:
        return not self._quiet.is_set() and (self._window + 1) * WINDOW_S < time.time()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            client = self._client()
            try:
                port = self._random.choice([self._gate.port, *self._gate.others])
                client.connect("127.0.0.1", port, keepalive=20)
                while not (self._stop.is_set() or self._lost):
                    if client.loop(timeout=min(0.05, self._pause)) != mqtt.MQTT_ERR_SUCCESS:
                        break
                    if self._admitted:
                        due = self._send(client, due)
            except (OSError, ValueError):
                pass
            finally:
                client.disconnect()
            self._stop.wait(self._random.uniform(0.02, 0.3))

    def _send(self, client: mqtt.Client, due: float) -> float:
        """Send what waits and is not under way, oldest first; return when the next message is to be made."""
        if time.monotonic() >= due and self._has_more() and len(self._waiting) < 2 * IN_FLIGHT:
            self._seal()
            due = max(due + self._pause, time.monotonic() - 1.0)
        under_way = set(self._flying.values())
        for seq, (kind, payload) in list(self._waiting.items()):
            if len(self._flying) >= IN_FLIGHT:
                break
            if seq in under_way:
                continue
            self.resent += seq in self._tried
            self._tried.add(seq)
            mid = client.publish(topics.topic(self.device_id, kind), payload, 1).mid
            self._flying[mid] = seq
        return due

    def _client(self) -> mqtt.Client:
        self._flying, self._admitted, self._lost = {}, False, False
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.device_id,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(self.device_id, self._password)
        client.connect_timeout = CONNECT_S
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        try:
            client.tls_set_context(ssl.create_default_context(cafile=str(self._gate.authority)))
        except OSError:
            client.tls_set_context(ssl.create_default_context())  # not made yet: nobody is believed
        return client

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self._admitted = not reason.is_failure
        self.connections += self._admitted

    def _on_disconnect(self, *_: Any) -> None:
        self._lost = True

    def _on_publish(self, _c: Any, _u: Any, mid: int, _reason: Any, _p: Any) -> None:
        # paho calls it for the PUBACK of a QoS 1 publish, and for nothing else of it.
        seq = self._flying.pop(mid, None)
        if seq is not None:
            self.owed.add(seq)
            self._waiting.pop(seq, None)


def waiting(boards: Sequence[SoftBoard]) -> int:
    """How many messages of all boards the broker has not acknowledged yet."""
    return sum(board.waiting for board in boards)
