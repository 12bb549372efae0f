"""The way down to devices by the gateway's own broker: a plain publish, which NATS hands to MQTT at QoS 0."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from nats.aio.client import Client

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest import IngestError
from peilmerk_gateway.ingest.jetstream import CONNECT_S, Access, Unreachable, connect


class NatsCourier:
    """Tells devices, on a connection of its own that is made when it is needed."""

    def __init__(self, access: Callable[[], Access]) -> None:
        """Take the way in from `access` at every connection, since a broker may come back on another port."""
        self._access = access
        self._connection: Client | None = None

    async def reach(self) -> None:
        """Connect, if there is no connection; raises IngestError."""
        await self._reached()

    async def tell(self, topic: str, payload: bytes) -> None:
        """Hand a message to the broker; raises IngestError when it is not there."""
        connection = await self._reached()
        try:
            await connection.publish(topic.replace("/", "."), payload)
            await connection.flush(timeout=int(CONNECT_S))
        except Unreachable as reason:
            await self.hang_up()
            raise IngestError(str(reason) or type(reason).__name__) from reason

    async def hang_up(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*Unreachable):
                await connection.close()

    async def _reached(self) -> Client:
        try:
            if self._connection is None:
                self._connection = await connect(self._access())
        except (*Unreachable, PeilmerkError) as reason:
            raise IngestError(str(reason) or type(reason).__name__) from reason
        return self._connection
