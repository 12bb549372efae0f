"""The link part of a board's node.json: where its gateway is, what time it trusts, which Wi-Fi it may join.

    {"host", "port", "server_name", "ntp": [[host, port], ...], "timeout_s", "wifi": [[ssid, password], ...],
     "update": {"host", "port", "server_name"}}

Only what is given is written, the rest is the firmware's default; merging with what the board already has
happens on the board, so that a password that is there never comes back over the cable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peilmerk_gateway.settings import Settings
from peilmerk_provisioning.errors import EnrolError, PeilmerkError

__all__ = ["LinkError", "gateway_link", "read_password", "trust_of", "wifi_link"]

TIMEOUT_S = 30
NTP_PORT = 123
ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})
SSID_BYTES = 32
WPA_PASSWORD = range(8, 64)


class LinkError(PeilmerkError):
    """The link cannot be described; the text says what was found and what was wanted."""


def gateway_link(
    settings: Settings, *, host: str | None = None, port: int | None = None, ntp: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the link to the gateway of these settings.

    `host` and `port` are where boards reach the broker; without them the settings' own address and port, or
    the first server name when the broker listens on every address. `ntp` are "HOST" or "HOST:PORT"; without
    any the firmware asks its own choice of servers.
    Raises LinkError.
    """
    broker = settings.broker
    server_name = broker.server_names[0]
    if host is None:
        host = server_name if broker.host in ANY_ADDRESS else broker.host
    elif host in broker.server_names:
        server_name = host
    port = port or broker.mqtt_port
    if not port:
        raise LinkError(
            f"{settings.file}: broker.mqtt_port is 0, any free port, and boards need a fixed one: "
            "set it there or give --mqtt-port"
        )
    link: dict[str, Any] = {"host": host, "port": port, "server_name": server_name, "timeout_s": TIMEOUT_S}
    if settings.update is not None and settings.update.port:
        # The gateway hands out firmware under the broker's names and certificate.
        link["update"] = {"host": host, "port": settings.update.port, "server_name": server_name}
    return link | ({"ntp": [_address(text) for text in ntp]} if ntp else {})


def wifi_link(ssid: str, password: str) -> dict[str, Any]:
    """Return a link part that adds one Wi-Fi network; an empty password is an open network. Raises
    LinkError.
    """
    if not 1 <= len(ssid.encode()) <= SSID_BYTES:
        raise LinkError(f"found a Wi-Fi name of {len(ssid.encode())} bytes, wanted 1 to {SSID_BYTES}")
    if password and len(password) not in WPA_PASSWORD:
        raise LinkError(
            f"found a Wi-Fi password of {len(password)} characters for {ssid!r}, wanted "
            f"{WPA_PASSWORD.start} to {WPA_PASSWORD.stop - 1}, or none for an open network"
        )
    return {"wifi": [[ssid, password]]}


def read_password(file: Path) -> str:
    """Return the first line of a file, which holds a Wi-Fi password. Raises LinkError."""
    try:
        text = file.read_text("utf-8")
    except OSError as reason:
        raise LinkError(f"{file}: {reason.strerror}, wanted a file with the Wi-Fi password") from reason
    except UnicodeDecodeError as reason:
        raise LinkError(f"{file}: found bytes that are not UTF-8, wanted a Wi-Fi password") from reason
    return text.split("\n", 1)[0].rstrip("\r")


def trust_of(settings: Settings) -> bytes:
    """Return the certificate, DER, that boards of this gateway trust. Raises EnrolError when there is none
    yet.
    """
    try:
        return settings.authority_der.read_bytes()
    except FileNotFoundError:
        raise EnrolError(
            f"{settings.authority_der}: found no certificate of the gateway's authority, which boards must "
            "carry: start the gateway once ('peilmerk gateway run'), then enrol"
        ) from None
    except OSError as reason:
        raise EnrolError(f"{settings.authority_der}: {reason.strerror}") from reason


def _address(text: str) -> list[str | int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        return [text, NTP_PORT]
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise LinkError(f"found time server {text!r}, wanted HOST or HOST:PORT")
    return [host, int(port)]
