"""What is written for a Mosquitto: its own hash format, and rights that a real one keeps."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from ingest_brokers import TABLE, Mosquitto, Place, collect, needs_mosquitto, town
from ingest_brokers import place as new_place
from mqtt_board import Board, board, until, village
from typer.testing import CliRunner

from peilmerk_gateway import mosquitto_hash
from peilmerk_gateway.broker_access import mqtt_access
from peilmerk_gateway.cli import app
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import SettingsError, load
from peilmerk_protocol import topics

PASSWD = shutil.which("mosquitto_passwd")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with new_place("mosquitto 5", tmp_path) as made:
        yield made


@needs_mosquitto
def test_a_hash_is_the_one_that_mosquitto_makes(tmp_path: Path) -> None:
    assert PASSWD is not None
    subprocess.run([PASSWD, "-b", "-c", str(tmp_path / "users"), "u", "a password"], check=True)
    theirs = (tmp_path / "users").read_text().strip().removeprefix("u:")
    assert mosquitto_hash.PATTERN.fullmatch(theirs)
    salt = base64.b64decode(theirs.split("$")[3])
    assert mosquitto_hash.hash_password("a password", salt) == theirs
    assert mosquitto_hash.hash_password("a passwork", salt) != theirs
    assert mosquitto_hash.hash_password("a password") != theirs, "a salt of its own"


@needs_mosquitto
async def test_a_device_says_its_own_and_hears_its_own_only(place: Place) -> None:
    one, other = place.device, place.registry.enrol("counter", "other")
    place.broker.configure()
    place.broker.reload()
    neighbour = Board(place.broker, other)
    assert await asyncio.to_thread(neighbour.connect) == "Success"
    async with place.board() as board:
        for listener in (board, neighbour):
            # Granted, and never delivered on but for what is theirs.
            assert await asyncio.to_thread(listener.subscribe, "#")
            assert await asyncio.to_thread(listener.subscribe, topics.topic(one.device_id, topics.COMMAND))
        for kind in (topics.REPORT, topics.STATEMENT, topics.ACK, topics.DAY, topics.COMMAND):
            await asyncio.to_thread(neighbour.publish, topics.topic(one.device_id, kind), b"forged")
        await asyncio.to_thread(neighbour.publish, "anything/else", b"forged")
        await asyncio.to_thread(neighbour.report, b"its own")
        ingest = place.ingest()
        batches = ingest.batches()
        (only,) = await collect(batches, 1)
        assert (only.device_id, only.payload) == (other.device_id, b"its own")
        more = asyncio.create_task(anext(batches, None))
        await until(lambda: ingest.connected, "a connection")
        # Each has a last message of its own, behind everything that could have reached it by mistake.
        sent = ((other, b"for the other"), (one, b"for one"), (other, b"last"), (one, b"last"))
        for whom, payload in sent:
            await ingest.tell(topics.topic(whom.device_id, topics.COMMAND), payload)
        for listener in (board, neighbour):
            await asyncio.to_thread(listener.wait, lambda it=listener: b"last" in heard(it))
        # Two subscriptions of each fit, and Mosquitto delivers once.
        assert heard(board) == [b"for one", b"last"]
        assert heard(neighbour) == [b"for the other", b"last"]
        await ingest.close()
        await more
    await asyncio.to_thread(neighbour.close)


def heard(listener: Board) -> list[bytes]:
    return [payload for _, payload in listener.received]


@needs_mosquitto
async def test_a_device_cannot_take_the_gateways_session(place: Place) -> None:
    await place.publish([b"kept"])
    for client_id in ("gateway", place.settings.broker.mqtt.client_id):
        thief = Board(place.broker, place.device, client_id=client_id, clean=True)
        assert await asyncio.to_thread(thief.connect) == "Success"
        await asyncio.to_thread(thief.close)
    found = await collect(place.ingest().batches(), 1)
    assert [one.payload for one in found] == [b"kept"], (
        "a clean session under the gateway's id clears nothing"
    )


@needs_mosquitto
async def test_who_is_revoked_or_anonymous_or_wrong_stays_out(place: Place) -> None:
    new = place.registry.enrol("air", "new")
    place.registry.revoke(place.device.device_id)
    place.broker.configure()
    place.broker.reload()
    async with board(place.broker, new):
        assert await answer(Board(place.broker, place.device)) == "Not authorized"
        nobody = Board(place.broker, new)
        nobody.client.username_pw_set(None, None)
        assert await answer(nobody) == "Not authorized"
        wrong = Board(place.broker, new)
        wrong.client.username_pw_set(new.device_id, "wrong")
        assert await answer(wrong) == "Not authorized"


async def answer(one: Board) -> str:
    said = await asyncio.to_thread(one.connect)
    await asyncio.to_thread(one.close)
    return said


@needs_mosquitto
async def test_a_publish_outside_the_rights_is_refused_where_mqtt_can_say_so(place: Place) -> None:
    reasons: list[Any] = []
    way = mqtt_access(place.settings)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="x", protocol=paho.MQTTv5)
    client.username_pw_set(place.device.device_id, place.device.mqtt_password)
    client.tls_set(str(way.ca_file))
    client.on_publish = lambda _c, _u, _m, reason, _p: reasons.append(str(reason))
    client.on_connect = lambda *_: client.publish("peilmerk/1/abcdefghijklmnop/report", b"x", 1)
    await asyncio.to_thread(client.connect, "localhost", way.port)
    client.loop_start()
    await until(lambda: reasons, "an answer")
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)
    assert reasons == ["Not authorized"]


def test_the_command_writes_files_for_the_owner_and_tells_no_secret(tmp_path: Path) -> None:
    settings = town(tmp_path / "village", port=48_883)
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "x")
        revoked = registry.enrol("counter", "y")
        registry.revoke(revoked.device_id)
    out = tmp_path / "out"
    wanted = ["broker-config", str(settings.file.parent), "--kind", "mosquitto", "--out", str(out)]
    first = CliRunner().invoke(app, [*wanted, "--at", "/etc/mosquitto/peilmerk", "--json"])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout) == {
        "name": "gateway broker-config",
        "ok": True,
        "figures": {"devices": 1, "devices_left_out": 0},
        "limits": {"devices_left_out": 0},
    }
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert modes == {
        "mosquitto.conf": 0o600,
        "acl": 0o600,
        "passwords": 0o600,
        "server.pem": 0o644,
        "server.key": 0o600,
        "store": 0o700,
    }
    conf = (out / "mosquitto.conf").read_text().splitlines()
    for line in (
        "allow_anonymous false",
        "password_file /etc/mosquitto/peilmerk/passwords",
        "persistence true",
        "listener 48883 127.0.0.1",
        "certfile /etc/mosquitto/peilmerk/server.pem",
        "use_username_as_clientid true",
    ):
        assert line in conf
    secret = settings.broker.mqtt.password_file
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    users = dict(line.split(":") for line in (out / "passwords").read_text().splitlines())
    assert set(users) == {"gateway", device.device_id}
    for user, password in (("gateway", secret.read_text().strip()), (device.device_id, device.mqtt_password)):
        salt = base64.b64decode(users[user].split("$")[3])
        assert mosquitto_hash.hash_password(password, salt) == users[user]
        assert password not in first.output
        assert all(password not in path.read_text() for path in out.iterdir() if path.is_file())
    before = secret.read_text()
    again = CliRunner().invoke(app, wanted)
    assert (again.exit_code, secret.read_text()) == (0, before)
    assert f"wrote {out}" in re.sub(r"\n", "", again.stdout)


def test_a_device_of_an_older_registry_is_named(tmp_path: Path) -> None:
    settings = town(tmp_path)
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "x")
    with sqlite3.connect(settings.gateway.registry) as db:
        # As version 1 was: version 2 brought this column, version 3 the registry's trail.
        db.executescript(
            "ALTER TABLE device DROP COLUMN mosquitto_hash; DROP TABLE action; PRAGMA user_version = 1"
        )
    out = tmp_path / "out"
    told = CliRunner().invoke(app, ["broker-config", str(tmp_path), "--kind", "mosquitto", "--out", str(out)])
    assert told.exit_code == 1
    assert told.stderr == (
        f"error: {device.device_id}: found no password hash that mosquitto reads, because an older peilmerk "
        "enrolled it: enrol it anew\n"
    )
    assert device.device_id not in (out / "passwords").read_text()


def test_a_gateway_with_its_own_broker_has_nothing_to_write(tmp_path: Path) -> None:
    village(tmp_path)
    told = CliRunner().invoke(
        app, ["broker-config", str(tmp_path), "--kind", "mosquitto", "--out", str(tmp_path / "o")]
    )
    assert told.exit_code == 2
    assert 'broker.kind: found "nats", the broker that the gateway runs itself, wanted "mqtt"' in told.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (TABLE, "", 'broker: found kind "mqtt" alone, wanted a table'),
        ('kind = "mqtt"', 'kind = "nats"', 'broker: found [broker.mqtt] with kind "nats"'),
        ("mqtt_port = 48883", "mqtt_port = 0", 'broker: found mqtt_port 0 with kind "mqtt"'),
        ('password_file = "broker.password"\n', "", "broker.mqtt.password_file: not found, wanted a value"),
        ('protocol = "5"', 'protocol = "3"', "broker.mqtt.protocol: found '3', wanted '3.1.1' or '5'"),
        ('protocol = "5"', 'pasword = "x"', "broker.mqtt.pasword: no such setting"),
        ('protocol = "5"', 'ca_file = "ca.pem"', "update: found it beside broker.mqtt.ca_file"),
    ],
)
def test_settings_of_another_broker_that_cannot_be(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    file = town(tmp_path, port=48_883).file
    text = file.read_text()
    assert text.count(old) == 1, text
    file.write_text(text.replace(old, new))
    with pytest.raises(SettingsError, match=re.escape(complaint)):
        load(file)


def test_check_tells_what_is_missing_for_another_broker(tmp_path: Path) -> None:
    settings = town(tmp_path)
    told = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    assert told.exit_code == 1
    assert f"error: {settings.broker.mqtt.password_file}: No such file or directory" in told.stderr
    with Registry(settings.gateway.registry) as registry:
        Mosquitto(settings, registry, tmp_path / "mosquitto")
    assert CliRunner().invoke(app, ["check", str(tmp_path), "--json"]).exit_code == 0
    assert os.stat(settings.authority_der).st_size > 300
