"""`peilmerk deployment export`: what it writes and says, its exit codes, and the commands of the guide."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from dossier import DOSSIER, EXAMPLE, PAGE
from typer.testing import CliRunner

from peilmerk_gateway.deployments.cli import app

GUIDE = EXAMPLE.with_name("operator.md")


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    file = tmp_path / "havenstraat.toml"
    file.write_text(DOSSIER)
    return file


def test_the_form_follows_the_file_and_the_bytes_are_those_of_stdout(
    runner: CliRunner, record: Path, tmp_path: Path
) -> None:
    for name, begins in (("rows.csv", b"Referentie,"), ("rows.json", b'{\n  "Sensorregistratie": [')):
        out = tmp_path / name
        form = out.suffix[1:]
        answer = runner.invoke(app, ["export", str(record), "--as", "amsterdam", "--out", str(out)])
        assert answer.exit_code == 0, answer.output
        assert answer.stdout == f"{out}: amsterdam as {form}, {out.stat().st_size} bytes\n"
        assert out.read_bytes().startswith(begins)
        printed = runner.invoke(app, ["export", str(record), "--as", "amsterdam", "--form", form])
        assert printed.stdout_bytes == out.read_bytes()


def test_one_json_object_tells_what_was_written_or_refused(
    runner: CliRunner, record: Path, tmp_path: Path
) -> None:
    out = tmp_path / "entry.yml"
    asked = ["export", str(record), "--as", "opendp", "--out", str(out), "--json"]
    report = json.loads(runner.invoke(app, asked).stdout)
    assert report == {
        "name": "deployment export",
        "ok": True,
        "figures": {"as": "opendp", "form": "yaml", "bytes": out.stat().st_size, "refused": []},
        "limits": {"refused": []},
    }
    out.unlink()
    record.write_text(DOSSIER.replace("active_from = 2026-02-01\n", ""))
    answer = runner.invoke(app, asked)
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["figures"]["refused"] == ["active_from: not found, wanted a date"]
    assert answer.stderr == f"error: {record}: active_from: not found, wanted a date\n"
    assert not out.exists()


def test_a_record_that_cannot_be_used_is_exported_as_nothing(runner: CliRunner, record: Path) -> None:
    record.write_text(DOSSIER.replace('retention = "Wat gepubliceerd is blijft."', 'retention = ""'))
    answer = runner.invoke(app, ["export", str(record), "--as", "annex"])
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "G5: dtpr.retention: found ''" in answer.stderr


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            ["--as", "rotterdam"],
            "--as: found 'rotterdam', wanted one of amsterdam, sensrnet, dtpr, sign, opendp, annex",
        ),
        (["--as", "dtpr", "--form", "csv"], "--form: found 'csv', wanted json for dtpr"),
        (["--as", "sign", "--out", "sign.png"], "--out: found 'png', wanted svg or pdf for sign"),
        (["--as", "annex", "--language", "de"], "--language: found 'de', wanted nl or en"),
        (
            ["--as", "sign", "--page", "javascript:alert(1)"],
            "--page: found 'javascript:alert(1)', wanted an address",
        ),
        (["--as", "annex", "--json"], "--json: found no --out, wanted one"),
        (
            ["--as", "annex", "--out", "none/annex.md"],
            "none/annex.md: No such file or directory, wanted a file to write",
        ),
    ],
)
def test_options_that_do_not_fit_are_told(
    runner: CliRunner, record: Path, options: list[str], wanted: str
) -> None:
    answer = runner.invoke(app, ["export", str(record), *options])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert f"error: {wanted}" in answer.stderr


def test_a_file_that_is_not_there(runner: CliRunner, tmp_path: Path) -> None:
    answer = runner.invoke(app, ["export", str(tmp_path / "none.toml"), "--as", "annex"])
    assert answer.exit_code == 2
    assert "none.toml: found no such file, wanted a record" in answer.stderr


def commands_of_the_guide() -> list[str]:
    return re.findall(r"^peilmerk deployment (export .+)$", GUIDE.read_text("utf-8"), re.MULTILINE)


def test_the_guide_shows_every_export() -> None:
    shown = {re.findall(r"--as (\w+)", command)[0] for command in commands_of_the_guide()}
    assert shown == {"amsterdam", "sensrnet", "dtpr", "sign", "opendp", "annex"}


@pytest.mark.parametrize("command", commands_of_the_guide())
def test_the_guides_commands_work_on_its_example(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    Path(words[1]).parent.mkdir(parents=True)
    Path(words[1]).write_bytes(EXAMPLE.read_bytes())
    answer = runner.invoke(app, words)
    assert answer.exit_code == 0, answer.output
    out = Path(words[words.index("--out") + 1])
    assert out.stat().st_size > 500


def test_a_sign_is_printed_from_the_command(runner: CliRunner, record: Path, tmp_path: Path) -> None:
    out = tmp_path / "sign.PDF"
    asked = ["export", str(record), "--as", "sign", "--device", "paal-2", "--page", PAGE, "--out", str(out)]
    assert runner.invoke(app, asked).exit_code == 0
    assert out.read_bytes().startswith(b"%PDF")
