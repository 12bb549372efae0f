"""Firmware over TLS: one path, whole or from where a board stopped, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mqtt_board import until, village
from patience import DEADLINE_S

from peilmerk_gateway.trust import Trust, ensure_trust
from peilmerk_gateway.updates.server import FirmwareServer, _Patient, create_app
from peilmerk_gateway.web.server import WebServerError

BUNDLE = bytes(range(256)) * 700 + b"the end"
DIGEST = hashlib.sha256(BUNDLE).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data") / "firmware"
    made.mkdir()
    (made / DIGEST).write_bytes(BUNDLE)
    (made / "notes.txt").write_text("private")
    (made.parent / "secret").write_text("private")
    (made / ("f" * 64)).mkdir()
    return made


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return ensure_trust(village(tmp_path_factory.mktemp("gateway")))


@pytest.fixture
async def server(folder: Path, trust: Trust) -> AsyncIterator[FirmwareServer]:
    made = FirmwareServer(folder, "127.0.0.1", 0, trust)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def board(server: FirmwareServer, trust: Trust) -> AsyncIterator[httpx.AsyncClient]:
    """A client that trusts what a board trusts."""
    context = ssl.create_default_context(cafile=str(trust.authority))
    async with httpx.AsyncClient(
        base_url=server.url, verify=context, trust_env=False, timeout=DEADLINE_S
    ) as client:
        yield client


async def test_a_bundle_whole_in_part_and_in_words(board: httpx.AsyncClient) -> None:
    whole = await board.get(f"/firmware/{DIGEST}")
    assert whole.status_code == 200
    assert whole.content == BUNDLE
    assert whole.headers["etag"] == f'"{DIGEST}"'
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "server" not in whole.headers
    head = await board.head(f"/firmware/{DIGEST}")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(BUNDLE)
    rest = await board.get(
        f"/firmware/{DIGEST}", headers={"range": "bytes=100000-", "if-range": f'"{DIGEST}"'}
    )
    assert rest.status_code == 206
    assert rest.content == BUNDLE[100_000:]
    assert rest.headers["content-range"] == f"bytes 100000-{len(BUNDLE) - 1}/{len(BUNDLE)}"
    other = await board.get(f"/firmware/{DIGEST}", headers={"range": "bytes=5-9", "if-range": '"another"'})
    assert (other.status_code, other.content) == (200, BUNDLE)


async def test_ranges_that_cannot_be(board: httpx.AsyncClient) -> None:
    beyond = await board.get(f"/firmware/{DIGEST}", headers={"range": f"bytes={len(BUNDLE)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(BUNDLE)}"
    many = await board.get(f"/firmware/{DIGEST}", headers={"range": "bytes=0-1,3-4"})
    assert (many.status_code, len(many.content)) == (200, len(BUNDLE))
    for text in ("bytes=", "lines=1-2", "bytes=x-y", "bytes=9-3"):
        assert (await board.get(f"/firmware/{DIGEST}", headers={"range": text})).status_code in (400, 416)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/firmware",
        "/firmware/",
        "/firmware/notes.txt",
        f"/firmware/{DIGEST.upper()}",
        f"/firmware/{DIGEST}/",
        f"/firmware/{DIGEST}x",
        f"/firmware/{'0' * 64}",
        f"/firmware/{'f' * 64}",
        "/firmware/..%2fsecret",
        "/firmware/../secret",
        "/firmware/%2e%2e/secret",
        f"//firmware/{DIGEST}",
        f"/firmware/%00{DIGEST[1:]}",
    ],
)
async def test_there_is_no_other_path(board: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await board.request(method, httpx.URL(str(board.base_url)).copy_with(raw_path=path.encode()))
        assert answer.status_code == 404, path
        assert answer.content == b""
        assert answer.headers["content-security-policy"]


async def test_there_is_no_other_method(board: httpx.AsyncClient) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = await board.request(method, f"/firmware/{DIGEST}")
        assert answer.status_code == 405


def asked(folder: Path, names: list[str]) -> list[int]:
    """The statuses of asking the app for these names, without a network."""

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(create_app(folder))
        async with httpx.AsyncClient(transport=transport, base_url="https://gateway") as client:
            return [(await client.get("/firmware/" + quote(name, safe=""))).status_code for name in names]

    return asyncio.run(ask())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(max_size=80), min_size=4, max_size=4))
def test_no_name_but_the_digest_finds_anything(folder: Path, names: list[str]) -> None:
    assert asked(folder, [*names, DIGEST]) == [404] * len(names) + [200]


async def test_a_bundle_that_comes_later_is_found(board: httpx.AsyncClient, folder: Path) -> None:
    later = hashlib.sha256(b"later").hexdigest()
    assert (await board.get(f"/firmware/{later}")).status_code == 404
    (folder / later).write_bytes(b"later")
    assert (await board.get(f"/firmware/{later}")).content == b"later"


async def test_only_by_tls_and_for_those_who_trust_its_authority(
    server: FirmwareServer, tmp_path: Path
) -> None:
    async with httpx.AsyncClient(trust_env=False) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(f"http://127.0.0.1:{server.port}/firmware/{DIGEST}")
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await plain.get(f"https://127.0.0.1:{server.port}/firmware/{DIGEST}")


async def test_who_asks_for_nothing_or_reads_nothing_is_hung_up_on(
    folder: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Patient, "request_s", 0.5)
    (folder / ("a" * 64)).write_bytes(bytes(32 << 20))
    server = FirmwareServer(folder, "127.0.0.1", 0, trust)
    await server.start()
    context = ssl.create_default_context(cafile=str(trust.authority))
    try:
        silent_reader, silent = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        silent.write(b"GET /firm")
        # Ended by the server, by whatever means TLS has for it.
        ended = await asyncio.wait_for(asyncio.gather(silent_reader.read(), return_exceptions=True), 60)
        assert ended[0] == b"" or isinstance(ended[0], OSError)
        silent.transport.abort()
        monkeypatch.setattr(_Patient, "connection_s", 2.0)
        _, lazy = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, limit=1024)
        lazy.write(b"GET /firmware/" + b"a" * 64 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        await lazy.drain()
        inner = server._server
        assert inner is not None
        await until(lambda: inner.server_state.connections, "the request to be taken", 60)
        await until(lambda: not inner.server_state.connections, "the connection to be ended", 60)
        lazy.transport.abort()
    finally:
        (folder / ("a" * 64)).unlink()
        await server.stop()


async def test_a_crowd_is_turned_away_and_the_next_is_served(
    server: FirmwareServer, board: httpx.AsyncClient, trust: Trust
) -> None:
    context = ssl.create_default_context(cafile=str(trust.authority))
    crowd = [await asyncio.open_connection("127.0.0.1", server.port, ssl=context) for _ in range(64)]
    assert (await board.get(f"/firmware/{DIGEST}")).status_code == 503
    for _, writer in crowd:
        writer.transport.abort()
    inner = server._server
    assert inner is not None
    await until(lambda: len(inner.server_state.connections) <= 1, "the crowd to be gone", 60)
    assert (await board.get(f"/firmware/{DIGEST}")).status_code == 200


async def test_a_port_that_is_taken_is_named(folder: Path, trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WebServerError, match=f"update: port {port} of 127.0.0.1 is taken"):
            await FirmwareServer(folder, "127.0.0.1", port, trust).start()


def test_the_folder_need_not_be_there(tmp_path: Path) -> None:
    assert asked(tmp_path / "nothing", [DIGEST]) == [404]
    assert os.listdir(tmp_path) == []
