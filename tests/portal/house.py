"""A house with one virtual board in it: its flash as a technician left it, a home network, a broker, a
browser.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from littlefs import LittleFS
from mqtt_broker import NAME, certificate, der
from patience import DEADLINE_S

from peilmerk_bench.board.spec import (
    BLOCK_BYTES,
    FLASH_BYTES,
    BoardSpec,
    WifiNetwork,
    air_sensors,
    counter_sensors,
)
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_protocol import keys
from peilmerk_provisioning import bundle, kinds

DEVICE = "dbcdefghijklmnop"
ROOT_KEY = bytes(range(50, 82))
KEY = keys.derive(ROOT_KEY, keys.UP)
PASSWORD = "abcd-efgh-jkmn"
HOME = WifiNetwork("Thuis & tuin", "kamerplant 12")
NEXT_DOOR = WifiNetwork("Buren <3", "geheim geheim")
WINDOW_S = 5
FEATURES = ("revision", "window_s", "set", "epsilon_leaf", "epsilon_day", "k", "m")


class House:
    """The board and what is around it. `knows_wifi`: whether it was told of the home network before."""

    def __init__(
        self,
        folder: Path,
        kind: str = "counter",
        *,
        knows_wifi: bool = False,
        broker: Any = None,
        ntp_port: int = 9,
        node: dict[str, Any] | None = None,
        speed: float = 1.0,
        run_main: bool = True,
    ) -> None:
        self.folder = folder
        self.flash = folder / "flash.img"
        settings = kinds.node_settings(kind)
        settings["profile"]["window_s"] = WINDOW_S
        settings["link"] = {
            "host": "127.0.0.1",
            "port": broker.mqtt_port if broker else 9,
            "server_name": NAME,
            "ntp": [["127.0.0.1", ntp_port]],
            "timeout_s": 20,
        }
        identity = {
            "device_id": DEVICE,
            "mqtt_password": "secret",
            "root_key": ROOT_KEY.hex(),
            "setup_password": PASSWORD,
        }
        built = bundle.build(kind=kind)
        # How its firmware is called on the board.
        self.program = built.program
        self.files = built.placed() | {
            "node.json": json.dumps(settings | (node or {})).encode(),
            "identity.json": json.dumps(identity).encode(),
            "trust.der": der(broker.authority if broker else certificate("Nobody", authority=True)),
        }
        if knows_wifi:
            self.files["wifi.json"] = json.dumps([[HOME.ssid, HOME.password]]).encode()
        write_flash(self.flash, self.files)
        sensors = counter_sensors() if kind == "counter" else air_sensors()
        spec = BoardSpec(
            "house", kind, self.flash, sensors=sensors, wifi=(NEXT_DOOR, HOME), run_main=run_main
        )
        self.board = VirtualBoard(spec, WorldClock(time.time(), time.time(), speed), folder)

    async def at_the_door(self) -> None:
        """Start, and wait until set-up is open and served."""
        await self.board.start()
        await self.board.console_shows("portal: set-up is open")
        await self.until(self.answers, "an answer at port 80")

    async def at_home(self) -> None:
        """Start, and wait until the local page is served."""
        await self.board.start()
        await self.until(lambda: self.board.http_url, "the board at port 80")
        await self.until(self.answers, "an answer at port 80")

    async def until(self, condition: Callable[[], object], what: str, seconds: float = DEADLINE_S) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := await asyncio.to_thread(condition)):
            assert time.monotonic() < deadline, (what, self.board.console_tail[-3000:])
            await asyncio.sleep(0.1)
        return found

    def answers(self) -> bool:
        if self.board.http_url is None:
            return False
        try:
            self.ask("GET", "/c")
            return True
        except OSError:
            return False

    @property
    def port(self) -> int:
        url = self.board.http_url
        assert url is not None, self.board.console_tail
        return int(url.rstrip("/").rsplit(":", 1)[1])

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        *,
        host: str | None = None,
        cookie: str = "",
        **headers: str,
    ) -> Answer:
        """One request from this machine, from whatever thread."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            heads = {name.replace("_", "-"): value for name, value in headers.items()}
            heads["Host"] = host or f"127.0.0.1:{self.port}"
            if cookie:
                heads["Cookie"] = cookie
            if body is not None:
                heads["Content-Type"] = "application/x-www-form-urlencoded"
            line.request(method, path, body, heads)
            found = line.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read().decode())
        finally:
            line.close()

    def raw(self, data: bytes) -> bytes:
        """What the board answers to these bytes."""
        import socket

        with socket.create_connection(("127.0.0.1", self.port), 60) as line:
            line.settimeout(DEADLINE_S)
            try:
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
                found = b""
                while piece := line.recv(4096):
                    found += piece
            except ConnectionError:
                pass
            return found

    def file(self, name: str) -> bytes | None:
        """A file on the flash of a board that is off."""
        fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, mount=False)
        fs.context.buffer = bytearray(self.flash.read_bytes())
        fs.mount()
        try:
            with fs.open(name, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None


class Answer:
    def __init__(self, status: int, heads: dict[str, str], text: str) -> None:
        self.status = status
        self.heads = heads
        self.text = text

    def value(self, name: str) -> str:
        """The value of a hidden field."""
        return self.text.split(f'name="{name}" value="', 1)[1].split('"', 1)[0]

    @property
    def cookie(self) -> str:
        return self.heads.get("set-cookie", "").split(";", 1)[0]


def write_flash(path: Path, files: dict[str, bytes]) -> None:
    fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, disk_version=0x00020000)
    for name, data in files.items():
        if "/" in name:
            fs.makedirs(name.rpartition("/")[0], exist_ok=True)
        with fs.open(name, "wb") as file:
            file.write(data)
    path.write_bytes(fs.context.buffer)
