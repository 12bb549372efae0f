"""Settings of a gateway: one TOML file, `gateway.toml`, read into checked models.

Paths in the file are relative to the folder the file lies in, so that a folder with a gateway in it can
be moved. Whatever is wrong with the file ends in one `SettingsError` that names file, key and what was
wanted; a key that no setting has is refused too, because a misspelt key that is silently ignored is a
setting that silently does not hold.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from peilmerk_gateway import toml_words
from peilmerk_gateway.clock import Clock, ScaledClock, SystemClock
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store_place import STORE_FILE, Database, check_url

__all__ = [
    "BrokerSettings",
    "ClockSettings",
    "DeploymentsSettings",
    "GatewaySettings",
    "MqttSettings",
    "PeilmerkError",
    "Settings",
    "SettingsError",
    "SinkSettings",
    "StoreSettings",
    "UpdateSettings",
    "WebSettings",
    "load",
    "write_default",
]

FILE_NAME = "gateway.toml"
# Why ten: see `peilmerk_gateway.deployments.dwellings`.
ADDRESSES = 10
MQTT_TLS_PORT = 8883
UPDATE_PORT = 8884


class SettingsError(PeilmerkError):
    """The settings file cannot be used; the text names file, key and what was wanted."""


def _from_file(path: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path())
    return base / path.expanduser()


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, as far as can be told without asking anybody."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class GatewaySettings(_Section):
    """`[gateway]`: where the gateway keeps what it must not lose."""

    data_dir: LocalPath
    least_free_mib: Annotated[int, Field(strict=True, ge=0)] = 512
    """With less room on the disk of `data_dir`, MiB, the gateway says that it is not ready."""
    workers: Annotated[int, Field(strict=True, ge=1, le=64)] = 1
    """How many processes take turns at what boards send, the gateway among them; more than one need a store
    in PostgreSQL and a NATS broker.
    """

    @property
    def registry(self) -> Path:
        """The file of the registry of devices."""
        return self.data_dir / "registry.db"


class MqttSettings(_Section):
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


class ClusterSettings(_Section):
    """`[broker.cluster]`: the gateway's own way into NATS servers that others run.

    `urls` (tls://host:port) are those of all of them; `ca_file` (PEM) vouches for them, without it
    `authority`, or the gateway's own, does.
    """

    urls: Annotated[tuple[Annotated[str, AfterValidator(_nats_url)], ...], Field(min_length=1)]
    password_file: LocalPath
    ca_file: LocalPath | None = None


class BrokerSettings(_Section):
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


class StoreSettings(_Section):
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


class DeploymentsSettings(_Section):
    """`[deployments]`: the folder of deployment records, one TOML file each."""

    directory: LocalPath


class SinkSettings(_Section):
    """`[[sinks]]`: one platform that admitted observations are published to."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    kind: Literal["sensorthings"]
    url: Url
    token_file: LocalPath | None = None
    quota_rows: Annotated[int, Field(strict=True, ge=1_000)] = 2_000_000
    """How many figures may wait for it; beyond that, and beyond `quota_days`, the oldest are dropped."""
    quota_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 30


class WebSettings(_Section):
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


class UpdateSettings(_Section):
    """`[update]`: where boards fetch firmware, over TLS with the broker's certificate; without the section
    they cannot.

    Port 0 means any free one, chosen at each start.
    """

    folder: LocalPath
    host: HostName = "0.0.0.0"
    port: Port = UPDATE_PORT


class QuarantineSettings(_Section):
    """`[quarantine]`: for how long, and how much of, what was refused for a record's sake is kept.

    `days` is also how long what a platform rejected stays. A quarter of a year is as old as a report may be
    when it is judged.
    """

    days: Annotated[int, Field(strict=True, ge=1, le=92)] = 30
    messages: Annotated[int, Field(strict=True, ge=1_000)] = 500_000
    mib: Annotated[int, Field(strict=True, ge=1)] = 128


class HostsSettings(_Section):
    """`[hosts]`: who has a sensor at home, which only the `peilmerk host` commands read.

    `folder` is where the store of owners is, `key_file` its key; both are in the data folder when they are
    left out, and the key is better elsewhere. `dwellings` is a CSV file of addresses, by which the square of
    a home is found (see `deployments.dwellings`), and `addresses` how many must lie in it.
    """

    folder: LocalPath | None = None
    key_file: LocalPath | None = None
    dwellings: LocalPath | None = None
    addresses: Annotated[int, Field(strict=True, ge=ADDRESSES)] = ADDRESSES


class ClockSettings(_Section):
    """`[clock]`: a world that runs in its own time, for streets of virtual boards."""

    world_start: float
    wall_start: float
    speed: Annotated[float, Field(gt=0)] = 1.0


class Settings(_Section):
    """A whole `gateway.toml`. `file` is where it was read from."""

    file: Path
    gateway: GatewaySettings
    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings | None = None
    deployments: DeploymentsSettings
    sinks: tuple[SinkSettings, ...] = ()
    web: WebSettings = WebSettings()
    update: UpdateSettings | None = None
    hosts: HostsSettings = HostsSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    clock: ClockSettings | None = None

    @model_validator(mode="after")
    def _sinks_by_name(self) -> Settings:
        names = [sink.name for sink in self.sinks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"found sinks of the same name {twice[0]!r}, wanted each name once")
        return self

    @model_validator(mode="after")
    def _workers_that_can_share(self) -> Settings:
        if self.gateway.workers > 1 and self.store is None:
            raise ValueError(
                f"gateway.workers: found {self.gateway.workers} and no [store], wanted a database in "
                "PostgreSQL: a file is written by one gateway"
            )
        if self.gateway.workers > 1 and self.broker.kind == "mqtt":
            raise ValueError(
                f'gateway.workers: found {self.gateway.workers} with broker.kind "mqtt", wanted a NATS '
                "broker: a session of MQTT is one reader's"
            )
        return self

    @model_validator(mode="after")
    def _firmware_that_boards_believe(self) -> Settings:
        mqtt = self.broker.mqtt
        if self.update and mqtt and mqtt.ca_file and self.broker.certificate is None:
            raise ValueError(
                "update: found it beside broker.mqtt.ca_file, wanted broker.certificate, key and authority: "
                "boards fetch firmware from this gateway under a certificate of the authority they know; "
                "or no [update]"
            )
        return self

    @property
    def store_place(self) -> Path | Database:
        """Where the store is: a file, or a database."""
        if self.store is None:
            return self.gateway.data_dir / STORE_FILE
        return Database(self.store.url, self.store.password_file, self.store.ca_file)

    @property
    def trust_dir(self) -> Path:
        """The folder of the gateway's own authority and certificate."""
        return self.gateway.data_dir / "trust"

    @property
    def authority_der(self) -> Path:
        """The authority's certificate in DER: what goes onto a board as its trust anchor.

        There once `peilmerk_gateway.trust.ensure_trust` ran, for a city's own authority too.
        """
        return self.trust_dir / "authority.der"

    def make_clock(self) -> Clock:
        """Return the clock that everything in this gateway goes by."""
        if self.clock is None:
            return SystemClock()
        return ScaledClock(self.clock.world_start, self.clock.wall_start, self.clock.speed)


def load(path: Path | str) -> Settings:
    """Read a settings file, or the file `gateway.toml` in a folder.

    Raises SettingsError naming file, key and what was wanted.
    """
    file = Path(path)
    if file.is_dir():
        file = file / FILE_NAME
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{file}: found no such file, wanted the gateway's settings: 'peilmerk gateway init' writes them"
        ) from None
    except OSError as reason:
        raise SettingsError(f"{file}: cannot be read: {reason.strerror}") from reason
    except UnicodeDecodeError as reason:
        line = reason.object.count(b"\n", 0, reason.start) + 1
        raise SettingsError(f"{file}: line {line}: found bytes that are not UTF-8, wanted TOML") from reason
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise SettingsError(f"{file}: not TOML: {reason}") from reason
    if "file" in tables:
        raise SettingsError(f"{file}: {_unknown(('file',))}")
    file = file.resolve()
    try:
        return Settings.model_validate({"file": file, **tables}, context={"base": file.parent})
    except ValidationError as reason:
        problems = [
            _explain(problem)
            for problem in reason.errors(include_url=False)
            if not toml_words.is_told_elsewhere(problem)
        ]
        raise SettingsError("\n".join(f"{file}: {problem}" for problem in problems)) from reason


