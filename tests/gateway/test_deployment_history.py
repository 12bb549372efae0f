"""Every version that was in force is kept; a changed record needs a higher version, also after a restart."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mqtt_board import village
from patience import DEADLINE_S
from sealed_street import record
from stores import KINDS, StorePlace, place_of
from typer.testing import CliRunner

from peilmerk_gateway.audit_cli import app as audit_app
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.cli import app
from peilmerk_gateway.deployments.history import History, Text, Texts
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.service import Ready, Service
from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_gateway.store import STORE_FILE, Store
from peilmerk_protocol.profile import AIR

A, B = "a" * 16, "b" * 16
STREET = record("street", [("fietspad-1", A)])
LUCHT = record("air", [("lucht-1", B)], AIR)
FIRST = 1_700_000_000.0


class Place:
    """A folder of records and a store, as a gateway has them, without the gateway. A moment a reading."""

    def __init__(self, settings: Settings, store: StorePlace) -> None:
        self.settings = settings
        self.store = store
        self.records = settings.deployments.directory
        self.records.mkdir(exist_ok=True)
        self.data = settings.gateway.data_dir
        self.texts = Texts(self.data / "records")
        self.moment = FIRST
        self.write("street", STREET)
        self.write("air", LUCHT)
        self.start()

    def write(self, name: str, text: str, *changes: tuple[str, str]) -> None:
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        file = self.records / f"{name}.toml"
        file.write_text(text, "utf-8")
        # Whatever the clock of the disk can tell apart.
        self.moment += 60
        os.utime(file, (self.moment, self.moment))

    def start(self) -> None:
        """Start anew: the history is what the store and the texts tell."""

        async def told() -> Any:
            async with await Store.open(self.store.where) as store:
                return await store.records_told()

        self.catalogue = Catalogue(self.records, History(self.texts, asyncio.run(told())))
        self._note(self.catalogue.facts)

    def reload(self) -> None:
        """Take changes up as the service does: into the trail, then into force."""
        reading = self.catalogue.look()
        assert reading is not None
        self._note(reading.facts)
        self.catalogue.take(reading)

    def _note(self, facts: dict[str, dict[str, object]]) -> None:
        async def note() -> None:
            async with await Store.open(self.store.where) as store:
                await store.note_records(facts, self.moment)

        asyncio.run(note())

    @property
    def complaints(self) -> list[str]:
        return [str(complaint) for error in self.catalogue.broken for complaint in error.complaints]

    @property
    def k(self) -> int | None:
        mandate = self.catalogue.mandate(A)
        return None if mandate is None else mandate.k

    def run(self, *words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["history", str(self.settings.file), *words])
        return done.exit_code, done.stdout, done.stderr

    def digits_of(self, version: str) -> str:
        """The first digits of the digest of the street's version."""
        found = json.loads(self.run("--json")[1])["figures"]["deployments"]["street"]
        return next(str(v["sha256"])[:12] for v in found if v["version"] == version)

    def listed(self) -> list[tuple[str, str, str]]:
        found = json.loads(self.run("--json")[1])["figures"]["deployments"]
        return [(v["version"], v["state"], v["text"]) for v in found.get("street", [])]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    settings = village(tmp_path)
    store = place_of(request.param, settings.gateway.data_dir, request)
    store.serve(settings.file)
    return Place(load(settings.file), store)


UP = ('version = "1"', 'version = "2"')
CHANGED = ("k = 10", "k = 12")


@pytest.mark.parametrize("restarted", [False, True])
def test_a_change_without_a_higher_version_stops_its_deployment_and_no_other(
    place: Place, restarted: bool
) -> None:
    again: Callable[[], None] = place.start if restarted else place.reload
    place.write("street", STREET, CHANGED)
    again()
    assert place.k is None
    assert place.catalogue.refusal(A) is Reason.RECORD_BROKEN
    assert place.complaints == ["version: found '1', wanted above '1', because its content changed"]
    assert place.catalogue.mandate(B) is not None
    place.write("street", STREET, CHANGED, UP)
    again()
    assert (place.k, place.complaints) == (12, [])
    place.write("street", STREET)
    again()
    assert place.k is None
    assert place.complaints == ["version: found '1', wanted above '2', because that was in force since"]
    place.write("street", STREET, ("k = 10", "k = 14"), ('version = "1"', 'version = "new"'))
    again()
    assert place.complaints == [
        "version: found 'new', wanted above '2', as numbers, because its content changed"
    ]
    place.write("street", STREET, ('version = "1"', 'version = "3"'))
    again()
    assert (place.k, place.complaints) == (10, [])
    assert [found[:2] for found in place.listed()] == [
        ("1", "stopped"),
        ("2", "stopped"),
        ("3", "in force"),
    ]


@pytest.mark.parametrize("restarted", [False, True])
def test_comments_and_layout_are_no_content_and_kept_all_the_same(place: Place, restarted: bool) -> None:
    place.write("street", STREET, ("k = 10", "k   = 10 # ten"))
    (place.start if restarted else place.reload)()
    assert (place.k, place.complaints) == (10, [])
    assert place.listed() == [("1", "replaced", "kept"), ("1", "in force", "kept")]
    assert place.run("street", "--show", "1")[1] == STREET.replace("k = 10", "k   = 10 # ten")


