"""What three NATS servers need to be one broker: a configuration, certificate and key for each.

Boards connect to any of them; every message lies on two disks of three before it is acknowledged to its
board (`mqtt { stream_replicas: 3 }`), so that one server may be away. Servers know each other by TLS with
both ends' certificates, and a password. Users and their rights are those of a gateway's own server
(`nats_config`).

A message that nobody is interested in is acknowledged and dropped. So devices are let in only once the
gateway's durable interest exists: `prepare` makes it, and until it could, `write` leaves devices out.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from peilmerk_gateway import mqtt_knock
from peilmerk_gateway.broker_access import cluster_access, cluster_settings, read_password
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest.jetstream import ACK_WAIT_S, Unreachable, connect, ensure_consumer
from peilmerk_gateway.nats_config import (
    GATEWAY_USER,
    KNOCKER_USER,
    LOGIN_TIMEOUT_S,
    MAX_PAYLOAD,
    TLS_TIMEOUT_S,
    device_user,
    quoted,
    user,
)
from peilmerk_gateway.registry import BCRYPT_ROUNDS, Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.trust import ensure_authority, ensure_server_certificate, ensure_trust

CLUSTER = "peilmerk"
ROUTE_USER = "route"
REPLICAS = 3
CLIENT_PORT, ROUTE_PORT = 4222, 6222
PREPARE_S = 20.0
_NODE = re.compile(r"([a-z0-9-]{1,32})=([A-Za-z0-9.-]{1,253})((?:,(?:client|route|mqtt)=[0-9]{1,5})*)")


@dataclass(frozen=True, slots=True)
class Node:
    """One server: its name, the name or address the others and the gateway know it by, and its ports."""

    name: str
    host: str
    client_port: int = CLIENT_PORT
    route_port: int = ROUTE_PORT
    mqtt_port: int | None = None
    """Where boards connect; None for that of the settings."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` wrote."""

    folder: Path
    nodes: int
    devices: int
    new_password: Path | None


def read_node(text: str) -> Node:
    """Read NAME=HOST[,client=PORT][,route=PORT][,mqtt=PORT]. Raises PeilmerkError."""
    found = _NODE.fullmatch(text)
    if found is None:
        raise PeilmerkError(
            f"--node: found {text!r}, wanted NAME=HOST, or NAME=HOST,client=4222,route=6222,mqtt=8883"
        )
    ports = {key: int(port) for key, _, port in (word.partition("=") for word in found[3].split(",")[1:])}
    return Node(
        found[1],
        found[2],
        ports.get("client", CLIENT_PORT),
        ports.get("route", ROUTE_PORT),
        ports.get("mqtt"),
    )


def write(
    settings: Settings,
    registry: Registry,
    nodes: Sequence[Node],
    folder: Path,
    at: Path | None,
    *,
    admit: bool,
) -> Written:
    """Write a folder for each server: nats.conf, server.pem, server.key, authority.pem.

    `at` is where such a folder will lie on its machine. `admit` lets devices in. All of it but certificates
    is readable by the owner only. Raises PeilmerkError.
    """
    way = cluster_settings(settings)
    if len(nodes) != REPLICAS or len({node.name for node in nodes}) != REPLICAS:
        raise PeilmerkError(f"--node: found {len(nodes)}, wanted {REPLICAS} of different names")
    new_password = None
    if not way.password_file.exists():
        way.password_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(way.password_file, secrets.token_urlsafe(32) + "\n", 0o600)
        new_password = way.password_file
    keys = settings.gateway.data_dir / "cluster"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    users = [
        user(GATEWAY_USER, _hash(read_password(way.password_file)), "STANDARD"),
        user(KNOCKER_USER, _hash(_credential(keys / "knocker.credential")), "MQTT", publish=(), subscribe=()),
    ]
    devices: list[Device] = []
    if admit:
        devices = [device for device in registry.all() if not device.revoked]
        users += [device_user(device) for device in devices]
    route = _credential(keys / "route.credential")
    for node in nodes:
        place = folder / node.name
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = (at / node.name if at else place).absolute()
        certificate, key, authority = _certificate(settings, node, keys / node.name)
        _write(place / "server.pem", certificate.read_text("ascii"), 0o644)
        _write(place / "server.key", key.read_text("ascii"), 0o600)
        _write(place / "authority.pem", authority.read_text("ascii"), 0o644)
        _write(place / "nats.conf", render(settings, node, nodes, home, users, route), 0o600)
    return Written(folder, len(nodes), len(devices), new_password)


