"""What a Mosquitto (2.0 or newer) needs to be the broker of a gateway: configuration, rights and passwords.

The *gateway* reads what all devices publish and writes to any device's command topic. A *device* writes its
own report, statement, ack and day topics and reads its own command topic, by patterns with its user name in
them, so a device more or less changes the passwords only. Nobody is anonymous. A client's id is its user name
whatever it asks for, so that no device can take the gateway's session, or another device's, by its id.

Mosquitto grants a subscription outside these rights and never delivers on it, and acknowledges a publish
outside them and drops it (MQTT 5 is told so). It writes its queue to the disk every `AUTOSAVE_S` seconds and
when it is stopped: a broker that is killed loses what came in since.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peilmerk_gateway.broker_access import mqtt_settings, read_password
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest import mqtt
from peilmerk_gateway.mosquitto_hash import hash_password
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.trust import ensure_trust
from peilmerk_protocol import topics

UP = (topics.REPORT, topics.STATEMENT, topics.ACK, topics.DAY)
AUTOSAVE_S = 10
# Held in memory, some 200 bytes each; above it Mosquitto drops what it acknowledges. A thousand boards that
# send four reports an hour fill it in ten days.
QUEUE_MESSAGES = 1_000_000
WINDOW = mqtt.BATCH * mqtt.OUTSTANDING


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` wrote."""

    folder: Path
    devices: int
    without_hash: tuple[str, ...]
    """Devices that cannot connect: enrolled before the registry kept Mosquitto's hash of their password."""
    new_password: Path | None
    """The gateway's password file, when there was none."""


def write(settings: Settings, registry: Registry, folder: Path, at: Path | None = None) -> Written:
    """Write mosquitto.conf, acl, passwords, certificate and key into `folder`, and the place for its store.

    `at` is where the folder will lie on the broker's machine. All of it but the certificate is readable by
    the owner only. Raises PeilmerkError when the settings are not those of a broker that others run.
    """
    way = mqtt_settings(settings)
    if way.ca_file is not None and settings.broker.certificate is None:
        raise PeilmerkError(
            f"{settings.file}: broker: found mqtt.ca_file alone, wanted certificate, key and authority "
            "too, or none of them: the listener needs a certificate that the gateway and the boards accept"
        )
    trust = ensure_trust(settings)
    new_password = None
    if not way.password_file.exists():
        way.password_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(way.password_file, secrets.token_urlsafe(32) + "\n", 0o600)
        new_password = way.password_file
    devices = [device for device in registry.all() if not device.revoked]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "store").mkdir(exist_ok=True, mode=0o700)
    home = (at or folder).absolute()
    _write(folder / "server.pem", trust.certificate.read_text("ascii"), 0o644)
    _write(folder / "server.key", trust.key.read_text("ascii"), 0o600)
    _write(folder / "acl", acl(way.user), 0o600)
    _write(folder / "passwords", passwords(way.user, read_password(way.password_file), devices), 0o600)
    _write(
        folder / "mosquitto.conf", configuration(home, settings.broker.host, settings.broker.mqtt_port), 0o600
    )
    missing = tuple(device.device_id for device in devices if device.mosquitto_hash is None)
    return Written(folder, len(devices) - len(missing), missing, new_password)


def configuration(home: Path, host: str, port: int) -> str:
    """Return mosquitto.conf for files that lie in `home` and a listener on `host` and `port`."""
    if any(character.isspace() and character != " " for character in str(home)):
        raise PeilmerkError(f"{home}: found a line break or tab in the folder's name, wanted one without")
    return "\n".join(
        [
            "# Written by 'peilmerk gateway broker-config'; it will be overwritten.",
            "allow_anonymous false",
            f"password_file {home}/passwords",
            f"acl_file {home}/acl",
            "",
            "# The gateway's session outlives the broker and is never given up.",
            "persistence true",
            f"persistence_location {home}/store/",
            f"autosave_interval {AUTOSAVE_S}",
            f"max_queued_messages {QUEUE_MESSAGES}",
            "# How far the broker may be ahead of the gateway's store.",
            f"max_inflight_messages {WINDOW}",
            "",
            f"max_packet_size {mqtt.PACKET_MOST}",
            "retain_available false",
            "allow_zero_length_clientid false",
            "sys_interval 0",
            "",
            "# No addresses in the log.",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "connection_messages false",
            "",
            f"listener {port} {host}",
            f"certfile {home}/server.pem",
            f"keyfile {home}/server.key",
            "use_username_as_clientid true",
            "max_qos 1",
            "",
        ]
    )


def acl(gateway: str) -> str:
    """Return the rights: the gateway's by its user name, every device's by patterns with its own."""
    kinds = [topics.KIND_NAMES[kind] for kind in UP]
    command = topics.KIND_NAMES[topics.COMMAND]
    return "\n".join(
        [
            f"user {gateway}",
            *(f"topic read peilmerk/1/+/{kind}" for kind in kinds),
            f"topic write peilmerk/1/+/{command}",
            "",
            "# Every device, by its user name, which is its id.",
            *(f"pattern write peilmerk/1/%u/{kind}" for kind in kinds),
            f"pattern read peilmerk/1/%u/{command}",
            "",
        ]
    )


def passwords(gateway: str, password: str, devices: Iterable[Device]) -> str:
    """Return the password file: the gateway, and every device whose hash is known."""
    lines = [f"{gateway}:{hash_password(password)}"]
    lines += [f"{one.device_id}:{one.mosquitto_hash}" for one in devices if one.mosquitto_hash is not None]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    """Put a whole file in place at once, so that a broker that reloads never reads half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