def test_a_removed_record_stays_in_the_history_and_binds_what_comes_in_its_place(place: Place) -> None:
    (place.records / "street.toml").unlink()
    place.reload()
    assert place.listed() == [("1", "removed", "kept")]
    place.start()
    place.write("other-name", STREET, CHANGED)
    place.reload()
    assert place.complaints == ["version: found '1', wanted above '1', because its content changed"]
    place.write("other-name", STREET)
    place.reload()
    assert place.k == 10
    assert place.listed() == [("1", "in force", "kept")]


def test_a_record_whose_text_cannot_be_kept_does_not_come_into_force(place: Place) -> None:
    for file in place.texts.folder.iterdir():
        file.unlink()
    place.texts.folder.rmdir()
    place.texts.folder.write_text("in the way")
    place.write("street", STREET, CHANGED, UP)
    place.reload()
    assert place.k is None
    assert place.complaints[-1].startswith("its text cannot be kept: ")


def test_a_text_is_on_the_disk_before_it_is_in_force_and_read_by_its_owner_only(place: Place) -> None:
    place.write("street", STREET, CHANGED, UP)
    reading = place.catalogue.look()
    assert reading is not None
    assert place.k == 10
    digest = reading.deployments["street"].digest
    assert place.texts.look(digest) == (Text.KEPT, (place.records / "street.toml").read_bytes())
    assert (place.texts.folder / f"{digest}.toml").stat().st_mode & 0o777 == 0o600
    assert place.texts.folder.stat().st_mode & 0o777 == 0o700
    assert {file.suffix for file in place.texts.folder.iterdir()} == {".toml"}


def test_nothing_of_a_record_but_its_digest_is_in_the_store(place: Place) -> None:
    assert place.store.holds(b"street.toml")
    for private in (b"5.1214", b"52.0907", A.encode(), b"Gemeente Voorbeeld"):
        assert not place.store.holds(private)


def versions(said: str) -> list[dict[str, Any]]:
    """What `history --json` says of the street."""
    found: list[dict[str, Any]] = json.loads(said)["figures"]["deployments"]["street"]
    return found


def test_a_version_that_nobody_signed_says_so(place: Place) -> None:
    _, said, _ = place.run("street")
    assert ", in force, nobody signed, " in said
    (version,) = versions(place.run("street", "--json")[1])
    assert (version["signature"], version["signed_by"]) == ("nobody", None)


def test_where_nothing_was_ever_in_force_the_command_says_so(tmp_path: Path) -> None:
    settings = load(write_default(tmp_path / "new"))

    async def made() -> None:
        async with await Store.open(settings.gateway.data_dir / STORE_FILE):
            pass

    asyncio.run(made())
    done = CliRunner().invoke(app, ["history", str(settings.file)])
    assert (done.exit_code, done.stdout) == (0, "no record was ever in force here\n")


def test_the_command_lists_shows_and_finds_what_was_changed(place: Place) -> None:
    place.write("street", STREET, CHANGED, ('version = "1"', 'version = "2"\nsigned_by = "the alderman"'))
    place.reload()
    code, said, _ = place.run()
    assert code == 0
    assert said.splitlines()[2:] == [
        "street",
        "  version 1: taken up 2023-11-14T22:15:20Z (entry 2), replaced 2023-11-14T22:16:20Z, nobody signed, "
        + place.digits_of("1"),
        "  version 2: taken up 2023-11-14T22:16:20Z (entry 3), in force, signed by the alderman, "
        + place.digits_of("2"),
    ]
    assert place.run("street", "--show", "1")[1] == STREET
    assert place.run("street", "--show", place.digits_of("1"))[1] == STREET
    assert place.run("street", "--show", "7") == (
        2,
        "",
        "error: found no version '7' of street, wanted one of: 1, 2\n",
    )
    assert place.run("road")[2] == (
        "error: found no deployment 'road' in the history, wanted one of: air, street\n"
    )
    assert place.run("--show", "1")[0] == 2
    ledger = CliRunner().invoke(audit_app, ["ledger", str(place.settings.file)])
    assert ledger.exit_code == 0, ledger.output
    (file,) = place.texts.folder.glob(place.digits_of("1") + "*")
    file.write_bytes(file.read_bytes().replace(b"k = 10", b"k = 11"))
    code, said, errors = place.run("--json")
    assert (code, json.loads(said)["figures"]["lost"]) == (1, ["street@1"])
    assert place.run("street", "--show", "1")[0] == 2
    by = {one["version"]: (one["signature"], one["signed_by"]) for one in versions(said)}
    assert by == {"1": ("not known", None), "2": ("signed", "the alderman")}
    file.unlink()
    code, said, errors = place.run()
    assert code == 1
    assert "who signed is not known, " in said
    assert errors == ("error: street version 1: its text is missing, wanted it as the audit trail tells it\n")


