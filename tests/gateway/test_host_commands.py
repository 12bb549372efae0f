"""`peilmerk host`: what a host says holds in the gateway, and what is erased is in no byte of its folder."""

from __future__ import annotations

import asyncio
import copy
import csv
import io
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sealed_street import NOW, Counter, Street
from stores import KINDS, place_of
from typer.testing import CliRunner, Result

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.deployment import parse
from peilmerk_gateway.deployments.grid import cell_of
from peilmerk_gateway.deployments.history import FOLDER, Texts
from peilmerk_gateway.hosts import host as hosts
from peilmerk_gateway.hosts import keys
from peilmerk_gateway.hosts.cli import app
from peilmerk_gateway.store import STORE_FILE, Store
from peilmerk_gateway.web.language import TEXTS, load
from peilmerk_protocol.profile import AIR, Profile

HOURLY = Profile(1, 3_600, AIR.set, (0, 1), (0, 1), 0, 0)
HOUR = int(NOW) // 3_600 - 1
LATER = NOW + 7_200
LONGITUDE, LATITUDE = 5.12141234, 52.09071234
CANARIES = {
    "name": "Kanarie de Vries",
    "email": "kanarie@voorbeeld.example",
    "address": "Kanariestraat 12",
}
PLACES = (str(LONGITUDE).encode(), str(LATITUDE).encode())
ANSWERS = f"""
name = "{CANARIES["name"]}"
email = "{CANARIES["email"]}"
address = "{CANARIES["address"]}"
longitude = {LONGITUDE}
latitude = {LATITUDE}
language = "nl"
consent = "{hosts.CONSENT_VERSION}"
consented_at = 2026-05-01T08:00:00+02:00
"""