def _certificate(settings: Settings, node: Node, folder: Path) -> tuple[Path, Path, Path]:
    """Return certificate, key and authority of a server: a city's own, or made by the gateway's authority."""
    if settings.broker.certificate is not None:
        trust = ensure_trust(settings)
        return trust.certificate, trust.key, trust.authority
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = list(dict.fromkeys([node.host, *settings.broker.server_names]))
    authority, _ = ensure_authority(settings.trust_dir)
    certificate, key = ensure_server_certificate(settings.trust_dir, names, into=folder, both_ends=True)
    return certificate, key, authority


def render(
    settings: Settings, node: Node, nodes: Sequence[Node], home: Path, users: Sequence[str], route: str
) -> str:
    """Return a server's configuration, for files that lie in `home`."""

    def tls(indent: str, *more: str) -> list[str]:
        lines = [
            f"cert_file: {quoted(home / 'server.pem')}",
            f"key_file: {quoted(home / 'server.key')}",
            f"timeout: {TLS_TIMEOUT_S}",
            *more,
        ]
        return [f"{indent}tls {{", *(f"{indent}  {line}" for line in lines), f"{indent}}}"]

    others = [
        f"    {quoted(f'nats-route://{ROUTE_USER}:{route}@{one.host}:{one.route_port}')}"
        for one in nodes
        if one.name != node.name
    ]
    return "\n".join(
        [
            "# Written by 'peilmerk gateway broker-config'; it will be overwritten.",
            f"server_name: {node.name}",
            f"host: {quoted(settings.broker.host)}",
            f"port: {node.client_port}",
            f"max_payload: {MAX_PAYLOAD}",
            *tls(""),
            "cluster {",
            f"  name: {CLUSTER}",
            f"  host: {quoted(settings.broker.host)}",
            f"  port: {node.route_port}",
            f"  authorization {{ user: {ROUTE_USER}, password: {quoted(route)},"
            f" timeout: {LOGIN_TIMEOUT_S} }}",
            *tls("  ", f"ca_file: {quoted(home / 'authority.pem')}", "verify: true"),
            "  # Each knows the others by this list only.",
            "  no_advertise: true",
            "  routes: [",
            *others,
            "  ]",
            "}",
            "jetstream {",
            f"  store_dir: {quoted(home / 'store')}",
            "  sync_interval: always",
            f"  max_file_store: {settings.broker.store_mib << 20}",
            f"  max_memory_store: {16 << 20}",
            "}",
            "mqtt {",
            f"  host: {quoted(settings.broker.host)}",
            f"  port: {node.mqtt_port or settings.broker.mqtt_port}",
            "  reject_qos2_publish: true",
            "  # On two disks of three before it is acknowledged.",
            f"  stream_replicas: {REPLICAS}",
            *tls("  "),
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


async def prepare(settings: Settings, nodes: Sequence[Node], patience_s: float = PREPARE_S) -> str | None:
    """Make the gateway's durable interest, if the servers run; return what is in the way, None for nothing.

    Raises PeilmerkError when a file of the settings is wrong.
    """
    keys = settings.gateway.data_dir / "cluster"
    if not cluster_settings(settings).password_file.exists() or not (keys / "knocker.credential").exists():
        return "the servers have no configuration yet"
    access = cluster_access(settings)
    context = ssl.create_default_context(cafile=str(access.ca_file))
    deadline = time.monotonic() + patience_s
    while True:
        try:
            # As a board would, which has the servers make the stream.
            for node in nodes:
                port = node.mqtt_port or settings.broker.mqtt_port
                knocker = _credential(keys / "knocker.credential")
                await mqtt_knock.knock(node.host, port, context, node.host, KNOCKER_USER, knocker)
            connection = await connect(access)
            try:
                await ensure_consumer(connection, ACK_WAIT_S)
                return None
            finally:
                await connection.close()
        except (*Unreachable, mqtt_knock.NotAdmitted) as reason:
            if isinstance(reason, ConnectionRefusedError) or time.monotonic() > deadline:
                return str(reason) or type(reason).__name__
        await asyncio.sleep(0.5)


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()


def _credential(path: Path) -> str:
    """Return a password from a file only its owner reads, made at random the first time."""
    if not path.exists():
        _write(path, secrets.token_urlsafe(32) + "\n", 0o600)
    return read_password(path)


def _write(path: Path, text: str, mode: int) -> None:
    """Put a whole file in place at once, so that a server that reloads never reads half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