def test_versions_are_compared_out_of_the_history(place: Place) -> None:
    place.write("street", STREET, ("k = 10", "k = 5"), UP)
    place.reload()

    def diff(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(
            app, ["diff", *words, "--gateway", str(place.settings.file), "--language", "en"]
        )
        return done.exit_code, done.stdout, done.stderr

    code, said, _ = diff("street@1", "street@2")
    assert (code, said.splitlines()[1]) == (3, "  - A count is withheld below 5 instead of below 10.")
    place.write("draft", STREET, ("k = 10", "k = 5"), ("active = true", "active = false"))
    code, said, _ = diff("street", str(place.records / "draft.toml"))
    assert (code, said.splitlines()[0]) == (1, "No more is given away than before.")
    assert "The version must go up: found 1, wanted above 2." in said
    assert diff("street@9", "street")[0] == 2


def test_check_tells_beforehand_what_the_gateway_would_refuse(place: Place, tmp_path: Path) -> None:
    draft = tmp_path / "draft.toml"

    def check(*changes: tuple[str, str], gateway: Path = place.settings.file) -> tuple[int, str]:
        text = STREET
        for old, new in changes:
            text = text.replace(old, new, 1)
        draft.write_text(text, "utf-8")
        done = CliRunner().invoke(app, ["check", str(draft), "--gateway", str(gateway)])
        # That nobody signed is told as well, and refuses nothing.
        lines = done.stderr.splitlines(keepends=True)
        return done.exit_code, "".join(line for line in lines if not line.startswith("warning: "))

    assert check() == (0, "")
    assert check(CHANGED, UP) == (0, "")
    refused = f"error: {draft}: version: found '1', wanted above '1', because its content changed\n"
    assert check(CHANGED) == (1, refused)
    assert check(gateway=tmp_path / "none")[0] == 2
    # Nothing was taken up by that.
    assert place.listed() == [("1", "in force", "kept")]
    assert len(list(place.texts.folder.iterdir())) == 2


def test_erasing_takes_the_texts_and_leaves_that_there_were_some(place: Place) -> None:
    place.write("street", STREET, CHANGED, UP)
    place.reload()
    code, _, errors = place.run("street", "--erase", "--yes")
    assert code == 2
    assert "found it in force, wanted its record removed before" in errors
    (place.records / "street.toml").unlink()
    place.reload()
    code, _, _ = place.run("street", "--erase", "--yes")
    assert code == 0
    assert place.listed() == [("1", "replaced", "erased"), ("2", "removed", "erased")]
    assert all(A.encode() not in file.read_bytes() for file in place.texts.folder.glob("*"))
    assert sorted(file.stat().st_size for file in place.texts.folder.glob("*.erased")) == [0, 0]
    code, _, errors = place.run("street", "--show", "1")
    assert (code, errors) == (2, "error: street version 1: its text is erased, wanted it as it was\n")
    # Without the text, content cannot be compared: only a higher version may follow.
    place.start()
    place.write("street", STREET, ("k = 10", "k = 12 # or so"), UP)
    place.reload()
    assert place.complaints == [
        "version: found '2', wanted above '2', because its content changed (the text of before is not kept)"
    ]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():
            await asyncio.sleep(0.02)


def put(file: Path, text: str) -> None:
    """Replace a file in one step: a gateway that looks in between must not see half of it."""
    draft = file.with_suffix(".new")
    draft.write_text(text, "utf-8")
    draft.replace(file)


async def test_a_running_gateway_takes_changes_up_and_a_broken_record_stops_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    monkeypatch.setattr("peilmerk_gateway.service._log", log)
    settings = village(tmp_path, web_port=0)
    folder = settings.deployments.directory
    (folder / "street.toml").write_text(STREET, "utf-8")
    (folder / "air.toml").write_text(LUCHT, "utf-8")
    ready: list[Ready] = []
    service = Service(settings, ready.append)
    running = asyncio.create_task(service.run())

    async def told() -> list[dict[str, Any]]:
        async with await Store.look(settings.gateway.data_dir / STORE_FILE) as store:
            return [dict(entry.records) for entry in await store.records_told()]

    async def told_in_all(n: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(DEADLINE_S):
            while len(found := await told()) < n:
                await asyncio.sleep(0.02)
        return found

    try:
        await until(lambda: ready or running.done())
        assert (ready[0].deployments, ready[0].broken) == (2, 0)
        put(folder / "street.toml", STREET.replace("contains_personal_data = false\n", ""))
        found = (await told_in_all(2))[1]
        assert found["street.toml"] == {"usable": False, "reason": "G1"}
        assert found["air.toml"]["usable"]
        better = STREET.replace("k = 10", "k = 12").replace('version = "1"', 'version = "2"')
        put(folder / "street.toml", better)
        found = (await told_in_all(3))[2]
        assert (found["street.toml"]["usable"], found["street.toml"]["version"]) == (True, "2")
    finally:
        service.stop()
        await running
    log.error.assert_called_once_with(
        "deployment stopped: its record is unusable",
        file=str(folder / "street.toml"),
        reason="G1: contains_personal_data: not found, wanted an answer",
    )
