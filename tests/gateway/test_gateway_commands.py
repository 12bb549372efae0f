"""The commands of gateway and deployment: what they print, and the exit codes 0, 1 and 2."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path

import pytest
from sealed_street import DAY, NOW, Counter, record
from stores import KINDS, served
from typer.testing import CliRunner

from peilmerk_gateway.cli import app as gateway
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.cli import app as deployment
from peilmerk_gateway.deployments.history import Texts
from peilmerk_gateway.flow import Flow
from peilmerk_gateway.open import Keyring
from peilmerk_gateway.refusal import Reason, Refusal, sentence
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import ClockSettings, load, write_default
from peilmerk_gateway.store import BatchRows, Store

SHAPE = {"name", "ok", "figures", "limits"}
A = "a" * 16
FREE = ("--mqtt-port", "0", "--web-port", "0", "--update-port", "0")
SIGNED = 'signed_by = "the alderman"'


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def folder(tmp_path: Path, runner: CliRunner) -> Path:
    answer = runner.invoke(gateway, ["init", str(tmp_path), *FREE])
    assert answer.exit_code == 0, answer.output
    return tmp_path


def test_init_writes_settings_that_load_and_never_twice(runner: CliRunner, tmp_path: Path) -> None:
    sink = "https://sensors.voorbeeld.example/v1.1"
    wanted = ["init", str(tmp_path), "--server-name", "gateway.voorbeeld.example", "--sink", sink]
    assert runner.invoke(gateway, wanted).exit_code == 0
    settings = load(tmp_path)
    assert settings.broker.server_names == ("gateway.voorbeeld.example",)
    assert [str(one.url) for one in settings.sinks] == [sink]
    assert settings.deployments.directory.is_dir()
    again = runner.invoke(gateway, wanted)
    assert again.exit_code == 2
    assert again.stderr.startswith("error: ")
    bad = runner.invoke(gateway, ["init", str(tmp_path / "x"), "--sink", "sensors"])
    assert (bad.exit_code, bad.stderr) == (
        2,
        "error: --sink: found 'sensors', wanted an http or https address\n",
    )


def test_check_is_green_then_red(runner: CliRunner, folder: Path) -> None:
    file = folder / "deployments" / "street.toml"
    file.write_text(record("street", [("fietspad-1", A)]))
    good = runner.invoke(gateway, ["check", str(folder), "--json"])
    assert good.exit_code == 0, good.output
    report = json.loads(good.stdout)
    assert set(report) == SHAPE
    assert report["ok"] is True
    assert report["figures"]["datastreams"] == 4
    file.write_text(file.read_text().replace("active_until", "# active_until"))
    bad = runner.invoke(gateway, ["check", str(folder), "--json"])
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["ok"] is False
    assert bad.stderr == f"error: {file}: G1: active_until: not found, wanted an answer\n"


def test_broken_settings_name_file_and_key(runner: CliRunner, folder: Path) -> None:
    settings = folder / "gateway.toml"
    settings.write_text(settings.read_text().replace("port = 0", "prt = 0"))
    for command in ("run", "check", "status"):
        answer = runner.invoke(gateway, [command, str(folder)])
        assert answer.exit_code == 2
        assert answer.stderr.startswith(f"error: {settings}: ")
        assert "prt" in answer.stderr
    missing = runner.invoke(gateway, ["run", str(folder / "nowhere")])
    assert missing.exit_code == 2
    assert "peilmerk gateway init" in missing.stderr


def test_status_tells_the_totals_and_makes_nothing(runner: CliRunner, folder: Path) -> None:
    file = folder / "data" / "store.db"
    before = runner.invoke(gateway, ["status", str(folder)])
    assert before.exit_code == 2
    assert before.stderr.startswith(f"error: {file}: found no store")
    assert not file.exists()

    async def fill() -> None:
        async with await Store.open(file) as store:
            refusals = [Refusal(Reason.FORGED, None, 40, 1.0)] * 3
            await store.commit_batch(BatchRows(refusals=refusals, received=3), 1.0)

    asyncio.run(fill())
    answer = runner.invoke(gateway, ["status", str(folder), "--json"])
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert set(report) == SHAPE
    assert report["figures"]["received"] == 3
    assert report["figures"]["refused"] == {"forged": 3}
    text = runner.invoke(gateway, ["status", str(folder)]).stdout
    assert "refused: forged" in text


@pytest.mark.parametrize("kind", KINDS)
def test_status_tells_what_the_day_cost_and_what_boards_stated(
    runner: CliRunner, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    clock = ClockSettings(world_start=NOW, wall_start=0, speed=1e-12)
    settings = served(kind, write_default(tmp_path / "gateway", clock=clock), request)
    with Registry(settings.gateway.registry) as registry:
        board = Counter(registry.enrol("counter", "x"))
        file = settings.deployments.directory / "street.toml"
        file.write_text(record("street", [("fietspad-1", board.id)]))

        async def fill() -> None:
            async with await Store.open(settings.store_place) as store:
                catalogue = Catalogue(settings.deployments.directory)
                flow = Flow(Keyring(registry), catalogue, store, settings.make_clock())
                said = [board.report(2 + n, DAY * 96 + n) for n in range(2)]
                await flow.store([board.statement(1), *said, board.day(4)])

        asyncio.run(fill())
    figures = json.loads(runner.invoke(gateway, ["status", str(settings.file), "--json"]).stdout)["figures"]
    assert figures["spent_yesterday"][f"street {board.id} bicycle_towards"] == {
        "windows": 2,
        "epsilon_of_windows": 1.4,
        "epsilon_of_day": 0.3,
    }
    assert figures["spent_today"] == {}
    assert figures["stated"] == {board.id: {"profile": 1, "boots": 1, "uptime_s": 3_600}}
    assert (figures["reports"], figures["days"], figures["commands"]) == (2, 1, {})
    text = runner.invoke(gateway, ["status", str(settings.file)]).stdout
    assert "windows 2, epsilon_of_windows 1.4" in " ".join(text.split())


@pytest.mark.parametrize("kind", KINDS)
def test_status_names_what_a_broken_record_stops(
    runner: CliRunner, folder: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    settings = served(kind, folder / "gateway.toml", request)
    good, bad = (settings.deployments.directory / f"{name}.toml" for name in ("good", "street"))
    good.write_text(record("good", [("fietspad-2", "b" * 16)]))
    bad.write_text(record("hoofdstraat", [("fietspad-1", A)]))

    async def note() -> None:
        async with await Store.open(settings.store_place) as store:
            catalogue = Catalogue(settings.deployments.directory)
            await store.note_records(catalogue.facts, NOW)

    asyncio.run(note())
    well = runner.invoke(gateway, ["status", str(folder), "--json"])
    assert well.exit_code == 0, well.output
    report = json.loads(well.stdout)
    assert (report["ok"], report["limits"]) == (True, {"broken_records": 0})
    figures = report["figures"]
    assert (figures["deployments"], figures["broken_records"], figures["stopped"]) == (2, 0, {})

    whole = bad.read_text()
    bad.write_text(whole.replace("active_until", "# active_until").replace('version = "1"', 'versoin = "1"'))
    ill = runner.invoke(gateway, ["status", str(folder), "--json"])
    assert ill.exit_code == 1
    report = json.loads(ill.stdout)
    assert set(report) == SHAPE
    assert report["ok"] is False
    assert (report["figures"]["deployments"], report["figures"]["broken_records"]) == (1, 1)
    assert report["figures"]["stopped"] == {
        str(bad): {
            "deployment": "hoofdstraat",
            "reason": "G1",
            "complaints": [
                {"reason": "G1", "key": "active_until", "text": "not found, wanted an answer"},
                {"reason": "record-broken", "key": "versoin", "text": "no such key, did you mean 'version'?"},
            ],
        }
    }
    text = runner.invoke(gateway, ["status", str(folder)])
    assert text.exit_code == 1
    assert f"stopped: {bad} (hoofdstraat): nothing is published: G1\n" in text.stdout
    assert "  G1: active_until: not found, wanted an answer\n  versoin: no such key" in text.stdout
    assert not (settings.gateway.data_dir / "records").exists(), "looking keeps no texts"

    # As a running gateway judges it: of a changed record the version must rise.
    texts = Texts(settings.gateway.data_dir / "records")
    texts.keep(hashlib.sha256(whole.encode()).hexdigest(), whole.encode())
    bad.write_text(whole.replace("k = 10", "k = 3"))
    for command in ("status", "check"):
        answer = runner.invoke(gateway, [command, str(folder)])
        assert answer.exit_code == 1
        assert "version: found '1', wanted above '1', because its content changed" in answer.output
    bad.unlink()
    assert runner.invoke(gateway, ["status", str(folder)]).exit_code == 0


def test_deployment_check_tells_file_key_gate_and_sentence(runner: CliRunner, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(record("good", [("fietspad-1", A)]).replace('version = "1"', f'version = "1"\n{SIGNED}'))
    bad.write_text(record("bad", [("fietspad-1", "b" * 16)]).replace('retention = "', 'retention = ""#'))
    answer = runner.invoke(deployment, ["check", str(good)])
    assert answer.exit_code == 0
    assert (answer.stdout, answer.stderr) == (f"{good}: ok (good, 1 devices)\n", "")
    answer = runner.invoke(deployment, ["check", str(tmp_path), "--language", "nl"])
    assert answer.exit_code == 1
    assert answer.stderr.splitlines() == [
        f"error: {bad}: G5: dtpr.retention: found '', wanted some text",
        "       G5: Het inzetdossier laat een van de acht DTPR-categorieën leeg.",
    ]
    report = json.loads(runner.invoke(deployment, ["check", str(tmp_path), "--json"]).stdout)
    assert set(report) == SHAPE
    assert report["figures"]["refusals"] == {str(bad): "G5"}


def test_a_record_whose_period_is_over_is_warned_about(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "street.toml"
    file.write_text(re.sub(r"active_until = \S+", "active_until = 2024-05-31", record("street", [("a", A)])))
    for code, words in (("en", "G3 refuses after 2024-05-31: "), ("nl", "G3 weigert na 2024-05-31: ")):
        answer = runner.invoke(deployment, ["check", str(file), "--language", code, "--json"])
        assert answer.exit_code == 0
        said = words + sentence(Reason.G3, code)
        assert f"warning: {file}: {said}\n" in answer.stderr
        assert json.loads(answer.stdout)["figures"]["refused_now"] == {str(file): [said]}


def test_a_record_of_public_space_that_nobody_signed_is_warned_about(
    runner: CliRunner, tmp_path: Path
) -> None:
    file, home = tmp_path / "street.toml", tmp_path / "home.toml"
    file.write_text(record("street", [("fietspad-1", A)]))
    text = re.sub(r"notified_at = \S+", "private_host = true", record("home", [("thuis-1", "b" * 16)]))
    home.write_text(text)
    answer = runner.invoke(deployment, ["check", str(file), str(home), "--json"])
    # The gates G1 to G8 refuse; this is for whoever decides about the record.
    assert answer.exit_code == 0
    assert answer.stderr == f"warning: {file}: signed_by: not found, wanted who signs for this version\n"
    assert json.loads(answer.stdout)["figures"]["unsigned"] == [str(file)]
    for code, nobody in (("nl", "heeft niemand getekend"), ("en", "Nobody signed")):
        said = runner.invoke(deployment, ["explain", str(file), "--language", code]).stdout
        assert nobody in said
        assert nobody not in runner.invoke(deployment, ["explain", str(home), "--language", code]).stdout
        file.write_text(file.read_text().replace('version = "1"', f'version = "1"\n{SIGNED}'))
        said = runner.invoke(deployment, ["explain", str(file), "--language", code]).stdout
        assert "the alderman" in said
        file.write_text(file.read_text().replace(f"{SIGNED}\n", ""))


def test_deployment_check_sees_records_that_take_each_others(runner: CliRunner, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(record("same", [("fietspad-1", A)]))
    answer = runner.invoke(deployment, ["check", str(tmp_path)])
    assert answer.exit_code == 1
    assert "id: found 'same', which" in answer.stderr
    assert "found the board of fietspad-1, which" in answer.stderr
    assert A not in answer.output


def test_deployment_explain(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "street.toml"
    file.write_text(record("street", [("fietspad-1", A)]))
    told = {
        "en": "Bicycles, towards: published as open data",
        "nl": "Fietsers, heen: gepubliceerd als open data",
    }
    for code, words in told.items():
        answer = runner.invoke(deployment, ["explain", str(file), "--language", code])
        assert answer.exit_code == 0
        assert words in answer.stdout
        # Without the option, in the language of the terminal.
        answer = runner.invoke(deployment, ["explain", str(file)], env={"LC_ALL": f"{code}_XX.UTF-8"})
        assert words in answer.stdout
    assert runner.invoke(deployment, ["explain", str(file), "--language", "de"]).exit_code == 2
    file.write_text(file.read_text().replace("contains_personal_data", "# contains_personal_data"))
    refused = runner.invoke(deployment, ["explain", str(file), "--language", "en"])
    assert refused.exit_code == 1
    assert "nothing is published: The deployment record lacks" in refused.stderr
    refused = runner.invoke(deployment, ["explain", str(file), "--language", "nl"])
    assert "er wordt niets gepubliceerd: In het inzetdossier ontbreekt" in refused.stderr


def test_a_file_that_is_not_there(runner: CliRunner, tmp_path: Path) -> None:
    for command in ("check", "explain"):
        answer = runner.invoke(deployment, [command, str(tmp_path / "no.toml")])
        assert answer.exit_code == 2
        assert answer.stderr == (
            f"error: {tmp_path / 'no.toml'}: found no such file, wanted a record or a folder of records\n"
        )


@pytest.mark.parametrize("app", [gateway, deployment])
def test_every_command_has_help_with_an_example(runner: CliRunner, app: object) -> None:
    names = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[attr-defined]
    for name in names:
        answer = runner.invoke(app, [name, "--help"])  # type: ignore[arg-type]
        assert answer.exit_code == 0
        assert "Examples: peilmerk" in answer.stdout
