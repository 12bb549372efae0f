"""Open: tells whether a delivery is a message of one of our devices, and reads it.

Order matters: size, then the device's key, then the seal, and only then the content. Until the seal holds,
the device in the topic is a claim, and a refusal says nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import field

from peilmerk_gateway import sealed
from peilmerk_gateway.immutable import immutable
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.registry import Registry
from peilmerk_protocol import command, cose, keys, report, statement, topics
from peilmerk_protocol.command import Ack
from peilmerk_protocol.error import ProtocolError
from peilmerk_protocol.report import Report
from peilmerk_protocol.statement import Statement


@immutable
class Opened:
    """One authentic message. `size` in bytes, `digest` the SHA-256 of it as sealed."""

    device_id: str
    message: Report | Statement | Ack = field(repr=False)
    size: int
    digest: bytes = field(repr=False)
    redelivered: bool
    kind: int = topics.REPORT
    """A day's total and a report are the same kind of message about another stretch of time."""


class Keyring:
    """The keys by which devices' messages are opened, derived once a device.

    `refresh` before each batch: whoever was enrolled or revoked meanwhile is known then.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision: int | None = None
        self._keys: dict[str, bytes | Reason] = {}
        self.trail_head: tuple[int, bytes] | None = None
        """The last action of the registry that these keys are of."""

    def refresh(self) -> None:
        """Forget every key when the registry changed."""
        revision = self._registry.revision()
        if revision != self._revision:
            self._keys.clear()
            self.trail_head = self._registry.trail_head()
            self._revision = revision

    def key(self, device_id: str) -> bytes | Reason:
        """Return the device's key for messages to the gateway, or why it has none."""
        found = self._keys.get(device_id)
        if found is None:
            found = self._derive(device_id)
            # Anybody may name devices that do not exist: only those that do are remembered.
            if found is not Reason.UNKNOWN_DEVICE:
                self._keys[device_id] = found
        return found

    def _derive(self, device_id: str) -> bytes | Reason:
        device = self._registry.get(device_id)
        if device is None:
            return Reason.UNKNOWN_DEVICE
        if device.revoked:
            return Reason.REVOKED_DEVICE
        return keys.derive(device.root_key, keys.UP)


def open_delivery(delivery: Delivery, keyring: Keyring, now: float) -> Opened | Refusal:
    """Authenticate and read one delivery. Raises nothing for any bytes on any topic."""
    payload, device_id = delivery.payload, delivery.device_id

    def refused(reason: Reason, authentic: str | None = None) -> Refusal:
        return Refusal(reason, authentic, len(payload), now)

    if len(payload) > cose.MAX_SEALED:
        return refused(Reason.TOO_LARGE)
    if device_id is None or delivery.kind not in _READERS:
        return refused(Reason.MALFORMED)
    key = keyring.key(device_id)
    if isinstance(key, Reason):
        return refused(key)
    try:
        body = sealed.open_sealed(key, delivery.kind, device_id, payload)
    except cose.SealError as error:
        return refused(Reason.FORGED if error.reason == "forged" else Reason.MALFORMED)
    try:
        message = _READERS[delivery.kind](body)
    except ProtocolError as error:
        return refused(Reason.QUANTITY_RANGE if error.reason == "range" else Reason.MALFORMED, device_id)
    return Opened(
        device_id,
        message,
        len(payload),
        hashlib.sha256(payload).digest(),
        delivery.redelivered,
        delivery.kind,
    )


_READERS: dict[int, Callable[[bytes], Report | Statement | Ack]] = {
    topics.REPORT: sealed.decode_report,
    topics.STATEMENT: statement.decode,
    topics.ACK: command.decode_ack,
    topics.DAY: report.decode_day,
}
