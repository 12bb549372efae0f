"""Enrol and deploy over a real virtual board with the real mpremote, whole, twice, interrupted and
refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from counting import Counting
from patience import DEADLINE_S

from peilmerk_bench.board import BoardSpec, VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_gateway.trust import ensure_trust
from peilmerk_provisioning.board import Board, Reset, Script
from peilmerk_provisioning.bundle import Bundle, build
from peilmerk_provisioning.deploy import deploy
from peilmerk_provisioning.enrol import enrol
from peilmerk_provisioning.errors import BoardError, DeployError, EnrolError
from peilmerk_provisioning.link import gateway_link, trust_of
from peilmerk_provisioning.release import load_key, public_frame

WIFI_PASSWORD = "a password with $igns"
CLI = "from peilmerk_provisioning.cli import app; app(prog_name='peilmerk device')"
# A board that does not answer is found out by silence; on this bench nothing takes this long.
SILENCE_S = 60.0


@dataclass
class Bench:
    """A running board, how to cut its power, and a gateway's folder to enrol it at."""

    virtual: VirtualBoard
    settings: Settings
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> str:
        return str(self.virtual.port)

    @property
    def board(self) -> Board:
        return Board(self.port, silence_s=SILENCE_S)

    def registry(self) -> Registry:
        return Registry(self.settings.gateway.registry)

    def cut_power(self) -> None:
        """From another thread: pull the cable."""
        asyncio.run_coroutine_threadsafe(self.virtual.power_cut(), self.loop).result(10)

    def power_on(self) -> None:
        asyncio.run_coroutine_threadsafe(self.virtual.power_on(), self.loop).result(10)

    def enrol(self, **options: Any) -> Any:
        with self.registry() as registry:
            return enrol(
                self.board, registry, gateway_link(self.settings), trust_of(self.settings), **options
            )

    def file(self, path: str) -> bytes:
        """Read a file of the board with plain mpremote."""
        self.board.inspect()  # and stays at the prompt: a board that is just starting can miss mpremote once
        copy = self.settings.file.parent / "copy"
        words = ["connect", self.port, "fs", "cp", f":{path}", str(copy)]
        subprocess.run([sys.executable, "-m", "mpremote", *words], check=True, timeout=DEADLINE_S)
        return copy.read_bytes()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    settings = load(write_default(tmp_path / "gateway", host="127.0.0.1", mqtt_port=18883))
    ensure_trust(settings)
    now = time.time()
    spec = BoardSpec(name="board", kind="counter", flash=tmp_path / "flash.img")
    virtual = VirtualBoard(spec, WorldClock(now, now, 1.0), tmp_path)
    await virtual.start()
    yield Bench(virtual, settings, asyncio.get_running_loop())
    await virtual.stop()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build(kind="counter")


@pytest.fixture
def arguments() -> Iterator[set[bytes]]:
    """Every argument list of every process of this machine while the test runs."""
    seen: set[bytes] = set()
    enough = threading.Event()

    def watch() -> None:
        while not enough.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield seen
    enough.set()
    watcher.join()


