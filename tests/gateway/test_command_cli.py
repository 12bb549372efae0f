"""`peilmerk gateway command`: as an operator types it, beside a gateway that runs or does not."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from firmware_bundle import FILES, bundle, digest
from sealed_street import FIRMWARE, Counter, record
from stores import KINDS, served
from typer.testing import CliRunner

from peilmerk_gateway.cli import app as gateway
from peilmerk_gateway.commands.cli import app
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_gateway.store import AnswerRow, AttestationRow, BatchRows, Store
from peilmerk_protocol import cbor, command, profile

SHAPE = {"name", "ok", "figures", "limits"}


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A gateway that ran once."""
    made = served(request.param, write_default(tmp_path / "gateway"), request)

    async def make() -> None:
        async with await Store.open(made.store_place):
            pass

    asyncio.run(make())
    return made


@pytest.fixture
def counter(settings: Settings) -> Counter:
    with Registry(settings.gateway.registry) as registry:
        made = Counter(registry.enrol("counter", "at the bridge"))
        registry.enrol("counter", "another")
    (settings.deployments.directory / "street.toml").write_text(record("street", [("fietspad-1", made.id)]))
    return made


class Says:
    """Runs `peilmerk gateway command …` for one gateway."""

    def __init__(self, runner: CliRunner, settings: Settings) -> None:
        self._runner = runner
        self._folder = str(settings.file.parent)

    def __call__(self, *words: str, typed: str = "") -> Any:
        return self._runner.invoke(
            gateway, ["command", *words, "--gateway", self._folder], input=typed, catch_exceptions=False
        )

    def figures(self, *words: str) -> dict[str, Any]:
        answer = self(*words, "--json")
        assert answer.exit_code == 0, answer.output
        report = json.loads(answer.stdout)
        assert set(report) == SHAPE
        figures: dict[str, Any] = report["figures"]
        return figures


@pytest.fixture
def says(runner: CliRunner, settings: Settings) -> Says:
    return Says(runner, settings)


async def _answers(settings: Settings, device_id: str, outcome: int, detail: int = 0) -> None:
    """Be the gateway and the device: wait for a command, send it, answer it."""
    async with await Store.look(settings.store_place) as store:
        while not (waiting := await store.waiting_commands()):
            await asyncio.sleep(0.05)
        (row,) = waiting
        await store.command_sent(device_id, row.counter, 1.0)
        answer = AnswerRow(device_id, row.counter, outcome, detail, False)
        await store.commit_batch(BatchRows(answers=[answer]), 2.0)


@pytest.mark.parametrize("name", ["fietspad-1", "street/fietspad-1", "at the bridge", "the id"])
def test_a_device_is_found_by_each_of_its_names(says: Says, counter: Counter, name: str) -> None:
    row = says.figures("identify", counter.id if name == "the id" else name, "--for", "45")
    assert (row["device"], row["verb"], row["argument"]) == (counter.id, "identify", 45)
    assert (row["state"], row["outcome"], row["attempts"]) == ("queued", None, 0)


def test_every_command_is_queued_as_the_contract_has_it(
    says: Says, counter: Counter, settings: Settings
) -> None:
    wanted: list[tuple[tuple[str, ...], int, object]] = [
        (("identify",), command.IDENTIFY, 30),
        (("pause",), command.PAUSE, 0),
        (("pause", "--until", "2100-01-01T00:00+00:00"), command.PAUSE, 4_102_444_800),
        (("resume",), command.RESUME, None),
        (("reboot",), command.REBOOT, None),
        (("self-test",), command.SELF_TEST, None),
        (("forget", "--yes"), command.FORGET, None),
        (("profile",), command.PROFILE, profile.STANDARD_COUNTER.fields()),
        (("profile", "--revision", "9"), command.PROFILE, [9, *profile.STANDARD_COUNTER.fields()[1:]]),
    ]
    for words, _, _ in wanted:
        says.figures(words[0], "fietspad-1", *words[1:])

    async def look() -> list[tuple[int, object]]:
        async with await Store.look(settings.store_place) as store:
            rows = await store.waiting_commands()
        assert [row.counter for row in rows] == sorted({row.counter for row in rows})
        return [(row.verb, cbor.decode(row.argument)) for row in rows]

    assert asyncio.run(look()) == [(verb, argument) for _, verb, argument in wanted]