def _explain(problem: Any) -> str:
    """Turn one of pydantic's complaints into 'key: what was found, what was wanted'."""
    location = problem["loc"]
    key = toml_words.key(location)
    match problem["type"]:
        case "missing":
            return f"{key}: not found, wanted a value"
        case "extra_forbidden":
            return _unknown(location)
        case "value_error":
            reason = str(problem["ctx"]["error"])
            return f"{key}: {reason}" if key else reason
        case "model_type" | "model_attributes_type":
            return f"{key}: found {toml_words.found(problem['input'])}, wanted a table [{key}]"
    return f"{key}: {toml_words.found_and_wanted(problem)}"


def _unknown(location: Sequence[str | int]) -> str:
    """Say that a key is not a setting, with the nearest one that is."""
    near = toml_words.nearest(Settings, location, hidden={"file"})
    return f"{toml_words.key(location)}: no such setting, {near}"


def _toml(value: object) -> str:
    """Write a value as TOML; JSON's strings, numbers, truth values and lists are TOML's too."""
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_default(
    directory: Path | str,
    *,
    host: str = "0.0.0.0",
    mqtt_port: int = MQTT_TLS_PORT,
    client_port: int = 0,
    server_names: Sequence[str] = ("localhost", "127.0.0.1"),
    web_host: str = "127.0.0.1",
    web_port: int = 8080,
    update_port: int = UPDATE_PORT,
    sinks: Sequence[SinkSettings] = (),
    clock: ClockSettings | None = None,
    data_dir: str = "data",
    deployments: str = "deployments",
) -> Path:
    """Write `gateway.toml` with these values and the reason for each, and the folder of records; return
    the file.

    What is written has been read back, so a bad value raises SettingsError here and leaves no file. A
    file that is already there is never overwritten.
    """
    folder = Path(directory)
    file = folder / FILE_NAME
    lines = [
        "# Settings of a Peilmerk gateway. Paths are relative to this file.",
        "",
        "[gateway]",
        "# What must not be lost: registry of devices, store, undelivered messages, keys.",
        f"data_dir = {_toml(data_dir)}",
        "# With less room on its disk, MiB, the gateway says that it is not ready.",
        "least_free_mib = 512",
        "",
        "[broker]",
        'kind = "nats"',
        "# Where boards connect, with MQTT over TLS. Port 0: any free one.",
        f"host = {_toml(host)}",
        f"mqtt_port = {_toml(mqtt_port)}",
        "# The gateway's own way in, on this machine only.",
        f"client_port = {_toml(client_port)}",
        "# Names and addresses by which boards may know this machine.",
        f"server_names = {_toml(list(server_names))}",
        "# A certificate of your own, PEM; without these three the gateway makes its own authority.",
        '# certificate = "server.pem"',
        '# key = "server.key"',
        '# authority = "authority.pem"',
        "",
        "[deployments]",
        "# One record a file: what may be measured and published here, and why.",
        f"directory = {_toml(deployments)}",
        "",
        "[web]",
        "# The page. On another address than this machine's own it is served over TLS.",
        f"host = {_toml(web_host)}",
        f"port = {_toml(web_port)}",
        "# A certificate of its own, PEM; without these two it is the broker's.",
        '# certificate = "web.pem"',
        '# key = "web.key"',
        "# Who may read the metrics from elsewhere; without it only this machine may.",
        '# metrics_token_file = "metrics.token"',
        "",
        "[update]",
        "# Where boards fetch the firmware that they are offered, over TLS. Port 0: any free one.",
        f"host = {_toml(host)}",
        f"port = {_toml(update_port)}",
        "# What they may fetch: 'peilmerk gateway command update' puts it there.",
        f"folder = {_toml(data_dir + '/firmware')}",
    ]
    if not sinks:
        lines += [
            "",
            "# A platform to publish to; one such table each.",
            "# [[sinks]]",
            '# name = "city"',
            '# kind = "sensorthings"',
            '# url = "https://sensors.example.org/v1.1"',
            '# token_file = "city.token"',
        ]
    for sink in sinks:
        lines += ["", "[[sinks]]"]
        given = sink.model_dump(exclude_defaults=True)
        lines += [f"{key} = {_toml(value)}" for key, value in given.items()]
    if clock is not None:
        lines += ["", "# A world in its own time: unix seconds, unix seconds, factor.", "[clock]"]
        lines += [f"{key} = {_toml(value)}" for key, value in clock]
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE_NAME}.{os.getpid()}"
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        settings = load(draft)
        # A hard link, unlike a rename, refuses to replace.
        os.link(draft, file)
    except SettingsError as reason:
        raise SettingsError(str(reason).replace(str(draft.resolve()), str(file))) from reason
    except FileExistsError:
        raise SettingsError(f"{file}: found settings already, wanted a folder without") from None
    finally:
        draft.unlink()
    settings.deployments.directory.mkdir(parents=True, exist_ok=True)
    return file
