"""Tells systemd how the gateway is (sd_notify(3)): ready, reloading, alive, stopping.

Only where systemd asks for it, by the environment variable NOTIFY_SOCKET; otherwise nothing is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

STARTING_S = 120.0


def tell(*lines: str) -> bool:
    """Send lines such as READY=1; return whether there is somebody to tell. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.connect(address)
            door.sendall("\n".join(lines).encode())
    except OSError:
        return False
    return True


async def still_starting(stop: asyncio.Event) -> None:
    """Tell, until cancelled or stopped, that a start goes on, so that it may take longer than systemd gives.

    A start waits ten minutes for a clock that jumped, and writes a large store anew in a thread. One whose
    event loop stands still is ended after STARTING_S all the same.
    """
    while not stop.is_set() and tell(f"EXTEND_TIMEOUT_USEC={STARTING_S * 1_000_000:.0f}"):
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), STARTING_S / 4)