def test_the_profile_takes_the_number_after_what_the_device_runs(
    says: Says, counter: Counter, settings: Settings
) -> None:
    async def states(revision: int) -> None:
        async with await Store.look(settings.store_place) as store:
            row = AttestationRow(counter.id, revision, revision, bytes(32), bytes(32), 1, 1)
            await store.commit_batch(BatchRows(attestations=[row]), 1.0)

    for runs, following in ((4, 5), (255, 1)):
        asyncio.run(states(runs))
        assert says.figures("profile", "fietspad-1")["argument"][0] == following


@pytest.mark.parametrize(("outcome", "detail", "code"), [(0, 0, 0), (4, 0, 1), (5, 3, 1)])
def test_wait_ends_with_what_the_device_answered(
    says: Says, counter: Counter, settings: Settings, outcome: int, detail: int, code: int
) -> None:
    thread = threading.Thread(target=lambda: asyncio.run(_answers(settings, counter.id, outcome, detail)))
    thread.start()
    answer = says("identify", "fietspad-1", "--wait")
    thread.join(60)
    assert answer.exit_code == code, answer.output
    word = command.OUTCOME_NAMES[outcome]
    tail = f" ({detail})" if detail else ""
    assert answer.stdout == f"identify for {counter.id}: command 64 answered: {word}{tail}\n"


def test_wait_ends_when_it_is_too_late(says: Says, counter: Counter) -> None:
    answer = says("identify", "fietspad-1", "--wait", "--valid", "1", "--json")
    assert answer.exit_code == 1
    report = json.loads(answer.stdout)
    assert (report["ok"], report["figures"]["outcome"]) == (False, None)


def test_list_and_withdraw(says: Says, counter: Counter) -> None:
    assert says("list").stdout == "no commands were given\n"
    says.figures("reboot", "fietspad-1")
    says.figures("identify", "another")
    rows = says.figures("list")["commands"]
    assert [row["verb"] for row in rows] == ["identify", "reboot"]
    (row,) = says.figures("list", "fietspad-1")["commands"]
    assert (row["device"], row["verb"], row["counter"]) == (counter.id, "reboot", 64)
    taken = says.figures("withdraw", "fietspad-1", "64")
    assert taken["state"] == "withdrawn"
    refused = says("withdraw", "fietspad-1", "64")
    assert refused.exit_code == 2
    assert refused.stderr == "error: found command 64 withdrawn, wanted one that still waits\n"
    table = says("list").stdout
    assert f"{counter.id}  64       reboot" in table
    assert "withdrawn" in table


def test_forget_asks_first(says: Says, counter: Counter) -> None:
    no = says("forget", "fietspad-1", typed="n\n")
    assert no.exit_code == 2
    assert "at the bridge" in no.stderr
    assert no.stderr.endswith("error: nothing was sent, because it was not confirmed\n")
    assert says("list").stdout == "no commands were given\n"
    yes = says("forget", "fietspad-1", typed="y\n")
    assert yes.exit_code == 0
    assert "command 64 queued" in yes.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("identify", "nobody"), "found no device 'nobody', wanted an id, a name from a deployment record"),
        (("pause", "fietspad-1", "--until", "soon"), "found 'soon', wanted a moment such as"),
        (("pause", "fietspad-1", "--until", "2020-01-01"), "wanted a moment that is to come"),
        (("profile", "another"), "found no deployment record in force for"),
        (("withdraw", "fietspad-1", "5"), "found no command 5 for this device"),
    ],
)
def test_what_cannot_be_ordered_is_said_in_a_line(
    says: Says, counter: Counter, words: tuple[str, ...], complaint: str
) -> None:
    answer = says(*words)
    assert answer.exit_code == 2
    assert answer.stderr.startswith("error: ")
    assert complaint in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_revoked_device_and_a_name_of_two(says: Says, counter: Counter, settings: Settings) -> None:
    with Registry(settings.gateway.registry) as registry:
        registry.enrol("air", "another")
        assert "found 2 devices called 'another', wanted one" in says("reboot", "another").stderr
        registry.revoke(counter.id)
    assert "revoked, wanted one that may connect" in says("reboot", "fietspad-1").stderr


