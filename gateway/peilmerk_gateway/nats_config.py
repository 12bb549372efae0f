"""The configuration file of the NATS server: who may connect where, and what they may say and hear.

Three kinds of users. The *gateway* comes in by the client port on the loopback interface and may do
everything. The *knocker* comes in by MQTT, may do nothing at all, and exists to see that the MQTT door
opens (its connecting also makes the server create its streams). A *device* comes in by MQTT only, may
publish on its own report, statement, ack and day topics and subscribe to its own command topic, and nothing
else: NATS needs no further permission for MQTT at QoS 1, since it delivers on internal subjects for the
client, not by its rights.

A publish outside these rights is acknowledged to the device and dropped: MQTT 3.1.1 has no way of
refusing one. What still binds devices together is that MQTT client ids are shared by all users: a second
connection with the same client id ends the first. Devices use their own random id, which no other device
knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peilmerk_gateway.registry import Device
from peilmerk_gateway.trust import Trust
from peilmerk_protocol import topics

SERVER_NAME = "peilmerk"
GATEWAY_USER = "gateway"
KNOCKER_USER = "knocker"
# A sealed report is some 50 bytes; this leaves room for update offers, and bounds what a stranger can
# make us read.
MAX_PAYLOAD = 65_536
# A small board on a bad link takes seconds for a TLS handshake; the server's own default is two.
TLS_TIMEOUT_S = 30
LOGIN_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the server listens."""

    mqtt_host: str
    mqtt_port: int
    client_port: int


def render(
    *,
    doors: Doors,
    trust: Trust,
    store: Path,
    store_bytes: int,
    gateway_hash: str,
    knocker_hash: str,
    devices: Iterable[Device],
    sync: str = "always",
) -> str:
    """Write the configuration. Hashes are bcrypt; devices that were revoked are left out."""
    users = [
        user(GATEWAY_USER, gateway_hash, "STANDARD"),
        user(KNOCKER_USER, knocker_hash, "MQTT", publish=(), subscribe=()),
        *(device_user(device) for device in devices if not device.revoked),
    ]
    return "\n".join(
        [
            f"server_name: {SERVER_NAME}",
            'host: "127.0.0.1"',
            f"port: {doors.client_port}",
            f"max_payload: {MAX_PAYLOAD}",
            "jetstream {",
            f"  store_dir: {quoted(store)}",
            # A report is acknowledged only once it is on the disk, not in the kernel's cache. Measured where
            # a sync takes 0.23 ms: one board pipelining gets 2,800 reports a second acknowledged instead of
            # 7,100; one at a time 1,000 instead of 1,100.
            f"  sync_interval: {sync}",
            f"  max_file_store: {store_bytes}",
            f"  max_memory_store: {16 << 20}",
            "}",
            "mqtt {",
            f"  host: {quoted(doors.mqtt_host)}",
            f"  port: {doors.mqtt_port}",
            # The contract is QoS 1; the second half of QoS 2 would be state that nobody needs.
            "  reject_qos2_publish: true",
            "  tls {",
            f"    cert_file: {quoted(trust.certificate)}",
            f"    key_file: {quoted(trust.key)}",
            f"    timeout: {TLS_TIMEOUT_S}",
            "  }",
            f"  authorization {{ timeout: {LOGIN_TIMEOUT_S} }}",
            "}",
            "authorization {",
            "  users: [",
            *(f"    {one}" for one in users),
            "  ]",
            "}",
            "",
        ]
    )


def device_user(device: Device) -> str:
    """Return a device as a user: what it may say and hear."""

    def subject(kind: int) -> str:
        return topics.topic(device.device_id, kind).replace("/", ".")

    return user(
        device.device_id,
        device.password_hash,
        "MQTT",
        publish=[subject(kind) for kind in (topics.REPORT, topics.STATEMENT, topics.ACK, topics.DAY)],
        subscribe=[subject(topics.COMMAND)],
    )


def user(
    name: str,
    password_hash: str,
    door: str,
    publish: Iterable[str] | None = None,
    subscribe: Iterable[str] | None = None,
) -> str:
    """Return a user who comes in by one door; without lists it may say and hear everything."""
    parts = [
        f"user: {quoted(name)}",
        f"password: {quoted(password_hash)}",
        f"allowed_connection_types: [{quoted(door)}]",
    ]
    if publish is not None and subscribe is not None:
        parts.append(f"permissions: {{ publish: {_only(publish)}, subscribe: {_only(subscribe)} }}")
    return "{ " + ", ".join(parts) + " }"


def _only(subjects: Iterable[str]) -> str:
    allowed = list(subjects)
    # An empty list of what is allowed would allow everything.
    return f"{{ allow: {json.dumps(allowed)} }}" if allowed else '{ deny: [">"] }'


def quoted(text: object) -> str:
    """Quote as JSON does; for what paths, names and hashes hold, the server reads it the same."""
    return json.dumps(str(text), ensure_ascii=False)
