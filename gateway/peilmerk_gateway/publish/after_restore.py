"""A platform that knows more than the gateway: what was published between a backup and its restoration.

A restored store does not know what became of its rows since, nor which reports were there. So that nothing
appears twice, rows whose window ended before the restoration are looked up on the platform before they are
sent, for as long as there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peilmerk_gateway.publish import Description, OutboxRow, Outcome, Sink, Verdict


class AfterRestore:
    """A sink of a store that was restored at `restored_at` (unix seconds); all else is the sink's own."""

    def __init__(self, sink: Sink, restored_at: float) -> None:
        self._sink = sink
        self._restored_at = restored_at

    @property
    def name(self) -> str:
        """See `Sink.name`."""
        return self._sink.name

    @property
    def batch_rows(self) -> int:
        """See `Sink.batch_rows`."""
        return self._sink.batch_rows

    @property
    def settle_s(self) -> float:
        """See `Sink.settle_s`."""
        return self._sink.settle_s

    async def prepare(self, datastreams: Sequence[Description]) -> Mapping[str, str]:
        """See `Sink.prepare`."""
        return await self._sink.prepare(datastreams)

    async def send(self, rows: Sequence[OutboxRow]) -> Sequence[Outcome]:
        """See `Sink.send`; what the platform has already counts as sent. Raises Unavailable."""
        older = [row for row in rows if row.window_start + row.window_s <= self._restored_at]
        there = await self._sink.find(older) if older else {}
        found = [Outcome(number, Verdict.DONE, remote_id=remote) for number, remote in there.items()]
        missing = [row for row in rows if row.observation_id not in there]
        return [*found, *(await self._sink.send(missing) if missing else ())]

    async def find(self, rows: Sequence[OutboxRow]) -> Mapping[int, str]:
        """See `Sink.find`."""
        return await self._sink.find(rows)

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._sink.close()
