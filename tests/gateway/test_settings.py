"""Settings: what is written is read back; what is wrong is told with file, key and what was wanted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from peilmerk_gateway.clock import ScaledClock, SystemClock
from peilmerk_gateway.settings import (
    ClockSettings,
    Settings,
    SettingsError,
    SinkSettings,
    load,
    write_default,
)


def written(folder: Path) -> Path:
    """Write settings that use every section."""
    return write_default(
        folder,
        server_names=["broker.example.org", "192.0.2.7", "::1"],
        mqtt_port=18883,
        sinks=[
            SinkSettings(name="city", kind="sensorthings", url="https://sta.example.org/v1.1/"),
            SinkSettings(
                name="tok", kind="sensorthings", url="http://127.0.0.1:1/", token_file=Path("a b.token")
            ),
        ],
        clock=ClockSettings(world_start=1_700_000_000, wall_start=time.time(), speed=60),
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    settings = load(written(tmp_path / "village"))
    assert settings.gateway.data_dir == tmp_path / "village" / "data"
    assert settings.gateway.registry == tmp_path / "village" / "data" / "registry.db"
    assert settings.authority_der == tmp_path / "village" / "data" / "trust" / "authority.der"
    assert settings.broker.server_names == ("broker.example.org", "192.0.2.7", "::1")
    assert (settings.broker.host, settings.broker.mqtt_port, settings.broker.client_port) == (
        "0.0.0.0",
        18883,
        0,
    )
    assert [sink.url for sink in settings.sinks] == ["https://sta.example.org/v1.1", "http://127.0.0.1:1"]
    assert settings.sinks[1].token_file == tmp_path / "village" / "a b.token"
    assert settings.deployments.directory.is_dir()
    assert isinstance(settings.make_clock(), ScaledClock)


def test_the_default_of_the_street_is_the_machines_clock(tmp_path: Path) -> None:
    settings = load(write_default(tmp_path).parent)
    assert isinstance(settings.make_clock(), SystemClock)
    assert settings.sinks == ()
    assert settings.broker.mqtt_port == 8883


def test_a_scaled_clock_runs_as_fast_as_it_says() -> None:
    began = time.time()
    clock = ScaledClock(world_start=1000.0, wall_start=began - 2, speed=60)
    assert 1120 - 1e-3 <= clock.now() <= 1120 + 60 * (time.time() - began) + 1e-3


def test_settings_are_never_overwritten(tmp_path: Path) -> None:
    file = write_default(tmp_path)
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=r"gateway\.toml: found settings already"):
        write_default(tmp_path, mqtt_port=1)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deployments", "gateway.toml"]


def test_bad_values_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"gateway\.toml: broker\.mqtt_port: found 65536, wanted at most 65535"
    ):
        write_default(tmp_path / "new", mqtt_port=65536)
    assert list((tmp_path / "new").iterdir()) == []


WRONG = [
    ("mqtt_port = 18883", "mqtt_prt = 1", "broker.mqtt_prt: no such setting, did you mean 'mqtt_port'?"),
    ("mqtt_port = 18883", 'mqtt_port = "8883"', "broker.mqtt_port: found '8883', wanted a whole number"),
    ("mqtt_port = 18883", "mqtt_port = true", "broker.mqtt_port: found True, wanted a whole number"),
    ("mqtt_port = 18883", "mqtt_port = -1", "broker.mqtt_port: found -1, wanted at least 0"),
    ('kind = "nats"', 'kind = "mosquitto"', "broker.kind: found 'mosquitto', wanted 'nats'"),
    ('# key = "server.key"', 'key = "k"', "broker: found key only, wanted certificate, key and authority"),
    ('data_dir = "data"', "", "gateway.data_dir: not found, wanted a value"),
    ('data_dir = "data"', "data_dir = 3", "gateway.data_dir: found 3, wanted a path"),
    ("[gateway]", "gateway = 3\n[gatway]", "gateway: found 3, wanted a table [gateway]"),
    ("[gateway]", "gateway = 3\n[gatway]", "gatway: no such setting, did you mean 'gateway'?"),
    ("[web]", "[wbe]", "wbe: no such setting, did you mean 'web'?"),
    (
        "[web]",
        "[zzz]",
        "zzz: no such setting, wanted one of gateway, broker, store, deployments, sinks, web, update, "
        "hosts, quarantine, clock",
    ),
    ("[clock]", "[clock]\nsped = 1", "clock.sped: no such setting, did you mean 'speed'?"),
    ("speed = 60.0", "speed = 0", "clock.speed: found 0, wanted more than 0"),
    ("https://sta", "htps://sta", "sinks[1].url: found 'htps://sta.example.org/v1.1', wanted an http"),
    ('name = "tok"', 'name = "city"', "found sinks of the same name 'city', wanted each name once"),
    ('name = "tok"', 'nam = "tok"', "sinks[2].nam: no such setting, did you mean 'name'?"),
    ('name = "tok"', 'name = "Tok"', "sinks[2].name: found 'Tok', wanted text of the form ^[a-z]"),
    (
        '["broker.example.org", "192.0.2.7", "::1"]',
        "[]",
        "broker.server_names: found [], wanted at least 1",
    ),
    ('["broker.example.org", "192.0.2.7", "::1"]', '["a b"]', "broker.server_names[1]: found 'a b', wanted"),
    ("[gateway]", 'file = "/etc/passwd"\n[gateway]', "file: no such setting"),
]


@pytest.mark.parametrize(("found", "wrong", "told"), WRONG, ids=[told.split(",")[0] for _, _, told in WRONG])
def test_what_is_wrong_is_told(tmp_path: Path, found: str, wrong: str, told: str) -> None:
    file = written(tmp_path)
    text = file.read_text()
    assert text.count(found) == 1
    file.write_text(text.replace(found, wrong))
    with pytest.raises(SettingsError) as error:
        load(file)
    lines = str(error.value).splitlines()
    assert any(line.startswith(f"{file}: {told}") for line in lines), lines


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[gateway]\ndata_dir = "x\n', "not TOML: .*line 2"),
        (b"[gateway]\n\n[gateway]\n", "not TOML: .*line 3"),
        (b"[gateway]\n\xff\n", "line 2: found bytes that are not UTF-8"),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=told):
        load(file)


def test_a_missing_file_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gateway\.toml: found no such file.*peilmerk gateway init"):
        load(tmp_path)


def test_sections_that_have_defaults_may_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text('[gateway]\ndata_dir = "/var/lib/p"\n[deployments]\ndirectory = "~/d"\n')
    settings = load(file)
    assert isinstance(settings, Settings)
    assert settings.gateway.data_dir == Path("/var/lib/p")
    assert settings.deployments.directory == Path("~/d").expanduser()
    assert settings.web.host == "127.0.0.1"
