"""What is written into node.json: the way to the gateway, Wi-Fi, and each kind's sensors and profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_protocol import profile
from peilmerk_provisioning.errors import EnrolError
from peilmerk_provisioning.kinds import KINDS, node_settings
from peilmerk_provisioning.link import LinkError, gateway_link, read_password, trust_of, wifi_link


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    names = ("sensors.example.org", "10.0.0.5")
    return load(write_default(tmp_path, host="127.0.0.1", mqtt_port=18883, server_names=names))


def test_link_comes_from_the_settings(settings: Settings) -> None:
    assert gateway_link(settings) == {
        "host": "127.0.0.1",
        "port": 18883,
        "server_name": "sensors.example.org",
        "timeout_s": 30,
        "update": {"host": "127.0.0.1", "port": 8884, "server_name": "sensors.example.org"},
    }


def test_a_gateway_that_serves_no_firmware_names_no_place_for_it(tmp_path: Path) -> None:
    assert "update" not in gateway_link(load(write_default(tmp_path / "any", update_port=0)))
    file = write_default(tmp_path / "none")
    text = file.read_text("utf-8")
    file.write_text(text[: text.index("[update]")], "utf-8")
    assert "update" not in gateway_link(load(file))


def test_boards_get_a_name_when_the_broker_listens_everywhere(tmp_path: Path) -> None:
    settings = load(write_default(tmp_path, server_names=("sensors.example.org",)))
    assert gateway_link(settings)["host"] == "sensors.example.org"
    assert gateway_link(settings)["port"] == 8883


def test_options_go_before_settings(settings: Settings) -> None:
    link = gateway_link(settings, host="10.0.0.5", port=1, ntp=("time.example.org", "127.0.0.1:12345"))
    assert (link["host"], link["port"], link["server_name"]) == ("10.0.0.5", 1, "10.0.0.5")
    assert link["ntp"] == [["time.example.org", 123], ["127.0.0.1", 12345]]


def test_an_address_that_no_certificate_names_keeps_the_server_name(settings: Settings) -> None:
    link = gateway_link(settings, host="192.168.1.9")
    assert (link["host"], link["server_name"]) == ("192.168.1.9", "sensors.example.org")


def test_any_free_port_is_no_port_for_a_board(tmp_path: Path) -> None:
    settings = load(write_default(tmp_path, mqtt_port=0))
    with pytest.raises(LinkError, match=r"gateway.toml: broker.mqtt_port is 0, .*give --mqtt-port"):
        gateway_link(settings)
    assert gateway_link(settings, port=4711)["port"] == 4711


@pytest.mark.parametrize("text", ["host:", ":123", "host:0", "host:65536", "host:ntp"])
def test_bad_time_server_is_named(settings: Settings, text: str) -> None:
    with pytest.raises(LinkError, match=f"found time server '{text}', wanted HOST or HOST:PORT"):
        gateway_link(settings, ntp=(text,))


@pytest.mark.parametrize(
    ("ssid", "password", "message"),
    [
        ("", "password", "found a Wi-Fi name of 0 bytes"),
        ("é" * 17, "password", "found a Wi-Fi name of 34 bytes"),
        ("net", "seven77", "found a Wi-Fi password of 7 characters"),
        ("net", "x" * 64, "found a Wi-Fi password of 64 characters"),
    ],
)
def test_wifi_that_no_network_can_have_is_refused(ssid: str, password: str, message: str) -> None:
    with pytest.raises(LinkError, match=message) as refusal:
        wifi_link(ssid, password)
    assert not password or password not in str(refusal.value)


@pytest.mark.parametrize("password", ["", "eight888", "x" * 63])
def test_wifi_is_one_network(password: str) -> None:
    assert wifi_link("é" * 16, password) == {"wifi": [["é" * 16, password]]}


def test_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" with spaces \r\nnot this\n")
    assert read_password(file) == " with spaces "
    with pytest.raises(LinkError, match=r"nothing: No such file or directory, wanted a file with the Wi-Fi"):
        read_password(tmp_path / "nothing")


def test_missing_authority_says_how_to_get_one(settings: Settings) -> None:
    with pytest.raises(EnrolError, match=r"authority.der: found no certificate .*'peilmerk gateway run'"):
        trust_of(settings)
    settings.authority_der.parent.mkdir(parents=True, exist_ok=True)
    settings.authority_der.write_bytes(b"\x30\x82")
    assert trust_of(settings) == b"\x30\x82"


@pytest.mark.parametrize("kind", KINDS)
def test_the_profile_on_the_board_is_the_one_that_is_attested(kind: str) -> None:
    written = node_settings(kind)
    fields = written["profile"]
    again = profile.Profile(
        fields["revision"],
        fields["window_s"],
        fields["set"],
        tuple(fields["epsilon_leaf"]),
        tuple(fields["epsilon_day"]),
        fields["k"],
        fields["m"],
    )
    assert profile.digest(again) == profile.digest(KINDS[kind]["profile"])
    assert written["kind"] == kind


def test_wiring_is_that_of_the_guide() -> None:
    assert node_settings("counter")["sensors"] == [{"driver": "beam_pair", "pins": [4, 5]}]
    assert node_settings("counter")["profile"]["set"] == 1 << 5 | 1 << 6
    assert node_settings("air")["sensors"] == [
        {"driver": "sds011", "uart": 1, "tx": 17, "rx": 16},
        {"driver": "sht3x", "i2c": 0, "scl": 22, "sda": 21, "address": 68},
    ]
    assert node_settings("air")["profile"]["set"] == 0b11111
