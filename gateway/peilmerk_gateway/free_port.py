"""Ports for listeners that are opened some time after they were chosen, and again later on."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

# Where Linux says which ports it gives to every connection that goes out and to everybody who listens on any
# port, ip(7); elsewhere RFC 6335, section 6, has them begin at 49152.
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
# Not the shared one: who seeds that would have every process choose the same port.
_CHANCE = random.SystemRandom()


def free_port(host: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of `host` that nobody has now and that nobody is given who did not ask for it.

    A port that the kernel chooses may be somebody else's a moment later. Raises OSError when `host` is not an
    address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    below = _given_from()
    for _ in range(100):
        port = _CHANCE.randrange(_LOWEST, below) if below > _LOWEST else 0
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError as reason:
                if reason.errno != errno.EADDRINUSE:
                    raise
            else:
                return int(probe.getsockname()[1])
    raise OSError(errno.EADDRINUSE, f"found no free port of {host} in a hundred tries")


def _given_from() -> int:
    try:
        return int(_GIVEN.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 49_152