def run(*words: str, fails: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `peilmerk device …`."""
    done = subprocess.run(
        [sys.executable, "-c", CLI, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == fails, done
    return done


async def test_a_fresh_board_gets_firmware_and_identity(
    bench: Bench, bundle: Bundle, tmp_path: Path, arguments: set[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setenv("TMPDIR", str(private))
    password = tmp_path / "wifi"
    password.write_text(WIFI_PASSWORD + "\n")
    picture = tmp_path / "label.svg"

    def whole() -> tuple[list[subprocess.CompletedProcess[str]], bytes, bytes, bytes]:
        said = [
            run("deploy", "--port", bench.port, "--kind", "counter", "--json"),
            run(
                *("enrol", "--port", bench.port, "--gateway", str(bench.settings.file), "--label", "Bridge"),
                *("--wifi", "street", "--wifi-password-file", str(password), "--json"),
            ),
            run("deploy", "--port", bench.port, "--kind", "counter", "--json"),
            run("info", "--port", bench.port, "--json"),
            run("label", "--port", bench.port, "--output", str(picture), "--json"),
        ]
        return said, bench.file("identity.json"), bench.file("trust.der"), bench.file("node.json")

    said, identity_file, trust, node_file = await asyncio.to_thread(whole)
    deployed, enrolled, again, info, label = (json.loads(one.stdout) for one in said)

    assert deployed["ok"] is True
    assert deployed["figures"]["firmware_digest"] == bundle.digest
    assert deployed["figures"]["copied"] == len(bundle.files)
    assert (again["figures"]["copied"], again["figures"]["bytes"]) == (0, 0)
    assert again["figures"]["wrote_node"] is False
    assert again["figures"]["device_id"] == enrolled["figures"]["device_id"]
    assert info["figures"]["firmware_digest"] == bundle.digest
    assert info["figures"]["files"] == len(bundle.files)
    assert 0 < info["figures"]["flash_free"] < info["figures"]["flash_size"]

    left_behind = list(private.iterdir())
    identity = json.loads(identity_file)
    with bench.registry() as registry:
        (device,) = registry.all()
    assert (device.kind, device.label, device.revoked) == ("counter", "Bridge", False)
    assert identity["device_id"] == device.device_id
    assert identity["root_key"] == device.root_key.hex()
    assert trust == bench.settings.authority_der.read_bytes()
    assert label["figures"]["access_point"] == f"Peilmerk-{device.device_id[:4]}"
    assert identity["setup_password"] in picture.read_text()
    node = json.loads(node_file)
    assert node["link"]["wifi"] == [["street", WIFI_PASSWORD]]
    assert (node["link"]["host"], node["link"]["port"]) == ("127.0.0.1", 18883)
    assert node["sensors"] == [{"driver": "beam_pair", "pins": [4, 5]}]

    # That the watcher saw mpremote at work is what makes its silence about secrets mean anything.
    assert [one for one in arguments if b"give_identity.py" in one]
    assert re.fullmatch(r"(?:[a-hjkmnp-z2-9]{4}-){2}[a-hjkmnp-z2-9]{4}", identity["setup_password"])
    secrets = [identity["root_key"], identity["mqtt_password"], identity["setup_password"], WIFI_PASSWORD]
    for secret in secrets:
        assert not [one for one in arguments if secret.encode() in one]
        assert not [one for one in said if secret in one.stdout + one.stderr]
    assert left_behind == []


async def test_a_change_copies_one_file_and_takes_strays_away(
    bench: Bench, bundle: Bundle, tmp_path: Path
) -> None:
    await asyncio.to_thread(deploy, bench.board, "air", bundle)
    firmware = tmp_path / "firmware"
    shutil.copytree(Path(__file__).parents[2] / "firmware", firmware)
    (firmware / "node/added").mkdir()
    (firmware / "node/added/extra.bin").write_bytes(b"1")
    other = build(firmware, kind="counter")
    done = await asyncio.to_thread(deploy, bench.board, "air", other)
    assert done.copied == ("node/added/extra.bin",)
    assert done.removed == ()
    back = await asyncio.to_thread(deploy, bench.board, "air", bundle)
    assert (back.copied, back.removed) == ((), ("node/added/extra.bin",))
    found = await asyncio.to_thread(bench.board.inspect)
    assert found.files == bundle.hashes


async def test_sensors_that_were_named_are_on_the_board_with_their_drivers_and_profile(bench: Bench) -> None:
    words = ["--sensor", "bme280:address=0x77", "--sensor", "sps30:uart=1,tx=17,rx=16", "--battery", "--json"]
    words += ["--light", "2", "--button", "0", "--no-page"]
    said = await asyncio.to_thread(run, "deploy", "--port", bench.port, "--kind", "air", *words)
    figures = json.loads(said.stdout)["figures"]
    assert (figures["sensors"], figures["battery"]) == (["bme280", "sps30"], True)
    node = json.loads(await asyncio.to_thread(bench.file, "node.json"))
    assert node["sensors"] == [
        {"driver": "bme280", "i2c": 0, "scl": 22, "sda": 21, "address": 0x77},
        {"driver": "sps30", "uart": 1, "tx": 17, "rx": 16},
    ]
    # PM2.5, PM10, temperature, humidity, samples, PM1, pressure
    assert node["profile"]["set"] == 0b11111 | 1 << 17 | 1 << 20
    assert node["power"] == {"mode": "battery", "every_s": 300, "send_s": 900}
    assert [node[key] for key in ("indicator", "button", "local_page")] == [
        {"pin": 2, "active": 1},
        {"pin": 0, "active": 0},
        False,
    ]
    found = await asyncio.to_thread(bench.board.inspect)
    assert found.battery
    assert {"node/sensing/bme280.mpy", "node/sensing/sps30.mpy"} <= set(found.files)
    refused = await asyncio.to_thread(
        run, "deploy", "--port", bench.port, "--kind", "air", "--sensor", "nose", fails=2
    )
    assert refused.stderr.startswith("error: found --sensor 'nose', wanted one of sds011,")
    # It keeps to its batteries until it is told otherwise.
    refused = await asyncio.to_thread(
        run, "deploy", "--port", bench.port, "--kind", "air", "--sensor", "dnms", fails=2
    )
    assert f"found dnms on the board on {bench.port}, which is on batteries (--mains if" in refused.stderr
    assert json.loads(await asyncio.to_thread(bench.file, "node.json")) == node


async def test_a_cable_pulled_while_copying_leaves_the_old_firmware_and_is_mended(
    bench: Bench, bundle: Bundle
) -> None:
    old = Bundle({**bundle.files, "node/mark.mpy": b"M\x06old"}, bundle.mpy)
    await asyncio.to_thread(deploy, bench.board, "counter", old)
    new = Bundle({path: data + b"\n" for path, data in bundle.files.items()}, bundle.mpy)

    def pull(done: int, total: int) -> None:
        if done > total // 2:
            bench.cut_power()

    with pytest.raises(BoardError):
        await asyncio.to_thread(deploy, bench.board, "counter", new, on_progress=pull)
    await asyncio.to_thread(bench.power_on)
    found = await asyncio.to_thread(bench.board.inspect)
    assert found.digest == old.digest
    mended = await asyncio.to_thread(deploy, bench.board, "counter", new)
    assert mended.digest == new.digest
    again = await asyncio.to_thread(deploy, bench.board, "counter", new)
    assert again.copied == ()


async def test_full_flash_keeps_the_old_firmware(bench: Bench, bundle: Bundle) -> None:
    await asyncio.to_thread(deploy, bench.board, "counter", bundle)
    large = Bundle({**bundle.files, "node/large.bin": os.urandom(1_000_000)}, bundle.mpy)
    with pytest.raises(
        DeployError, match=r"flash of the board on .* is full: .* the old firmware is still in"
    ):
        await asyncio.to_thread(deploy, bench.board, "counter", large)
    found = await asyncio.to_thread(bench.board.inspect)
    assert found.digest == bundle.digest
    assert 500_000 < found.flash_free < found.flash_size


async def test_an_identity_is_kept_unless_replacing_is_asked_for(bench: Bench) -> None:
    first = await asyncio.to_thread(bench.enrol)
    with pytest.raises(EnrolError, match=f"has an identity already .{first.device_id}.: give --replace"):
        await asyncio.to_thread(bench.enrol)
    with bench.registry() as registry:
        assert [device.device_id for device in registry.all()] == [first.device_id]
    second = await asyncio.to_thread(bench.enrol, replace=True, kind="air")
    assert (second.replaced, second.revoked) == (first.device_id, True)
    with bench.registry() as registry:
        assert [device.revoked for device in registry.all()] == [True, False]
    assert (await asyncio.to_thread(bench.board.inspect)).device_id == second.device_id


async def test_a_cable_pulled_while_enrolling_leaves_nothing_half(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power goes between the look at the board and the writing: the registry must not keep the new
    identity.
    """
    inspect = Board.inspect

    def pull_after(board: Board, **options: Any) -> Any:
        found = inspect(board, **options)
        bench.cut_power()
        return found

    monkeypatch.setattr(Board, "inspect", pull_after)
    with pytest.raises(EnrolError, match="new identity was revoked again"):
        await asyncio.to_thread(bench.enrol)
    monkeypatch.undo()
    with bench.registry() as registry:
        assert [device.revoked for device in registry.all()] == [True]
    await asyncio.to_thread(bench.power_on)
    assert (await asyncio.to_thread(bench.board.inspect)).device_id is None
    again = await asyncio.to_thread(bench.enrol)
    with bench.registry() as registry:
        device = registry.get(again.device_id)
    assert device is not None
    assert not device.revoked


async def test_a_failed_replacement_keeps_the_old_identity_when_the_board_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await asyncio.to_thread(bench.enrol)
    do = Board.do

    def lose_the_writing(board: Board, steps: Any, *rest: Any) -> Any:
        if any(isinstance(step, Script) and step.name == "give_identity" for step in steps):
            raise BoardError("the cable was pulled")
        return do(board, steps, *rest)

    monkeypatch.setattr(Board, "do", lose_the_writing)
    with pytest.raises(EnrolError, match=f"board keeps {first.device_id}"):
        await asyncio.to_thread(bench.enrol, replace=True)
    with bench.registry() as registry:
        assert [device.revoked for device in registry.all()] == [False, True]


async def test_wrong_port_is_one_line_and_leaves_the_registry_alone(bench: Bench) -> None:
    done = await asyncio.to_thread(
        run, "enrol", "--port", "/dev/ttyUSB77", "--gateway", str(bench.settings.file), fails=2
    )
    assert done.stdout == ""
    assert done.stderr.startswith("error: found no port /dev/ttyUSB77; serial ports that are here: ")
    assert done.stderr.count("\n") == 1
    with bench.registry() as registry:
        assert registry.all() == []


@pytest.mark.parametrize("share", [0.5, 0.98])
async def test_power_lost_at_a_flash_write_is_mended_by_a_second_run(
    bench: Bench, bundle: Bundle, share: float
) -> None:
    """At half of the writes files are being staged, near the end they are being moved."""
    await asyncio.to_thread(deploy, bench.board, "counter", bundle)
    new = Bundle({path: data + b"\n" for path, data in bundle.files.items()}, bundle.mpy)
    counting = Counting(bench.virtual, silence_s=SILENCE_S)
    await asyncio.to_thread(deploy, counting, "counter", new)

    cut = Counting(bench.virtual, cut=int(counting.writes * share), silence_s=10.0)
    with pytest.raises(BoardError):
        await asyncio.to_thread(deploy, cut, "counter", bundle)
    await asyncio.wait_for(bench.virtual.until_off(), DEADLINE_S)
    await bench.virtual.power_on()
    found = await asyncio.to_thread(bench.board.inspect)
    assert share > 0.5 or found.digest == new.digest
    mended = await asyncio.to_thread(deploy, bench.board, "counter", bundle)
    assert mended.digest == bundle.digest
    found = await asyncio.to_thread(bench.board.inspect)
    assert found.files == bundle.hashes


async def test_power_lost_at_a_flash_write_of_enrolment_leaves_no_valid_identity(bench: Bench) -> None:
    bench.virtual.cut_power_after_writes(8)
    with pytest.raises(EnrolError, match="new identity was revoked again"):
        await asyncio.to_thread(bench.enrol)
    with bench.registry() as registry:
        assert [device.revoked for device in registry.all()] == [True]
    await bench.virtual.power_on()
    again = await asyncio.to_thread(bench.enrol, replace=True)
    with bench.registry() as registry:
        assert [device.device_id for device in registry.all() if not device.revoked] == [again.device_id]
    assert (await asyncio.to_thread(bench.board.inspect)).device_id == again.device_id


async def test_plain_mpremote_of_the_guide_does_the_same(bench: Bench, tmp_path: Path) -> None:
    """The row of docs/technician.md, word for word but for the port."""

    def copy() -> tuple[Any, Any]:
        rows = (Path(__file__).parents[2] / "docs/technician.md").read_text().splitlines()
        (row,) = [line for line in rows if "fs cp -r board/boot.py" in line]
        plain = row.split("`")[5]
        assert plain.startswith("mpremote connect PORT fs cp -r ")
        made = json.loads(
            run("bundle", "--kind", "counter", "--output", str(tmp_path / "board"), "--json").stdout
        )
        words = plain.replace("PORT", bench.port).split()
        subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, check=True, timeout=DEADLINE_S)
        return made["figures"], bench.board.inspect(then=[Reset()])

    made, found = await asyncio.to_thread(copy)
    assert found.digest == made["firmware_digest"]
    assert len(found.files) == made["files"]


