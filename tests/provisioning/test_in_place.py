"""Firmware that runs in place: deployed with the real mpremote onto a board with a ROM file system."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from counting import Counting
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from patience import DEADLINE_S

from peilmerk_bench.board import BoardSpec, VirtualBoard
from peilmerk_bench.board.spec import ROMFS_BYTES
from peilmerk_bench.world.clock import WorldClock
from peilmerk_gateway.trust import ensure_authority
from peilmerk_provisioning.board import Board, Inspection, Reset
from peilmerk_provisioning.bundle import Bundle, build
from peilmerk_provisioning.deploy import Deployed, deploy
from peilmerk_provisioning.errors import BoardError, DeployError

HALF = ROMFS_BYTES // 2
IDENTITY = {
    "device_id": "abcdefghijklmnop",
    "mqtt_password": "m" * 43,
    "root_key": "00" * 32,
}
LINK = {"host": "127.0.0.1", "port": 1, "server_name": "gateway.invalid"}


@pytest.fixture
async def virtual(tmp_path: Path) -> AsyncIterator[VirtualBoard]:
    spec = BoardSpec("board", "counter", tmp_path / "flash.img", romfs_bytes=ROMFS_BYTES)
    board = VirtualBoard(spec, WorldClock.starting(1_772_438_400.0), tmp_path)
    await board.start()
    await asyncio.to_thread(enrolled, board, tmp_path)
    yield board
    await board.stop()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(kind="counter")


def mpremote(port: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", port, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def changed(bundle: Bundle, path: str) -> Bundle:
    return replace(bundle, files=bundle.files | {path: bundle.files[path] + b" "})


async def heap_of(virtual: VirtualBoard, starts: int) -> int:
    """The heap that the firmware tells of, once it was started so many times."""
    told: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(told) < starts:
            await asyncio.sleep(0.05)
            told = re.findall(r"(\d+) bytes of heap in use", virtual.console_tail)
    return int(told[-1])


def enrolled(virtual: VirtualBoard, folder: Path) -> None:
    (folder / "identity.json").write_text(json.dumps(IDENTITY))
    certificate, _ = ensure_authority(folder / "trust")
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    (folder / "trust.der").write_bytes(found.public_bytes(Encoding.DER))
    words = [str(folder / "identity.json"), str(folder / "trust.der")]
    mpremote(virtual.port, "fs", "cp", *words, ":/")


async def put(
    virtual: VirtualBoard, bundle: Bundle, romfs: bool | None = None, board: Board | None = None
) -> Deployed:
    """Deploy, and wait until the board is through its start: one that starts can miss mpremote once."""
    starts = virtual.console_tail.count("bytes of heap in use")
    board = board or Board(virtual.port)
    done = await asyncio.to_thread(deploy, board, "counter", bundle, link=LINK, romfs=romfs)
    await heap_of(virtual, starts + 1)
    return done


async def test_what_is_deployed_runs_in_place_and_leaves_the_heap_alone(
    virtual: VirtualBoard, bundle: Bundle
) -> None:
    heaps = {}
    for romfs in (False, None):
        done = await put(virtual, bundle, romfs)
        assert (done.in_place, done.digest) == (romfs is None, bundle.digest)
        heaps[romfs] = await heap_of(virtual, len(heaps) + 1)
        found = await asyncio.to_thread(Board(virtual.port).inspect)
        assert (found.in_place, found.romfs, found.digest) == (romfs is None, HALF, bundle.digest)
        assert found.files == bundle.hashes
    # Bytecode and its names, which is most of what a firmware takes.
    assert heaps[False] - heaps[None] > 40_000
    again = await put(virtual, bundle)
    assert (again.copied, again.in_place) == ((), True)


async def test_a_change_goes_into_the_other_half_and_back_to_a_folder(
    virtual: VirtualBoard, bundle: Bundle
) -> None:
    def state() -> Inspection:
        return Board(virtual.port).inspect()

    await put(virtual, bundle)
    first = await asyncio.to_thread(state)
    other = changed(bundle, "node/portal/pages")
    assert (await put(virtual, other)).copied == ("node/portal/pages",)
    second = await asyncio.to_thread(state)
    assert {first.slot, second.slot} == {"a", "b"}
    assert (second.digest, second.in_place) == (other.digest, True)
    for romfs in (False, True, False):
        await put(virtual, bundle, romfs)
        found = await asyncio.to_thread(state)
        assert (found.digest, found.in_place, found.rival) == (bundle.digest, romfs, {})


async def test_power_lost_while_the_half_is_written_leaves_the_old_firmware(
    virtual: VirtualBoard, bundle: Bundle
) -> None:
    running = bundle
    await put(virtual, running)
    counting = Counting(virtual)
    for left in (None, 12):
        wanted = changed(running, "node/portal/pages")
        if left is None:
            await put(virtual, wanted, board=counting)
            running = wanted
            continue
        cut = Counting(virtual, cut=counting.writes - left, silence_s=2)
        with pytest.raises(BoardError):
            await asyncio.to_thread(deploy, cut, "counter", wanted)
        await virtual.until_off()
        virtual.cut_power_after_writes(0)
        starts = virtual.console_tail.count("bytes of heap in use")
        await virtual.power_on()
        await heap_of(virtual, starts + 1)
        found = await asyncio.to_thread(Board(virtual.port).inspect)
        assert (found.digest, found.in_place) == (running.digest, True)
        await asyncio.to_thread(Board(virtual.port).do, [Reset()])
        await heap_of(virtual, starts + 2)


async def test_mpremotes_own_romfs_sees_and_fills_the_partition(
    virtual: VirtualBoard, tmp_path: Path
) -> None:
    (tmp_path / "rom").mkdir()
    (tmp_path / "rom/told.py").write_text("WORD = 'in place'\n")
    said = await asyncio.to_thread(mpremote, virtual.port, "romfs", "deploy", str(tmp_path / "rom"))
    assert "ROMFS image deployed" in said
    said = await asyncio.to_thread(mpremote, virtual.port, "romfs", "query")
    assert f"ROMFS0 partition has size {ROMFS_BYTES} bytes (48 blocks of 4096 bytes each)" in said
    words = ("exec", "import told; print(told.WORD, told.__file__)")
    assert await asyncio.to_thread(mpremote, virtual.port, *words) == "in place /rom/told.mpy\n"


async def test_a_partition_that_is_too_small_is_told_or_left_alone(tmp_path: Path, bundle: Bundle) -> None:
    spec = BoardSpec("small", "counter", tmp_path / "flash.img", romfs_bytes=131_072)
    board = VirtualBoard(spec, WorldClock.starting(1_772_438_400.0), tmp_path)
    await board.start()
    try:
        with pytest.raises(DeployError, match="has 65536 bytes of a ROM file system for each of two"):
            await asyncio.to_thread(deploy, Board(board.port), "counter", bundle, romfs=True)
        done = await asyncio.to_thread(deploy, Board(board.port), "counter", bundle)
        assert (done.in_place, done.digest) == (False, bundle.digest)
    finally:
        await board.stop()
