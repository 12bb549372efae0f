"""Three NATS servers as one broker: their files, who is let in and when, and what is wrong in settings."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
from pathlib import Path

import nats.errors
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from patience import DEADLINE_S
from typer.testing import CliRunner

from peilmerk_bench.scale.servers import NAMES, NatsServers
from peilmerk_gateway import mqtt_knock
from peilmerk_gateway.broker_access import cluster_access
from peilmerk_gateway.command import app as root
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.ingest.jetstream import Access, connect
from peilmerk_gateway.nats_cluster import Node, read_node
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings, SettingsError, load, write_default

NODES = ("n1=127.0.0.1,mqtt=9", "n2=localhost,client=4333,route=6333", "n3=127.0.0.3,mqtt=9")


def gateway(folder: Path, lines: str) -> Settings:
    """A gateway whose broker is a cluster, with these lines in its table."""
    file = write_default(folder, host="127.0.0.1", mqtt_port=8883, web_port=0, update_port=0)
    text = file.read_text().replace('kind = "nats"', 'kind = "nats-cluster"')
    file.write_text(f"{text}\n[broker.cluster]\n{lines}\n")
    return load(file)


WAY = 'urls = ["tls://10.0.0.1:4222"]\npassword_file = "broker.password"'


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('urls = ["nats://10.0.0.1:4222"]\npassword_file = "x"', "wanted tls: only this machine itself"),
        ('urls = ["tls://10.0.0.1"]\npassword_file = "x"', "wanted tls://host:port"),
        ('urls = ["tls://gateway:secret@10.0.0.1:4222"]\npassword_file = "x"', "wanted tls://host:port"),
        ('urls = []\npassword_file = "x"', r"broker\.cluster\.urls"),
        ('urls = ["tls://10.0.0.1:4222"]', r"broker\.cluster\.password_file: not found"),
    ],
)
def test_what_is_wrong_with_the_way_in_is_told(tmp_path: Path, lines: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        gateway(tmp_path, lines)


def test_a_node_is_a_name_a_host_and_ports() -> None:
    assert read_node("n1=10.0.0.1") == Node("n1", "10.0.0.1")
    assert read_node(NODES[1]) == Node("n2", "localhost", 4333, 6333)
    assert read_node(NODES[2]) == Node("n3", "127.0.0.3", mqtt_port=9)
    for wrong in ("10.0.0.1", "n1=", "n1=a b", "n1=a,other=1", "N1=a"):
        with pytest.raises(PeilmerkError, match="wanted NAME=HOST"):
            read_node(wrong)


def test_each_server_gets_its_files_and_devices_wait_until_it_runs(tmp_path: Path) -> None:
    settings = gateway(tmp_path, WAY)
    with Registry(settings.gateway.registry) as registry:
        registry.enrol("counter", "one")
    words = [
        "gateway",
        "broker-config",
        str(tmp_path),
        "--kind",
        "nats-cluster",
        "--out",
        str(tmp_path / "out"),
    ]
    nodes = [word for node in NODES for word in ("--node", node)]
    done = CliRunner().invoke(root, [*words, *nodes, "--at", "/etc/nats", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["figures"] == {"nodes": 3, "devices": 0, "devices_let_in": False}
    assert "the servers have no configuration yet; start the three servers" in done.stderr
    first, second = (load_text(tmp_path, name) for name in ("n1", "n2"))
    assert "stream_replicas: 3" in first
    assert "sync_interval: always" in first
    assert '"/etc/nats/n2/server.pem"' in second
    assert "port: 4333" in second
    assert "@127.0.0.1:6222" in second
    assert "@localhost:6333" in first
    assert "@localhost" not in second
    for name in NAMES:
        place = tmp_path / "out" / name
        assert stat.S_IMODE((place / "nats.conf").stat().st_mode) == 0o600
        assert stat.S_IMODE((place / "server.key").stat().st_mode) == 0o600
        made = x509.load_pem_x509_certificate((place / "server.pem").read_bytes())
        uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    password = (tmp_path / "broker.password").read_text().strip()
    assert password not in first
    # Again: the same secrets, so that a server that reloads still knows the others.
    CliRunner().invoke(root, [*words, *nodes, "--at", "/etc/nats"])
    assert route_of(load_text(tmp_path, "n1")) == route_of(first)
    assert (tmp_path / "broker.password").read_text().strip() == password
    done = CliRunner().invoke(root, [*words, "--node", NODES[0], "--node", NODES[1]])
    assert done.exit_code == 2
    assert "--node: found 2, wanted 3" in done.stderr


def load_text(folder: Path, name: str) -> str:
    return (folder / "out" / name / "nats.conf").read_text()


def route_of(text: str) -> str:
    return text.partition("nats-route://route:")[2].partition("@")[0]


async def test_devices_are_let_in_once_the_interest_is_there_on_every_server(tmp_path: Path) -> None:
    servers = NatsServers(tmp_path)
    file = write_default(tmp_path, server_names=["127.0.0.1"], mqtt_port=8883, web_port=0, update_port=0)
    servers.serve(file)
    settings = load(file)
    with Registry(settings.gateway.registry) as registry:
        board = registry.enrol("counter", "one")
    assert board.mqtt_password is not None
    try:
        assert not await asyncio.to_thread(servers.configure)
        for name in NAMES:
            servers.start_one(name)
        context = ssl.create_default_context(cafile=str(settings.trust_dir / "authority.pem"))
        port = servers.mqtt_ports[0]

        async def knock(port: int) -> None:
            await mqtt_knock.knock(
                "127.0.0.1", port, context, "127.0.0.1", board.device_id, board.mqtt_password or ""
            )

        # The servers run, and nobody would take what a board brings.
        await until_open(port)
        with pytest.raises(mqtt_knock.NotAdmitted):
            await knock(port)
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(servers.configure):
                pass
        servers.reload()
        async with asyncio.timeout(DEADLINE_S):
            for port in servers.mqtt_ports:
                while True:
                    try:
                        await knock(port)
                        break
                    except (mqtt_knock.NotAdmitted, OSError):
                        await asyncio.sleep(0.1)
        assert await servers.replicas() == 3
        # The gateway gets in by any of them, and by nobody who is not vouched for.
        access = cluster_access(load(tmp_path))
        gone = Access(access.url, access.user, access.password, ("tls://127.0.0.1:9",), access.ca_file)
        for _ in range(4):
            await (await connect(gone)).close()
        servers.kill("n2")
        await (await connect(access)).close()
        stranger = Access(access.url, access.user, access.password, (), None)
        with pytest.raises((ssl.SSLError, OSError, nats.errors.Error)):
            await connect(stranger)
    finally:
        servers.stop()


async def until_open(port: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.05)
