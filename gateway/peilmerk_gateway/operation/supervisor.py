"""Tells systemd how the gateway is (sd_notify(3)): ready, reloading, alive, stopping.

Only where systemd asks for it, by the environment variable NOTIFY_SOCKET; otherwise nothing is told.
"""

from __future__ import annotations

import os
import socket


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
