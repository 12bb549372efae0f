"""The sections of a gateway's settings, each a table of `gateway.toml`, and what their values may be.

`peilmerk_gateway.settings` reads the file and puts them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationInfo,
    model_validator,
)

from peilmerk_gateway.loopback import is_loopback
from peilmerk_gateway.store_place import Database, check_url

# Why ten: see `peilmerk_gateway.deployments.dwellings`.
ADDRESSES = 10
MQTT_TLS_PORT = 8883
UPDATE_PORT = 8884


def _from_file(path: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path())
    return base / path.expanduser()


def _http_url(text: str) -> str:
    HttpUrl(text)
    parts = urlsplit(text)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"found {text!r}, wanted https: only this machine itself is spoken to without TLS")
    return text.rstrip("/")


# A path as written in the file, made absolute by the folder the file lies in.
LocalPath = Annotated[Path, AfterValidator(_from_file)]
Url = Annotated[str, AfterValidator(_http_url)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$", max_length=253)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class GatewaySettings(Section):
    """`[gateway]`: where the gateway keeps what it must not lose."""

    data_dir: LocalPath
    least_free_mib: Annotated[int, Field(strict=True, ge=0)] = 512
    """With less room on the disk of `data_dir`, MiB, the gateway says that it is not ready."""
    workers: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    """How many processes take turns at what boards send, the gateway among them; more than one need a store
    in PostgreSQL and a NATS broker.
    """
    mirror: Annotated[bool, Field(strict=True)] = True
    """Whether every page of an SQLite store is kept a second time, in `mirror` in `data_dir`: from that a
    damaged page is put right. It takes as much disk again.
    """

    @property
    def registry(self) -> Path:
        """The file of the registry of devices."""
        return self.data_dir / "registry.db"


class MqttSettings(Section):
    """`[broker.mqtt]`: the gateway's own way into a broker that others run.

    Without `host` and `port` it is the first of the broker's `server_names` and its `mqtt_port`, as for the
    boards. `ca_file` (PEM) vouches for the broker; without it `authority`, or the gateway's own, does.
    """

    host: HostName | None = None
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    ca_file: LocalPath | None = None
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "gateway"
    password_file: LocalPath
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "peilmerk-gateway"
    protocol: Literal["3.1.1", "5"] = "5"


def _nats_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("tls", "nats") and parts.hostname and parts.port and not parts.path
    except ValueError:
        plain = False
    if not plain or parts.username is not None:
        raise ValueError(f"found {text!r}, wanted tls://host:port")
    if parts.scheme == "nats" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"found {text!r}, wanted tls: only this machine itself is spoken to without TLS")
    return text


class ClusterSettings(Section):
    """`[broker.cluster]`: the gateway's own way into NATS servers that others run.

    `urls` (tls://host:port) are those of all of them; `ca_file` (PEM) vouches for them, without it
    `authority`, or the gateway's own, does.
    """

    urls: Annotated[tuple[Annotated[str, AfterValidator(_nats_url)], ...], Field(min_length=1)]
    password_file: LocalPath
    ca_file: LocalPath | None = None


class BrokerSettings(Section):
    """`[broker]`: the broker that boards connect to.

    Of kind "nats" the gateway runs it itself; of kind "mqtt" others do, and `[broker.mqtt]` says how the
    gateway gets in; of kind "nats-cluster" others run NATS servers, and `[broker.cluster]` says so. `host`
    and `mqtt_port` are where boards connect (MQTT over TLS); port 0 means any free one, chosen at each
    start, by the gateway's own broker only. `client_port` is the gateway's own way in, on the loopback
    interface only. `server_names` are the names and addresses boards may know the broker by. `certificate`,
    `key` and `authority` (PEM) are a city's own; without them the gateway makes an authority and a
    certificate of its own in its data folder.
    """

    kind: Literal["nats", "mqtt", "nats-cluster"] = "nats"
    mqtt: MqttSettings | None = None
    cluster: ClusterSettings | None = None
    host: HostName = "0.0.0.0"
    mqtt_port: Port = MQTT_TLS_PORT
    client_port: Port = 0
    server_names: Annotated[tuple[HostName, ...], Field(min_length=1)] = ("localhost", "127.0.0.1")
    certificate: LocalPath | None = None
    key: LocalPath | None = None
    authority: LocalPath | None = None
    store_mib: Annotated[int, Field(strict=True, ge=16)] = 4096
    """Disk that undelivered messages may take, MiB; above it boards keep their reports."""

    @model_validator(mode="after")
    def _all_or_none(self) -> BrokerSettings:
        given = [name for name in ("certificate", "key", "authority") if getattr(self, name) is not None]
        if given and len(given) < 3:
            raise ValueError(
                f"found {' and '.join(given)} only, wanted certificate, key and authority, or none"
            )
        return self

    @model_validator(mode="after")
    def _one_broker(self) -> BrokerSettings:
        if self.kind == "mqtt" and self.mqtt is None:
            raise ValueError('found kind "mqtt" alone, wanted a table [broker.mqtt] that says how to get in')
        if self.kind != "mqtt" and self.mqtt is not None:
            raise ValueError(
                f'found [broker.mqtt] with kind "{self.kind}", wanted kind = "mqtt", or no such table'
            )
        if self.kind == "nats-cluster" and self.cluster is None:
            raise ValueError(
                'found kind "nats-cluster" alone, wanted a table [broker.cluster] that says how to get in'
            )
        if self.kind != "nats-cluster" and self.cluster is not None:
            raise ValueError(
                f'found [broker.cluster] with kind "{self.kind}", wanted kind = "nats-cluster", '
                "or no such table"
            )
        if self.kind != "nats" and self.mqtt_port == 0:
            raise ValueError(
                f'found mqtt_port 0 with kind "{self.kind}", wanted the port that boards connect to'
            )
        return self


class StoreSettings(Section):
    """`[store]`: a PostgreSQL database in place of the SQLite file in the data folder.

    `url` is `postgresql://user@host/database`, never with a password, which is the first line of
    `password_file`. Off this machine it is TLS, and `ca_file` (PEM) vouches for the server.
    """

    url: Annotated[str, AfterValidator(check_url)]
    password_file: LocalPath | None = None
    ca_file: LocalPath | None = None

    @model_validator(mode="after")
    def _verified(self) -> StoreSettings:
        if self.ca_file is None and not Database(self.url).is_on_this_machine:
            raise ValueError(
                "found a database on another machine and no ca_file, wanted the certificate of the authority "
                "that vouches for its server"
            )
        return self


class DeploymentsSettings(Section):
    """`[deployments]`: the folder of deployment records, one TOML file each."""

    directory: LocalPath


class SinkSettings(Section):
    """`[[sinks]]`: one platform that admitted observations are published to."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    kind: Literal["sensorthings"]
    url: Url
    token_file: LocalPath | None = None
    quota_rows: Annotated[int, Field(strict=True, ge=1_000)] = 2_000_000
    """How many figures may wait for it; beyond that, and beyond `quota_days`, the oldest are dropped."""
    quota_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 30


class WebSettings(Section):
    """`[web]`: where the gateway's pages are served; port 0 means any free one.

    On another address than the loopback interface's they are served over TLS, with `certificate` and `key`
    (PEM), or else with the broker's. Whoever asks from elsewhere for the metrics needs the first line of
    `metrics_token_file`; without that file only this machine gets them.
    """

    host: HostName = "127.0.0.1"
    port: Port = 8080
    certificate: LocalPath | None = None
    key: LocalPath | None = None
    metrics_token_file: LocalPath | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> WebSettings:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("found one of certificate and key, wanted both or none")
        return self


class UpdateSettings(Section):
    """`[update]`: where boards fetch firmware, over TLS with the broker's certificate; without the section
    they cannot.

    Port 0 means any free one, chosen at each start.
    """

    folder: LocalPath
    host: HostName = "0.0.0.0"
    port: Port = UPDATE_PORT


class QuarantineSettings(Section):
    """`[quarantine]`: for how long, and how much of, what was refused for a record's sake is kept.

    `days` is also how long what a platform rejected stays. A quarter of a year is as old as a report may be
    when it is judged.
    """

    days: Annotated[int, Field(strict=True, ge=1, le=92)] = 30
    messages: Annotated[int, Field(strict=True, ge=1_000)] = 500_000
    mib: Annotated[int, Field(strict=True, ge=1)] = 128


class HostsSettings(Section):
    """`[hosts]`: who has a sensor at home, which only the `peilmerk host` commands read.

    `folder` is where the store of owners is, `key_file` its key; both are in the data folder when they are
    left out, and the key is better elsewhere. `dwellings` is a CSV file of addresses, by which the square of
    a home is found (see `deployments.dwellings`), and `addresses` how many must lie in it.
    """

    folder: LocalPath | None = None
    key_file: LocalPath | None = None
    dwellings: LocalPath | None = None
    addresses: Annotated[int, Field(strict=True, ge=ADDRESSES)] = ADDRESSES


class ClockSettings(Section):
    """`[clock]`: a world that runs in its own time, for streets of virtual boards."""

    world_start: float
    wall_start: float
    speed: Annotated[float, Field(gt=0)] = 1.0