async def test_a_signed_release_goes_on_trial_by_cable(bench: Bench, bundle: Bundle, tmp_path: Path) -> None:
    keys = Path(__file__).parents[1] / "protocol"

    def signed(chip: str, version: str) -> str:
        words = ("--kind", "counter", "--version", version, "--chip", chip, "--out", str(tmp_path / chip))
        made = run("release", *words, "--key", str(keys / "release_key_of_tests.pem"), "--json")
        return str(json.loads(made.stdout)["figures"]["file"])

    def whole() -> None:
        public = tmp_path / "release.der"
        public.write_bytes(public_frame(load_key(keys / "release_key_of_tests.pem")))
        deploy(bench.board, "counter", bundle)
        new, wrong = signed("linux", "0.2.0"), signed("esp32", "0.2.0")
        port = ("--port", bench.port)
        unknown = run("update", *port, new, fails=2)
        assert "refuses (13): the board has no release key" in unknown.stderr
        run("release-key", "put", *port, str(public))
        refused = run("update", *port, wrong, fails=2)
        assert "refuses (4): it is for another chip" in refused.stderr
        older = run("update", *port, signed("linux", "0.0.9"), fails=2)
        assert "refuses (8): its version is not newer than what ran here before" in older.stderr
        assert json.loads(run("info", *port, "--json").stdout)["figures"]["trial"] is False
        done = json.loads(run("update", *port, new, "--json").stdout)["figures"]
        assert (done["version"], done["before"]) == ("0.2.0", "0.1.0")
        info = json.loads(run("info", *port, "--json").stdout)["figures"]
        assert (info["slot"], info["trial"], info["safe_mode"]) == ("a", True, False)
        again = run("update", *port, new, fails=2)
        assert "refuses (15): what runs on the board is on trial itself" in again.stderr
        # Deploying by cable is the technician's last word.
        deploy(bench.board, "counter", bundle)
        info = json.loads(run("info", *port, "--json").stdout)["figures"]
        assert (info["trial"], info["version"], info["firmware_digest"]) == (False, "0.1.0", bundle.digest)

    await asyncio.to_thread(whole)


async def test_safe_mode_is_told_and_left(bench: Bench, bundle: Bundle) -> None:
    def whole() -> None:
        deploy(bench.board, "counter", bundle)
        bench.board.inspect()  # and stays at the prompt
        words = ["connect", bench.port, "exec", "f = open('/slots', 'wb'); f.write(b'a\\0\\x09'); f.close()"]
        subprocess.run([sys.executable, "-m", "mpremote", *words], check=True, timeout=DEADLINE_S)
        assert "safe mode after 8 failed boots" in run("info", "--port", bench.port).stdout
        left = run("leave-safe-mode", "--port", bench.port)
        assert "9 failed boots forgotten" in left.stdout
        assert json.loads(run("info", "--port", bench.port, "--json").stdout)["figures"]["safe_mode"] is False

    await asyncio.to_thread(whole)
