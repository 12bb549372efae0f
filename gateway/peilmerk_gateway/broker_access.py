"""The gateway's way into a broker that others run, from its settings: address, authority and password."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest.jetstream import Access
from peilmerk_gateway.ingest.mqtt import MqttAccess
from peilmerk_gateway.nats_config import GATEWAY_USER
from peilmerk_gateway.settings import ClusterSettings, MqttSettings, Settings, SettingsError
from peilmerk_gateway.trust import Trust, ensure_trust, give_to_boards


def mqtt_settings(settings: Settings) -> MqttSettings:
    """Return the table [broker.mqtt]; raises SettingsError when the gateway runs its own broker."""
    if settings.broker.mqtt is None:
        raise SettingsError(
            f'{settings.file}: broker.kind: found "nats", the broker that the gateway runs itself, '
            'wanted "mqtt" and a table [broker.mqtt]'
        )
    return settings.broker.mqtt


def mqtt_access(settings: Settings) -> MqttAccess:
    """Return the way in, the password read anew. Raises PeilmerkError naming the file that is wrong."""
    mqtt = mqtt_settings(settings)
    return MqttAccess(
        host=mqtt.host or settings.broker.server_names[0],
        port=mqtt.port or settings.broker.mqtt_port,
        ca_file=authority(settings),
        user=mqtt.user,
        password=read_password(mqtt.password_file),
        client_id=mqtt.client_id,
        protocol=mqtt.protocol,
    )


def authority(settings: Settings) -> Path:
    """Return the PEM of the authority that vouches for the broker."""
    chosen = mqtt_settings(settings).ca_file or settings.broker.authority
    return chosen or settings.trust_dir / "authority.pem"


def ensure_broker_trust(settings: Settings) -> Trust | None:
    """See to what boards trust the broker by; return the gateway's own certificates where it has some.

    Raises TrustError naming the file that is wrong.
    """
    if mqtt_settings(settings).ca_file is None or settings.broker.certificate is not None:
        return ensure_trust(settings)
    give_to_boards(settings, authority(settings))
    return None


def cluster_settings(settings: Settings) -> ClusterSettings:
    """Return the table [broker.cluster]; raises SettingsError when there is no such broker."""
    if settings.broker.cluster is None:
        raise SettingsError(
            f"{settings.file}: broker.kind: found {settings.broker.kind!r}, "
            'wanted "nats-cluster" and a table [broker.cluster]'
        )
    return settings.broker.cluster


def cluster_access(settings: Settings) -> Access:
    """Return the way in, the password read anew. Raises PeilmerkError naming the file that is wrong."""
    cluster = cluster_settings(settings)
    first, *others = cluster.urls
    password = read_password(cluster.password_file)
    ca_file = cluster.ca_file or settings.broker.authority or settings.trust_dir / "authority.pem"
    return Access(first, GATEWAY_USER, password, tuple(others), ca_file)


def ensure_cluster_trust(settings: Settings) -> Trust | None:
    """As `ensure_broker_trust`, for NATS servers that others run."""
    cluster = cluster_settings(settings)
    if cluster.ca_file is None or settings.broker.certificate is not None:
        return ensure_trust(settings)
    give_to_boards(settings, cluster.ca_file)
    return None


def read_password(file: Path) -> str:
    """Return the first line of a file that only its owner may read. Raises PeilmerkError."""
    try:
        handle = os.open(file, os.O_RDONLY)
        with os.fdopen(handle, encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            line = opened.readline().rstrip("\r\n")
    except OSError as reason:
        raise PeilmerkError(
            f"{file}: {reason.strerror}, wanted the gateway's password at the broker "
            "('peilmerk gateway broker-config' makes one)"
        ) from reason
    except UnicodeDecodeError as reason:
        raise PeilmerkError(f"{file}: found bytes that are not UTF-8, wanted a password") from reason
    if mode & 0o077:
        raise PeilmerkError(f"{file}: found mode {mode:04o}, wanted 0600: others may read the password")
    if not line:
        raise PeilmerkError(f"{file}: found an empty first line, wanted the gateway's password at the broker")
    return line
