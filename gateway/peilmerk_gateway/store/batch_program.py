"""The process that writes batches, for the gateway that started it: see `batch_process`.

    python -m peilmerk_gateway.store.batch_program FILE SOCKET

It never closes its connection, nor lets go of it: with the last one SQLite writes its log into its file, past
the mirror.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from peilmerk_gateway import collector
from peilmerk_gateway.store import engine
from peilmerk_gateway.store.batch import write_batch
from peilmerk_gateway.store.batch_process import FAULT, Answer, from_plain, receive, send
from peilmerk_gateway.store.device_streams import Streams
from peilmerk_gateway.store.engine import StoreError


def serve(file: Path, gateway: socket.socket) -> NoReturn:
    """Write batches until the gateway is gone, and end this process then."""
    writing = engine.open_engine(file, writer=True)
    streams = Streams()
    collector.spare()
    while True:
        try:
            request = receive(gateway)
        except (OSError, EOFError):
            # At once: what returns from here lets go of the connection.
            os._exit(0)
        answer = _answer(writing, streams, request)
        with suppress(OSError):
            send(gateway, pickle.dumps(answer))


def _answer(writing: Engine, streams: Streams, request: bytearray) -> Answer:
    try:
        told, sinks, now, bounds = pickle.loads(request)
        with writing.begin() as connection:
            stored = write_batch(connection, from_plain(told), sinks, now, bounds, streams)
        streams.stand()
    except DBAPIError as reason:
        failed = engine.failed(writing.url, reason)
        return type(failed).__name__, str(failed)
    except StoreError as reason:
        return StoreError.__name__, str(reason)
    except Exception as fault:  # its text may repeat what was in the batch
        return FAULT, type(fault).__name__
    return stored


if __name__ == "__main__":
    serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
