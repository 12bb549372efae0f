"""Ingest: takes what devices published out of the broker, and acknowledges it only when the caller says so.

The contract is at least once. A `Batch` stays the broker's responsibility until `Batch.ack()` returned;
whatever was not acknowledged when the gateway, its connection or the broker died is delivered again,
marked `redelivered`, not necessarily in the order of sending. Storing has to be idempotent; losing is not
possible.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of one device, as it came: nothing in it is authenticated yet.

    `device_id` is what the topic says (None when the topic is not one of ours: count it as malformed),
    `kind` is REPORT, STATEMENT, ACK or DAY of `peilmerk_protocol.topics` (0 with an unreadable topic).
    """

    device_id: str | None
    kind: int
    payload: bytes = field(repr=False)
    redelivered: bool = False


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

    async def pending(self) -> int:
        """Return how many messages the broker still holds for the gateway.

        Delivered but unacknowledged ones are included: 0 means that everything was stored.
        """
        ...

    async def close(self) -> None:
        """Stop yielding and leave the broker; unacknowledged batches stay with the broker."""
        ...
