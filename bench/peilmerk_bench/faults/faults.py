"""The faults: one row each, with how it is made and how it is mended.

A fault gets a `Scene`: the running street, its counter and its air node. What it makes, it must mend, so that
the next fault finds the street as it was.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from littlefs import LittleFS, LittleFSError, UserContextFile

from peilmerk_bench.board import VirtualBoard
from peilmerk_bench.board.spec import BLOCK_BYTES
from peilmerk_bench.street import Street

BROKER_NAME = "gateway.street"
"""The name by which boards of a campaign know their gateway, so that it can move."""

BOOT = re.compile(r"peilmerk: \w+, boot \d+,")
BOOT_WITHIN_S = 60

FILLER = "/left-by-a-technician"
JUMP_S = 90.0


@dataclass
class Scene:
    """Where a fault happens."""

    street: Street
    counter: VirtualBoard
    air: VirtualBoard

    @property
    def boards(self) -> tuple[VirtualBoard, VirtualBoard]:
        return self.counter, self.air


Step = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """name: for the command line; words: for people; hold_s: how long it stands, in real seconds; senses: it
    touches what is measured, not what is sent.
    """

    name: str
    words: str
    make: Step
    mend: Step
    hold_s: float = 18.0
    senses: bool = False


async def _cut_power(scene: Scene) -> None:
    """In the middle of the third flash write from now: while a report or a mark is being written."""
    for board in scene.boards:
        board.cut_power_after_writes(3)
    await asyncio.gather(*(board.until_off() for board in scene.boards))


async def _power_on(scene: Scene) -> None:
    boots = [len(BOOT.findall(board.console_tail)) for board in scene.boards]
    for board in scene.boards:
        board.cut_power_after_writes(0)
        await board.power_on()
    async with asyncio.timeout(BOOT_WITHIN_S):
        for board, before in zip(scene.boards, boots, strict=True):
            while len(BOOT.findall(board.console_tail)) == before:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)


def _wifi(up: bool) -> Step:
    async def step(scene: Scene) -> None:
        for board in scene.boards:
            board.wifi_up = up

    return step


async def _kill_gateway(scene: Scene) -> None:
    await scene.street.gateway.kill()


async def _start_gateway(scene: Scene) -> None:
    await scene.street.gateway.start()


def _named(address: str) -> Step:
    async def step(scene: Scene) -> None:
        for board in scene.boards:
            board.network.dns(BROKER_NAME, address)
            board.network.cut()

    return step


def _dns_silent(on: bool) -> Step:
    async def step(scene: Scene) -> None:
        for board in scene.boards:
            board.network.dns_silent(on)
            board.network.cut()

    return step


def _blackhole(on: bool) -> Step:
    async def step(scene: Scene) -> None:
        for board in scene.boards:
            board.network.blackhole(on)

    return step


def _address(address: str) -> Step:
    async def step(scene: Scene) -> None:
        for board in scene.boards:
            board.network.dhcp_renew(address)

    return step


def _slow(seconds: float) -> Step:
    async def step(scene: Scene) -> None:
        for board in scene.boards:
            board.network.slow(seconds)

    return step


async def _starve(scene: Scene) -> None:
    for board in scene.boards:
        board.network.tls_memory(3)
        board.network.cut()


async def _nothing(scene: Scene) -> None:
    pass


async def _captive(scene: Scene) -> None:
    for board in scene.boards:
        board.network.captive(True)
        board.network.cut()


async def _free(scene: Scene) -> None:
    for board in scene.boards:
        board.network.captive(False)
        board.network.cut()


async def _expired(scene: Scene) -> None:
    context = _expired_context(scene.street.gateway_folder / "data" / "trust")
    for board in scene.boards:
        board.network.captive(context)
        board.network.cut()


def _expired_context(trust: Path) -> ssl.SSLContext:
    """A server with a certificate of the boards' own authority, for the right name, until yesterday."""
    authority = x509.load_pem_x509_certificate((trust / "authority.pem").read_bytes())
    signer = serialization.load_pem_private_key((trust / "authority.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now - datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:  # made for its owner only
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _jump(seconds: float) -> Step:
    async def step(scene: Scene) -> None:
        scene.street.time_server.offset_s = seconds

    return step


def _sensor(fault: str, on: bool) -> Step:
    async def step(scene: Scene) -> None:
        for sensor in scene.air.sensors.values():
            setattr(sensor, fault, on)

    return step


async def _fill_flash(scene: Scene) -> None:
    """Somebody left a file that takes all that is free; the board is off meanwhile."""
    await _with_flash(scene, _fill)


async def _empty_flash(scene: Scene) -> None:
    await _with_flash(scene, lambda disk: disk.remove(FILLER))


def _fill(disk: LittleFS) -> None:
    disk.open(FILLER, "wb").close()
    while True:
        try:
            with disk.open(FILLER, "ab") as file:
                file.write(os.urandom(BLOCK_BYTES))
        except LittleFSError as full:
            if full.code != LittleFSError.Error.LFS_ERR_NOSPC:
                raise
            return


async def _with_flash(scene: Scene, work: Callable[[LittleFS], None]) -> None:
    board = scene.counter
    await board.power_cut()
    image = board.spec.flash
    context = UserContextFile(str(image))
    count = image.stat().st_size // BLOCK_BYTES
    disk = LittleFS(context=context, block_size=BLOCK_BYTES, block_count=count, mount=True)
    work(disk)
    disk.unmount()
    await board.power_on()


FAULTS = (
    Fault("power-cut", "power cut in the middle of a flash write", _cut_power, _power_on, hold_s=3),
    Fault("wifi-gone", "access point gone", _wifi(False), _wifi(True)),
    Fault("broker-gone", "gateway and broker killed", _kill_gateway, _start_gateway),
    Fault("dns-moved", "gateway's name points nowhere, then back", _named("127.0.0.99"), _named("127.0.0.1")),
    Fault("dns-silent", "name server says nothing", _dns_silent(True), _dns_silent(False)),
    Fault("half-open", "nothing passes, nobody is told", _blackhole(True), _blackhole(False)),
    Fault("address-renewed", "DHCP gives another address", _address("127.0.0.2"), _nothing),
    Fault("slow-network", "half a second of real time each way", _slow(0.5), _slow(0)),
    Fault("tls-memory", "three TLS sessions find no memory", _starve, _nothing),
    Fault("captive-network", "a portal answers in place of the gateway", _captive, _free),
    Fault("certificate-expired", "the gateway's certificate has expired", _expired, _free),
    Fault("clock-jump", "the time server is 90 s ahead for a while", _jump(JUMP_S), _jump(0), hold_s=75),
    Fault("flash-full", "a stray file fills the flash", _fill_flash, _empty_flash),
    Fault(
        "sensor-silent",
        "sensors do not answer",
        _sensor("silent", True),
        _sensor("silent", False),
        senses=True,
    ),
    Fault(
        "sensor-babbling",
        "sensors send garbage",
        _sensor("babbling", True),
        _sensor("babbling", False),
        senses=True,
    ),
    Fault(
        "checksum-errors",
        "every checksum of the sensors is wrong",
        _sensor("bad_checksums", True),
        _sensor("bad_checksums", False),
        senses=True,
    ),
)
"""All faults, in the order in which a campaign makes them."""
