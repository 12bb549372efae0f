"""Publish: brings stored observations to urban data platforms, each of them once.

A `Sink` is one platform. It is told apart from the worker that feeds it (`outbox.publish_loop`), so that what
a platform is like and what may never happen to a row are decided in two places:

- the worker keeps the books: a row is marked as being sent before the first byte leaves, and what is in doubt
  is looked up before it is sent again;
- the sink speaks the platform's language and says of every single row what became of it (`Outcome`).

A row (`OutboxRow`) has the store's units: unix seconds and whole wire numbers. It carries no device id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.publish.describe import Description
from peilmerk_gateway.store import OutboxRow

__all__ = ["Description", "OutboxRow", "Outcome", "PublishError", "Sink", "Unavailable", "Verdict"]


class PublishError(PeilmerkError):
    """A sink cannot be set up as the settings say."""


class Unavailable(Exception):
    """The platform cannot be used now and nothing that was asked of it happened or matters.

    `retry_after_s` is how long the platform itself asked to be left alone.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Verdict(Enum):
    """What became of one row."""

    DONE = "done"
    """The platform has it."""
    REFUSED = "refused"
    """The platform does not have it and said no to this row alone."""
    AGAIN = "again"
    """The platform certainly does not have it; sending it again is safe."""
    DOUBT = "doubt"
    """The platform may have it: it has to be looked up before it is sent again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one row.

    `remote_id` is the platform's id of it (DONE), `reason` the platform's words or ours (all others).
    `certain` tells of a refusal that the platform gave a cause for; without one, the platform may as well
    have been in trouble itself. `retry_after_s` is how long the platform asked to be left alone.
    """

    observation_id: int
    verdict: Verdict
    remote_id: str | None = None
    reason: str = ""
    certain: bool = True
    retry_after_s: float = 0.0


class Sink(Protocol):
    """One platform to publish to. Used by one task at a time."""

    @property
    def name(self) -> str:
        """The name from the settings, under which the store queues rows for it."""
        ...

    @property
    def batch_rows(self) -> int:
        """How many rows it takes at once."""
        ...

    @property
    def settle_s(self) -> float:
        """How long after a lost answer the platform may still be working on what it was sent, s."""
        ...

    async def prepare(self, datastreams: Sequence[Description]) -> Mapping[str, str]:
        """Make sure the platform knows these datastreams; the same again creates nothing twice.

        Returns those that it will not have, key -> reason; they are left alone for a while. Raises
        Unavailable.
        """
        ...

    async def send(self, rows: Sequence[OutboxRow]) -> Sequence[Outcome]:
        """Send rows of prepared datastreams, per datastream in the given order; one outcome for every row."""
        ...

    async def find(self, rows: Sequence[OutboxRow]) -> Mapping[int, str]:
        """Look up which of these rows the platform already has: observation id -> its id there.

        Raises Unavailable; an answer that is not certain is never given.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
