"""`peilmerk deployment new`: asked step by step, stopped and gone on with, and what it writes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from officer_answers import EN, HOME, NL, STREET, TODAY, written
from typer.testing import CliRunner, Result

from peilmerk_gateway.deployments import new_cli
from peilmerk_gateway.deployments.asking import answers as answering
from peilmerk_gateway.deployments.asking import compose
from peilmerk_gateway.deployments.asking.interview import Terms, complete
from peilmerk_gateway.deployments.asking.questions import OPEN
from peilmerk_gateway.deployments.cli import app
from peilmerk_gateway.deployments.deployment import read


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(new_cli, "_today", lambda: TODAY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, lines: list[str] | None = None, locale: str = "C") -> Result:
    typed = "".join(f"{line}\n" for line in lines or [])
    environment = {"LC_ALL": locale, "LC_MESSAGES": "", "LANG": ""}
    return CliRunner(env=environment).invoke(app, ["new", *words], input=typed)


def set_options(given: dict[str, Any]) -> list[str]:
    return [word for key, value in given.items() for word in ("--set", f"{key}={value}")]


def replies(given: dict[str, Any], terms: Terms) -> list[tuple[str, str]]:
    """(key, line) of every question: what is given, else Enter."""
    return [(one.key, str(given.get(one.key, ""))) for one in complete(terms, given)[0]]


def test_an_officer_is_asked_step_by_step(place: Path) -> None:
    lines = [line for _, line in replies(STREET, NL)]
    done = run("kerkstraat.toml", lines=lines, locale="nl_NL.UTF-8")
    assert done.exit_code == 0, done.output
    assert (place / "kerkstraat.toml").read_text("utf-8") == written(STREET, NL)
    assert sorted(file.name for file in place.iterdir()) == ["kerkstraat.toml"]
    assert f"1/{len(lines)}  Hangt een particulier de sensor thuis op?" in done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == ["kerkstraat.toml is geschreven.", "Wat de privacypoort ervan zegt:"]
    assert "  G3  weigert tot 2026-03-06: Er is geen melding van minstens vijf dagen geleden" in said[4]
    assert said[-1] == (
        "Vanaf 2026-03-06 tot en met 2028-12-31 mag worden gepubliceerd wat de sensoren sturen."
    )
    assert CliRunner().invoke(app, ["check", "kerkstraat.toml"]).exit_code == 0


def test_a_refused_answer_is_asked_again_and_a_question_is_explained(place: Path) -> None:
    lines = [
        line
        for key, reply in replies(STREET, EN)
        for line in (
            ["later", "?", "maybe", reply]
            if key == "private_host"
            else ["49.1, 5.1", "?", reply]
            if key == "location.point"
            else ["?", reply]
        )
    ]
    done = run("kerkstraat.toml", lines=lines)
    assert done.exit_code == 0, done.output
    assert read(place / "kerkstraat.toml").id == "kerkstraat"
    for said in (
        "This answer is needed to go on; it cannot be left open.",
        "That cannot be: 'maybe'. Wanted: yes or no.",
        "That cannot be: …. Wanted: latitude and longitude",
        "This is never published.",
        "This is shown on the public page or on the sign at the sensor.",
        "In the record: devices[1].device_id",
        "bicycle_towards          Bicycles, towards",
        "Without a right answer G1 refuses: The deployment record lacks type, theme",
        "Without a right answer G3 refuses: There is no notification",
        "Without a right answer G5 refuses: ",
    ):
        assert said in done.stderr, said


def test_back_goes_back_and_the_answers_since_stand(place: Path) -> None:
    found = replies(STREET, EN)
    keys = [key for key, _ in found]
    lines = [line for _, line in found]
    at = keys.index("location.point")
    changed = keys.index("owner.organisation")
    # From the place back to the organisation, another answer, and Enter for what was answered since.
    lines[at:at] = ["back"] * (at - changed) + ["Gemeente Elders"]
    done = run("kerkstraat.toml", lines=["terug", *lines])
    assert done.exit_code == 0, done.output
    assert "This is the first question." in done.stderr
    record = read(place / "kerkstraat.toml").record
    assert record.owner.organisation == "Gemeente Elders"
    assert (record.public_contact, record.location.description) == (
        STREET["public_contact"],
        STREET["location.description"],
    )
    assert "[Gemeente Voorbeeld] >" in done.stderr


def test_an_optional_answer_can_be_taken_back(place: Path) -> None:
    lines = [
        line
        for key, reply in replies(STREET, EN)
        for line in (["the alderman", "back", "-"] if key == "signed_by" else [reply])
    ]
    done = run("kerkstraat.toml", lines=lines)
    assert "[the alderman, - clears it] >" in done.stderr
    assert read(place / "kerkstraat.toml").record.signed_by is None


@pytest.mark.parametrize("stop", [None, typer.Abort, KeyboardInterrupt])
def test_stopped_half_way_it_goes_on_there_next_time(
    place: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException] | None
) -> None:
    lines = [line for _, line in replies(STREET, EN)]
    half = len(lines) // 2
    if stop is None:
        done = run("kerkstraat.toml", lines=lines[:half])
    else:
        left = iter(lines[:half])

        def line(prompt: str) -> str:
            for one in left:
                return one
            raise stop

        monkeypatch.setattr(new_cli, "_line", line)
        done = run("kerkstraat.toml")
        monkeypatch.undo()
        monkeypatch.setattr(new_cli, "_today", lambda: TODAY)
        monkeypatch.chdir(place)
    assert done.exit_code == 130
    assert f"Kept in kerkstraat.toml.draft: {half} answers. The same command goes on there." in done.stderr
    assert sorted(file.name for file in place.iterdir()) == ["kerkstraat.toml.draft"]
    assert (place / "kerkstraat.toml.draft").stat().st_mode & 0o777 == 0o600
    done = run("kerkstraat.toml", lines=lines[half:])
    assert done.exit_code == 0, done.output
    assert f"Going on with kerkstraat.toml.draft: {half} answers of last time." in done.stderr
    assert (place / "kerkstraat.toml").read_text("utf-8") == written(STREET, EN)
    assert sorted(file.name for file in place.iterdir()) == ["kerkstraat.toml"]


def test_stopped_before_the_first_answer_nothing_is_kept(place: Path) -> None:
    done = run("kerkstraat.toml")
    assert done.exit_code == 130
    assert "nothing was answered yet and nothing was kept" in done.stderr
    assert list(place.iterdir()) == []


def test_what_does_not_hold_any_more_of_a_draft_is_asked_anew(place: Path) -> None:
    draft = place / "kerkstraat.toml.draft"
    draft.write_text('private_host = false\nid = "Kerk Straat"\nboards = 100000\nnonsense = 1\n', "utf-8")
    lines = [line for key, line in replies(STREET, EN) if key != "private_host"]
    done = run("kerkstraat.toml", lines=lines)
    assert done.exit_code == 0, done.output
    assert read(place / "kerkstraat.toml").id == "kerkstraat"
    draft.write_text("broken = ", "utf-8")
    done = run("kerkstraat.toml", "--force")
    assert done.exit_code == 2
    assert "kerkstraat.toml.draft: not TOML" in done.stderr


def test_a_file_that_is_there_is_replaced_only_when_asked_for(place: Path) -> None:
    file = place / "kerkstraat.toml"
    file.write_text("mine\n", "utf-8")
    lines = [line for _, line in replies(STREET, EN)]
    for reply in ("", "no", "what"):
        done = run("kerkstraat.toml", lines=[reply, *lines])
        assert (done.exit_code, file.read_text()) == (2, "mine\n")
        assert "kerkstraat.toml was not changed." in done.stderr
    done = run("kerkstraat.toml", *set_options(STREET))
    assert (done.exit_code, file.read_text()) == (2, "mine\n")
    assert "found it there already, wanted a new file, or --force to replace it" in done.stderr
    assert run("kerkstraat.toml", lines=["yes", *lines]).exit_code == 0
    assert file.read_text("utf-8") == written(STREET, EN)
    file.write_text("mine\n", "utf-8")
    assert run("kerkstraat.toml", "--force", *set_options(STREET)).exit_code == 0
    assert file.read_text("utf-8") == written(STREET, EN)
    assert sorted(one.name for one in place.iterdir()) == ["kerkstraat.toml"]


def test_a_file_that_came_meanwhile_is_not_replaced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_of: Callable[..., str] = compose.text_of

    def meanwhile(*words: Any) -> str:
        (place / "kerkstraat.toml").write_text("mine\n", "utf-8")
        return text_of(*words)

    monkeypatch.setattr(new_cli.compose, "text_of", meanwhile)
    done = run("kerkstraat.toml", *set_options(STREET))
    assert done.exit_code == 2
    assert (place / "kerkstraat.toml").read_text() == "mine\n"
    assert sorted(one.name for one in place.iterdir()) == ["kerkstraat.toml"]


def test_what_is_left_open_is_told_with_the_gate_that_refuses_for_it(place: Path) -> None:
    left = STREET | {"notified_at": OPEN, "devices[1].device_id": OPEN}
    done = run("kerkstraat.toml", "--json", *set_options(left))
    assert done.exit_code == 1
    figures = json.loads(done.stdout)["figures"]
    assert figures["written"]
    assert figures["gates"]["G3"] == {"state": "refuses", "day": None}
    assert figures["gates"]["G1"] == {"state": "passes", "day": None}
    assert figures["open"] == ["devices[1].device_id", "notified_at"]
    assert [said.partition(", wanted")[0] for said in figures["refused"]] == [
        "devices[1].device_id: not found",
        "G3: notified_at: not found",
    ]
    assert CliRunner().invoke(app, ["check", "kerkstraat.toml"]).exit_code == 1
    done = run("kerkstraat.toml", "--force", *set_options(left))
    assert "  G3  refuses: There is no notification" in done.stdout
    assert "Until that is filled in, nothing is published." in done.stdout
    assert "  notified_at: When was the municipality notified of the sensor?" in done.stdout


def test_without_asking_what_lacks_is_named_and_nothing_is_written(place: Path) -> None:
    given = {key: value for key, value in STREET.items() if key not in ("notified_at", "public_contact")}
    done = run("kerkstraat.toml", "--json", *set_options(given | {"owner.shoe": "42", "boards": "x"}))
    assert done.exit_code == 1
    assert list(place.iterdir()) == []
    figures = json.loads(done.stdout)["figures"]
    assert not figures["written"]
    assert [said.partition(":")[0] for said in figures["refused"]] == ["public_contact", "boards"]
    done = run("kerkstraat.toml", *set_options(given | {"owner.shoe": "42"}))
    assert re.findall(r"^error: ([a-z_.]+): ", done.stderr, re.MULTILINE) == [
        "public_contact",
        "notified_at",
        "owner.shoe",
    ]
    assert "kerkstraat.toml is not written: 3 answers lack or cannot be." in done.stderr


def test_answers_from_a_file_and_what_does_not_fit(place: Path) -> None:
    _, known, _ = complete(EN, HOME)
    answering.keep(place / "answers.toml", known)
    done = run("home.toml", "--answers", "answers.toml", "--set", "id=tuin", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"]
    assert read(place / "home.toml").id == "tuin"
    done = run("other.toml", "--answers", "answers.toml", "--set", "notified_at=2026-01-01")
    assert done.exit_code == 1
    assert "error: notified_at: With these answers this is not asked." in done.stderr
    for options, said in (
        (["--answers", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["--set", "id"], "--set: found 'id', wanted KEY=VALUE"),
        (["--set", "devices[0].name=x"], "--set: found 'devices[0].name=x', wanted KEY=VALUE"),
        (["--language", "de"], "found 'de', wanted nl or en"),
    ):
        done = run("other.toml", *options)
        assert done.exit_code == 2
        assert said in done.stderr
    done = run("none/other.toml", "--answers", "answers.toml")
    assert done.exit_code == 2
    assert "none/other.toml: cannot be written: No such file or directory" in done.stderr