def test_without_a_store_nothing_is_made(runner: CliRunner, tmp_path: Path) -> None:
    settings = load(write_default(tmp_path / "new"))
    with Registry(settings.gateway.registry) as registry:
        device = registry.enrol("counter", "x")
    answer = Says(runner, settings)("reboot", device.device_id)
    assert answer.exit_code == 2
    assert "found no store, wanted one: 'peilmerk gateway run' makes it" in answer.stderr
    assert not (settings.gateway.data_dir / "store.db").exists()


def test_every_command_has_help_with_an_example(runner: CliRunner) -> None:
    for known in app.registered_commands:
        name = known.name or known.callback.__name__  # type: ignore[union-attr]
        answer = runner.invoke(app, [name, "--help"])
        assert answer.exit_code == 0
        assert "Examples: peilmerk gateway command" in answer.stdout


def test_update_takes_the_bundle_in_and_offers_it(
    says: Says, counter: Counter, settings: Settings, tmp_path: Path
) -> None:
    data = bundle()
    file = tmp_path / "counter.bundle"
    file.write_bytes(data)
    answer = says("update", "fietspad-1", str(file), "--json")
    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.stdout)["figures"]
    assert figures["argument"] == [digest(data), len(data), [0, 4, 0]]
    assert settings.update is not None
    assert [file.name for file in settings.update.folder.iterdir()] == [digest(data)]
    assert (settings.update.folder / digest(data)).read_bytes() == data
    assert f'will be refused (G6) until it does: next_firmware_digest = "{"00" * 32}"' in answer.stderr
    again = says.figures("update", "fietspad-1", digest(data))
    assert again["argument"] == figures["argument"]
    # The record names what the board runs, so nothing is to be warned of.
    same = tmp_path / "same.bundle"
    same.write_bytes(bundle(firmware=FIRMWARE))
    assert says("update", "fietspad-1", str(same)).stderr == ""


def test_what_cannot_be_offered(says: Says, counter: Counter, settings: Settings, tmp_path: Path) -> None:
    good = bundle()
    head = len(good) - sum(map(len, FILES.values()))
    for data, complaint in (
        (b"", "found no manifest at its beginning (malformed)"),
        (b"\x84" * 500, "found no manifest at its beginning (malformed)"),
        (good[: head - 5], "found no manifest at its beginning"),
        (good[:-1], "found node/app.mpy otherwise than the manifest has it"),
        (good + b"x", f"found {len(good) + 1} bytes, wanted the {len(good)} that the manifest tells of"),
        (good[:head] + b"X" + good[head + 1 :], "found node/__init__.mpy otherwise"),
        (bundle(kind=2), "found firmware for a board of kind air, wanted counter"),
    ):
        file = tmp_path / "some.bundle"
        file.write_bytes(data)
        answer = says("update", "fietspad-1", str(file))
        assert answer.exit_code == 2, answer.output
        assert complaint in answer.stderr
    assert "No such file or directory, wanted a bundle" in says("update", "fietspad-1", "no.file").stderr
    assert "found no bundle" in says("update", "fietspad-1", "0" * 64).stderr
    assert settings.update is not None
    (settings.update.folder / ("1" * 64)).write_bytes(good)
    assert "wanted what its name says" in says("update", "fietspad-1", "1" * 64).stderr
    text = settings.file.read_text()
    settings.file.write_text(re.sub(r"\[update\]\n([^\[\n].*\n)*", "", text))
    assert "found no section [update]" in says("update", "fietspad-1", str(tmp_path / "some.bundle")).stderr
    assert says("list").stdout == "no commands were given\n"


def test_why_an_update_was_not_taken_is_said_in_words(
    says: Says, counter: Counter, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "counter.bundle"
    file.write_bytes(bundle())
    thread = threading.Thread(target=lambda: asyncio.run(_answers(settings, counter.id, command.REFUSED, 8)))
    thread.start()
    answer = says("update", "fietspad-1", str(file), "--wait")
    thread.join(60)
    assert answer.exit_code == 1
    assert "answered: refused (its version is not newer than what ran here before)" in answer.stdout
