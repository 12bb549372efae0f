"""Settings of a gateway: one TOML file, `gateway.toml`, read into checked models.

Paths in the file are relative to the folder the file lies in, so that a folder with a gateway in it can
be moved. Whatever is wrong with the file ends in one `SettingsError` that names file, key and what was
wanted; a key that no setting has is refused too, because a misspelt key that is silently ignored is a
setting that silently does not hold.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
    model_validator,
)

from peilmerk_gateway import toml_words
from peilmerk_gateway.clock import Clock, ScaledClock, SystemClock
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.settings_sections import (
    MQTT_TLS_PORT,
    UPDATE_PORT,
    BrokerSettings,
    ClockSettings,
    ClusterSettings,
    DeploymentsSettings,
    GatewaySettings,
    HostsSettings,
    MqttSettings,
    QuarantineSettings,
    Section,
    SinkSettings,
    StoreSettings,
    UpdateSettings,
    WebSettings,
)
from peilmerk_gateway.store_place import STORE_FILE, Database

__all__ = [
    "MQTT_TLS_PORT",
    "UPDATE_PORT",
    "BrokerSettings",
    "ClockSettings",
    "ClusterSettings",
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


class SettingsError(PeilmerkError):
    """The settings file cannot be used; the text names file, key and what was wanted."""


class Settings(Section):
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
        "# Every page of the store is kept twice, so that a damaged one is put right; false: once.",
        "# mirror = true",
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
