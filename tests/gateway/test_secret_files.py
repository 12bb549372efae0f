"""Files with secrets that others can read are refused, TLS is not left out, and systemd is told."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from mqtt_board import village
from patience import DEADLINE_S

from peilmerk_gateway import secret_files
from peilmerk_gateway.checks import check_gateway
from peilmerk_gateway.operation import supervisor
from peilmerk_gateway.operation.reload import changes
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.secret_files import SecretFileError, first_line
from peilmerk_gateway.service import Service, _web_tls
from peilmerk_gateway.settings import Settings, SettingsError, load
from peilmerk_gateway.trust import ensure_trust


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = village(tmp_path, web_port=0)
    text = made.file.read_text().replace("# metrics_token_file", "metrics_token_file")
    made.file.write_text(
        text
        + '\n[[sinks]]\nname = "city"\nkind = "sensorthings"\nurl = "https://city.example/v1.1"\n'
        + 'token_file = "city.token"\n'
    )
    for name in ("metrics.token", "city.token"):
        (tmp_path / name).write_text("a secret\n")
        (tmp_path / name).chmod(0o600)
    ensure_trust(made)
    Registry(made.gateway.registry).close()
    return load(tmp_path)


@pytest.mark.parametrize(
    ("name", "what", "mode"),
    [
        ("metrics.token", "the token for the metrics", 0o640),
        ("city.token", "city's token", 0o604),
        ("data/trust/authority.key", "the authority's key", 0o660),
        ("data/trust/server.key", "the broker's key", 0o644),
        ("data/registry.db", "the devices' keys", 0o620),
    ],
)
async def test_a_secret_that_others_can_read_stops_the_start_by_name_and_mode(
    settings: Settings, name: str, what: str, mode: int
) -> None:
    assert secret_files.complaints(settings) == []
    file = settings.file.parent / name
    file.chmod(mode)
    sentence = f"{file}: found mode {mode:04o}, wanted a file of mode 0600: others could read {what}"
    assert secret_files.complaints(settings) == [sentence]
    with pytest.raises(SecretFileError) as refused:
        await Service(settings).run()
    assert str(refused.value) == sentence


async def test_check_tells_it_too(settings: Settings) -> None:
    (settings.file.parent / "city.token").chmod(0o644)
    report, complaints = await check_gateway(settings)
    assert not report["ok"]
    assert any("city.token: found mode 0644" in complaint for complaint in complaints)


def test_the_first_line_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "a.token"
    file.write_text("one\ntwo\n")
    file.chmod(0o600)
    assert first_line(file, "a token") == "one"
    for content, said in ((b"\n", "found an empty first line"), (b"\xff\n", "not UTF-8")):
        file.write_bytes(content)
        with pytest.raises(SecretFileError, match=said):
            first_line(file, "a token")
    with pytest.raises(SecretFileError, match="No such file"):
        first_line(tmp_path / "none", "a token")


# TLS.


@pytest.mark.parametrize(
    "url", ["http://sensors.example.org/v1.1", "http://10.0.0.5/v1.1", "http://127.0.0.1.example/"]
)
def test_a_platform_elsewhere_is_spoken_to_by_https_only(settings: Settings, url: str) -> None:
    settings.file.write_text(settings.file.read_text().replace("https://city.example/v1.1", url))
    with pytest.raises(SettingsError, match="wanted https: only this machine itself"):
        load(settings.file)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1.1", "http://[::1]:1/v1.1", "http://localhost:1/v1.1"])
def test_a_platform_on_this_machine_needs_no_tls(settings: Settings, url: str) -> None:
    settings.file.write_text(settings.file.read_text().replace("https://city.example/v1.1", url))
    assert load(settings.file).sinks[0].url == url


async def test_a_page_off_the_loopback_interface_is_served_over_tls(tmp_path: Path) -> None:
    settings = village(tmp_path, web_port=0, web_host="0.0.0.0")
    ready: list[Any] = []
    trust = ensure_trust(settings)

    async def ask() -> None:
        port = ready[0].web.rsplit(":", 1)[1].strip("/")
        context = ssl.create_default_context(cafile=str(trust.authority))
        async with httpx.AsyncClient(verify=context, timeout=DEADLINE_S) as client:
            assert (await client.get(f"https://localhost:{port}/healthz")).json() == {"ok": True}
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://localhost:{port}/healthz")

    service = Service(settings, ready.append)
    running = asyncio.create_task(service.run())
    try:
        while not ready and not running.done():
            await asyncio.sleep(0.02)
        await ask()
    finally:
        service.stop()
        await running


def test_without_any_certificate_a_page_is_not_served_elsewhere(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"web": settings.web.model_copy(update={"host": "0.0.0.0"})})
    with pytest.raises(SettingsError, match=r"web\.host: found '0\.0\.0\.0' and no certificate"):
        _web_tls(elsewhere, None)
    assert _web_tls(settings, None) == {}


# What changed.


def test_changes_are_told_apart_by_whether_they_need_a_restart(settings: Settings) -> None:
    text = settings.file.read_text()
    assert changes(settings, load(settings.file)) == ([], [])
    settings.file.write_text(
        text.replace("city.example/v1.1", "city.example/v2").replace(
            'server_names = ["localhost"', 'server_names = ["other"'
        )
    )
    assert changes(settings, load(settings.file)) == (["sinks.city.url"], ["broker.server_names"])
    settings.file.write_text(text + "\n[clock]\nworld_start = 1\nwall_start = 1\n\n[hosts]\naddresses = 12\n")
    assert changes(settings, load(settings.file)) == (
        ["hosts.addresses"],
        ["clock", "clock.speed", "clock.wall_start", "clock.world_start"],
    )


# systemd.


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_where_it_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@peilmerk-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert supervisor.tell("READY=1", "STATUS=x")
        assert door.recv(100) == b"READY=1\nSTATUS=x"
    if not abstract:
        assert not supervisor.tell("READY=1"), "nobody listens any more"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not supervisor.tell("READY=1")
