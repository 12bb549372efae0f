"""Ingest: takes what devices published out of the broker, and acknowledges it only when the caller says so.

The contract is at least once. A `Batch` stays the broker's responsibility until `Batch.ack()` returned;
whatever was not acknowledged when the gateway, its connection or the broker died is delivered again,
marked `redelivered`, not necessarily in the order of sending. Storing has to be idempotent; losing is not
possible.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.immutable import immutable
from peilmerk_protocol import topics

# What the contract's own reading of a topic takes, at a fraction of the time.
_KINDS = {name: kind for kind, name in enumerate(topics.KIND_NAMES) if name}
_TOPIC = re.compile(f"peilmerk/1/([{topics.ALPHABET}]{{{topics.ID_LENGTH}}})/({'|'.join(_KINDS)})")


class IngestError(PeilmerkError):
    """The broker cannot be asked or told at this moment; the text says what is in the way."""


@immutable
class Delivery:
    """One message of one device, as it came: nothing in it is authenticated yet.

    `device_id` is what the topic says (None when the topic is not one of ours: count it as malformed),
    `kind` is REPORT, STATEMENT, ACK or DAY of `peilmerk_protocol.topics` (0 with an unreadable topic).
    """

    device_id: str | None
    kind: int
    payload: bytes = field(repr=False)
    redelivered: bool = False

    @classmethod
    def of_topic(cls, topic: str, payload: bytes, redelivered: bool = False) -> Delivery:
        """Read device and kind from an MQTT topic; one that is not ours has no device."""
        if (plain := _TOPIC.fullmatch(topic)) is not None:
            return cls(plain[1], _KINDS[plain[2]], payload, redelivered)
        try:
            device_id, kind = topics.parse(topic)
        except topics.TopicError:
            return cls(None, 0, payload, redelivered)
        return cls(device_id, kind, payload, redelivered)


async def _nothing() -> None:
    """Acknowledge nothing: for batches that no broker stands behind."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries that are acknowledged together, after they were stored in one transaction."""

    deliveries: tuple[Delivery, ...]
    _ack: Callable[[], Awaitable[None]] = field(default=_nothing, repr=False)

    async def ack(self) -> None:
        """Tell the broker that all of it is stored.

        Never raises for a lost connection: what the broker did not hear, it delivers again.
        """
        await self._ack()


class Ingest(Protocol):
    """A source of batches."""

    def batches(self) -> AsyncIterator[Batch]:
        """Yield batches for ever, across reconnections; ends when the ingest is closed."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker now."""
        ...

    async def close(self) -> None:
        """Stop yielding and leave the broker; unacknowledged batches stay with the broker."""
        ...


class Courier(Protocol):
    """The way down to devices: what is told arrives when the device is listening, or not at all."""

    async def reach(self) -> None:
        """See to it that there is a connection; raises IngestError when there cannot be one."""
        ...

    async def tell(self, topic: str, payload: bytes) -> None:
        """Hand a message to the broker; raises IngestError when the broker did not take it."""
        ...

    async def hang_up(self) -> None:
        """Let go of what was opened for it; the next `tell` opens it anew. Never raises."""
        ...