class Home:
    """A gateway's folder with one air node at somebody's home, and a neighbour's."""

    def __init__(self, folder: Path, kind: str, request: pytest.FixtureRequest) -> None:
        file = gateway_settings.write_default(folder)
        # A clock that stands still.
        with file.open("a") as toml:
            toml.write(f"[clock]\nworld_start = {LATER}\nwall_start = 4e9\nspeed = 1e-9\n")
        self.settings = gateway_settings.load(folder)
        self.folder = folder
        self.data = self.settings.gateway.data_dir
        self.data.mkdir(exist_ok=True)
        place = place_of(kind, self.data, request)
        place.serve(file)
        self.street = Street(self.data, counters=0, air=2, place=place)
        self.street.records.joinpath("lucht.toml").unlink()
        self.street.records = self.settings.deployments.directory
        self.host, self.neighbour = self.street.air
        for number, board in enumerate(self.street.air):
            board.profile = HOURLY
            self.street.write(
                f"lucht-{number}",
                [(f"lucht-{number}", board.id)],
                HOURLY,
                notified_at=None,
                longitude=LONGITUDE,
                latitude=LATITUDE,
            )
        self.street.catalogue = Catalogue(self.street.records)
        self.street.clock = ScaledClock(LATER, 0.0, 0.0)

    def run(self, *arguments: str, stdin: str | None = None, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, [*arguments, "-g", str(self.folder)], input=stdin)
        assert answer.exit_code == code, (answer.output, answer.exception)
        return answer

    def figures(self, *arguments: str, stdin: str | None = None, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json", stdin=stdin, code=code).stdout)
        assert found["name"] == f"host {arguments[0]}"
        return dict(found["figures"])

    def add(self) -> str:
        return str(self.figures("add", self.host.id, "--from", "-", stdin=ANSWERS)["host"])

    def send(
        self, *numbers: int, board: Counter | None = None, first: bool = False, publish: bool = False
    ) -> None:
        """Let a board report the hours of these numbers, and publish what is due."""
        board = board or self.host

        async def live() -> None:
            async with await self.street.open() as store:
                sent = [board.report(n, HOUR - 10 + n, {0: (100 + n, 3), 4: (6,)}) for n in numbers]
                await self.street.flow(store).store([*([board.statement(1)] if first else []), *sent])
                rows = await store.claim("city", 100, LATER) if publish else []
                if rows:
                    await store.mark_done("city", [(row.observation_id, "r") for row in rows], LATER)

        asyncio.run(live())

    def bytes_of_all(self) -> Iterator[tuple[Path, bytes]]:
        for file in self.folder.rglob("*"):
            if file.is_file():
                yield file, str(file.relative_to(self.folder)).encode() + b"\n" + file.read_bytes()

    def where(self, what: bytes) -> set[str]:
        found = {file.name for file, data in self.bytes_of_all() if what in data}
        if self.street.place.is_postgresql and self.street.place.holds(what):
            found.add("database")
        return found


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Made once: enrolling and making a store take longer than copying them."""
    made = Home(tmp_path_factory.mktemp("built") / "gateway", request.param, request)
    made.street.registry.close()

    async def make() -> None:
        async with await made.street.open():
            pass

    asyncio.run(make())
    return made


@pytest.fixture
def home(built: Home, tmp_path: Path) -> Iterator[Home]:
    folder = tmp_path / "gateway"
    shutil.copytree(built.folder, folder)
    moved = copy.copy(built)
    moved.folder, moved.data = folder, folder / built.data.relative_to(built.folder)
    moved.street = built.street.moved(moved.data, gateway_settings.load(folder).deployments.directory)
    moved.street.place.serve(folder / "gateway.toml")
    moved.settings = gateway_settings.load(folder)
    yield moved
    moved.street.registry.close()


def test_a_host_joins_and_nothing_of_them_is_readable_anywhere(home: Home) -> None:
    host = home.add()
    for canary in CANARIES.values():
        assert home.where(canary.encode()) == set()
    listed = home.figures("list")["hosts"]
    assert listed == [{"host": host, "device": home.host.id, "standing": "taking part"}]
    assert CANARIES["name"] not in home.run("list").output
    shown = home.figures("show", host)
    assert {key: shown[key] for key in CANARIES} == CANARIES
    assert shown["public_cell"] == cell_of(LONGITUDE, LATITUDE, 1_000).id
    assert shown["addresses"] is None
    assert home.figures("show", home.host.id) == shown
    assert (
        "already, wanted none" in home.run("add", home.host.id, "--from", "-", stdin=ANSWERS, code=2).stderr
    )


def test_hosts_are_listed_before_the_gateway_ever_ran(home: Home) -> None:
    home.add()
    home.street.place.remove()
    assert home.figures("list")["hosts"][0]["standing"] == "taking part"


def test_what_add_prints_makes_a_record_without_a_point(home: Home, tmp_path: Path) -> None:
    fine = cell_of(LONGITUDE, LATITUDE)
    csv_file = tmp_path / "addresses.csv"
    csv_file.write_text("x,y\n" + f"{fine.east_m + 5},{fine.north_m + 5}\n" * 11)
    with home.settings.file.open("a") as toml:
        toml.write(f'[hosts]\ndwellings = "{csv_file}"\nkey_file = "elsewhere/owners.key"\n')
    printed = home.run("add", home.host.id, "--from", "-", stdin=ANSWERS).stdout
    assert f'[location]\npublic_cell = "{fine.id}"\naddresses = 11' in printed
    file = home.street.records / "lucht-0.toml"
    lines = f'public_cell = "{fine.id}"\naddresses = 11'
    text = re.sub(r"^point = .*$", lines, file.read_text("utf-8"), flags=re.M)
    assert parse(text.encode(), file).cells["lucht-0"] == fine
    assert (home.folder / "elsewhere" / "owners.key").stat().st_mode & 0o777 == 0o600
    placed = home.figures("place", stdin=f"{LONGITUDE} {LATITUDE}\n")
    assert placed == {"public_cell": fine.id, "addresses": 11}


def test_what_a_record_of_a_home_needs_not_is_told_and_not_repeated(home: Home) -> None:
    record = home.street.records / "lucht-0.toml"
    text = record.read_text("utf-8").replace("[owner]", f'[owner]\nemail = "{CANARIES["email"]}"')
    record.write_text(text.replace("Voorbeeldstraat, between", CANARIES["address"].upper()), "utf-8")
    told = home.run("add", home.host.id, "--from", "-", stdin=ANSWERS).stderr.splitlines()
    assert [line.removeprefix(f"{record}: ") for line in told] == [
        "location.point: found one, wanted none: the gateway does not need it",
        "owner.email: found one, wanted none: the gateway does not need it",
        "found the host's address in words that are public, wanted others",
    ]


def test_a_host_is_asked_in_their_language_and_must_agree(home: Home) -> None:
    answers = f"y\n{CANARIES['name']}\n{CANARIES['email']}\n{CANARIES['address']}\n{LONGITUDE}\n{LATITUDE}\n"
    said = home.run("add", home.host.id, "--language", "nl", stdin="n\n", code=1).stdout
    assert "Dit spreken we af." in said
    assert not (home.data / "owners.sqlite").exists()
    assert (
        "This is what we agree on." in home.run("add", home.host.id, "--language", "en", stdin=answers).stdout
    )
    shown = home.figures("show", home.host.id)
    assert (shown["language"], shown["consent"]) == ("en", hosts.CONSENT_VERSION)


def test_pause_resume_and_withdrawal_hold_for_what_comes_next(home: Home) -> None:
    host = home.add()
    home.send(2, first=True)
    assert home.figures("pause", host) == {
        "host": host,
        "device": home.host.id,
        "standing": "paused",
        "changed": True,
    }
    assert not home.figures("pause", host)["changed"]
    home.send(3)
    assert home.street.rows("refusal", "reason") == [("host-paused",)]
    assert home.figures("resume", host)["standing"] == "taking part"
    home.send(4)
    home.run("withdraw", host, stdin="n\n", code=1)
    assert home.figures("list")["hosts"][0]["standing"] == "taking part"
    assert "voorgoed" in home.run("withdraw", host, stdin="y\n").stdout
    assert "for good" in home.run("resume", host, code=2).stderr
    home.send(5)
    assert [reason for (reason,) in home.street.rows("refusal", "reason")] == [
        "host-paused",
        "host-withdrawn",
    ]
    assert [seq for (seq,) in home.street.rows("report", "seq")] == [2, 4]
    assert home.street.rows("publish_outbox") == []


def test_an_export_has_everything_that_is_held(home: Home, tmp_path: Path) -> None:
    host = home.add()
    home.send(2, 3, first=True, publish=True)
    home.send(4)
    home.figures("pause", host)
    out = tmp_path / "mine.zip"
    rows = home.figures("export", host, "--out", str(out))["rows"]
    assert rows["figures"] == rows["reports"] == 3
    assert (rows["publications"], rows["statements"], rows["pauses"]) == (3, 1, 1)
    assert out.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(out) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    about = json.loads(texts["about-you.json"])
    assert {key: about[key] for key in CANARIES} == CANARIES
    assert about["consent"]["text"] == hosts.consent_text("nl")
    assert about["device"]["id"] == home.host.id
    figures = list(csv.DictReader(io.StringIO(texts["figures.csv"])))
    assert [(row["quantity"], row["value"]) for row in figures] == [
        ("pm2_5", "10.2"),
        ("pm2_5", "10.3"),
        ("pm2_5", "10.4"),
    ]
    published = list(csv.DictReader(io.StringIO(texts["published.csv"])))
    assert [row["state"] for row in published] == ["done", "done", "waiting"]
    assert "LEESMIJ.txt" in texts
    # The rest is there by the tables' own names; nothing of the device is left out but copies and bindings.
    held = json.loads(texts["held.json"])
    assert {*held, "figures", "publications"} == set(rows)
    place = home.street.place
    with_device = {table for table in place.tables() if "device_id" in place.columns(table)}
    assert len(with_device - {"command_counter"}) == len(rows) - 1
    assert "wanted a new file" in home.run("export", host, "--out", str(out), code=2).stderr


def test_erasing_leaves_what_was_published_and_no_byte_that_leads_to_the_person(home: Home) -> None:
    host = home.add()
    # What a careless operator may have written where: the label, the record, and so the record's older texts.
    with home.street.registry._transaction() as db:
        db.execute("UPDATE device SET label = ? WHERE device_id = ?", (CANARIES["name"], home.host.id))
    record = home.street.records / "lucht-0.toml"
    text = record.read_text("utf-8").replace("[owner]", f'[owner]\nemail = "{CANARIES["email"]}"')
    text = text.replace("Voorbeeldstraat, between bridge and school", CANARIES["address"])
    record.write_text(text, "utf-8")
    history = Texts(home.data / FOLDER)
    history.keep(parse(text.encode(), record).digest, text.encode())
    neighbours = (home.street.records / "lucht-1.toml").read_bytes()
    history.keep(parse(neighbours, record).digest, neighbours)
    home.send(2, 3, first=True, publish=True)
    home.send(4)
    home.send(2, board=home.neighbour, first=True, publish=False)
    home.street.registry.close()
    for canary in CANARIES.values():
        assert home.where(canary.encode())
    assert all(home.where(place) for place in PLACES)
    # A damaged store that was replaced lies there, too: it has every figure.
    damaged = home.data / f"{STORE_FILE}.damaged-7"
    if not home.street.place.is_postgresql:
        damaged.write_bytes((home.data / STORE_FILE).read_bytes())
    home.run("erase", host, stdin="n\n", code=1)
    done = home.figures("erase", host, "--yes")
    assert not damaged.exists()
    assert done == {
        "observations": 1,
        "withheld": 0,
        "reports": 3,
        "records": 1,
        "record_texts": 1,
        "records_left": 0,
    }
    for canary in (*(text.encode() for text in CANARIES.values()), host.encode()):
        assert home.where(canary) == set(), canary
    # The neighbour's record says where the neighbour is; nobody else's does.
    assert home.where(PLACES[0]) == {"lucht-1.toml", f"{parse(neighbours, record).digest}.toml"}
    assert home.street.rows("observation", "device_id, result") == sorted(
        [(home.host.id, 102), (home.host.id, 103), (home.neighbour.id, 102)], key=repr
    )
    assert home.figures("list") == {"hosts": []}

    async def check() -> None:
        async with await Store.look(home.street.place.where) as store:
            assert (await store.check_trail()).faults == []

    asyncio.run(check())


def test_a_record_that_names_others_too_is_left_to_a_person_and_erasing_goes_on_later(home: Home) -> None:
    host = home.add()
    home.send(2, first=True)
    both = home.street.records / "lucht-0.toml"
    alone = both.read_text("utf-8")
    both.write_text(alone + f'\n# device_id = "{home.neighbour.id}"\n', "utf-8")
    answer = home.run("erase", host, "--yes", code=1)
    assert f"{both}: found the device among others" in answer.stderr
    assert home.figures("list")["hosts"][0]["standing"] == "withdrawn"
    both.write_text(alone, "utf-8")
    assert home.figures("erase", host, "--yes")["records"] == 1
    assert not both.exists()


def test_a_rotation_by_command(home: Home) -> None:
    home.add()
    before = keys.read(home.data / "owners.key")
    assert home.figures("rotate-key") == {"hosts": 1}
    assert keys.read(home.data / "owners.key") != before
    assert home.figures("show", home.host.id)["name"] == CANARIES["name"]


def test_the_gateway_knows_nothing_of_the_owners_store(home: Home) -> None:
    """What runs the gateway loads no module that could open it, and a gateway's stages open neither file."""
    package = Path(gateway_settings.__file__).parent
    for file in package.rglob("*.py"):
        if package / "hosts" not in file.parents:
            text = file.read_text("utf-8")
            assert "peilmerk_gateway.hosts" not in text, file
            assert "owners." not in text, file
    home.add()
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("open", "sqlite3.connect", "os.rename"):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    try:
        home.send(2, 3, first=True, publish=True)
    finally:
        watching = False
    assert any(STORE_FILE in name for name in opened) is not home.street.place.is_postgresql
    assert not [name for name in opened if "owners" in name]


def test_every_text_of_hosts_is_used_and_no_answer_is_an_option() -> None:
    sources = "".join(file.read_text("utf-8") for file in Path(hosts.__file__).parent.glob("*.py"))
    asked = {f"host.ask.{key}" for key in ("name", "email", "address", "longitude", "latitude")}
    for key in load(TEXTS.read_text("utf-8"))["nl"]:
        if key.startswith("host."):
            assert f'"{key}"' in sources or key in asked, key
    for option in ("--name", "--email", "--address", "--longitude"):
        assert option not in sources
