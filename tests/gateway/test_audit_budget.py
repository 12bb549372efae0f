"""`peilmerk audit budget`: what was spent, by class and day and over a year, and what that means."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sealed_street import record
from stores import KINDS, place_of
from typer.testing import CliRunner

from peilmerk_gateway import settings as gateway_settings
from peilmerk_gateway.audit_budget import Spent, day_number, statements
from peilmerk_gateway.audit_cli import app
from peilmerk_gateway.store import BatchRows, Entry, LedgerRow, ReportRow, Store
from peilmerk_gateway.web.language import languages
from peilmerk_protocol import topics

ONE, TWO = "a" * 16, "b" * 16
DAY = day_number(date(2026, 5, 1))
DAY_S = 86_400


def lines(seq: int, device_id: str, day: int, windows: list[int], total: int, deployment: str) -> Entry:
    """A board's day: windows at these prices, and a total, of bicycles towards."""
    start = day * DAY_S
    rows = [LedgerRow(deployment, device_id, 5, start + n * 900, micro) for n, micro in enumerate(windows)]
    rows.append(LedgerRow(deployment, device_id, 5, start, total, topics.DAY))
    return Entry(ReportRow(device_id, seq, start, 900, 1, 0, None), ledger=tuple(rows))


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("budget") / "gateway"
    settings = gateway_settings.load(gateway_settings.write_default(made))
    place = place_of(request.param, settings.gateway.data_dir, request)
    place.serve(settings.file)
    text = record("street", [("fietspad-1", ONE), ("fietspad-2", TWO)])
    (settings.deployments.directory / "street.toml").write_text(text, "utf-8")

    async def fill() -> None:
        async with await Store.open(place.where) as store:
            entries = [
                lines(1, ONE, DAY, [700_000] * 3, 300_000, "street"),
                lines(1, TWO, DAY, [350_000] * 2, 150_000, "street"),
                # The record was changed: one window of that day was cheaper.
                lines(2, ONE, DAY + 1, [700_000, 350_000], 300_000, "street"),
                lines(3, ONE, DAY - 1, [100_000], 0, "gone"),
                lines(2, TWO, day_number(date(2027, 1, 1)), [700_000], 300_000, "street"),
            ]
            await store.commit_batch(BatchRows(entries), 1.0)

    asyncio.run(fill())
    return made


def run(folder: Path, *words: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, ["budget", str(folder), *words], env={"LC_ALL": "C.UTF-8"})
    if done.exit_code:
        return done.exit_code, done.stderr
    return 0, json.loads(done.stdout) if "--json" in words else done.stdout


def test_a_day_by_class_with_what_it_means(folder: Path) -> None:
    code, said = run(folder, "--day", "2026-05-01", "--json")
    assert (code, said["name"], said["ok"]) == (0, "audit budget", True)
    assert said["figures"]["spent"] == [
        {
            "deployment": "street",
            "class": "bicycle_towards",
            "when": "2026-05-01",
            "days": 1,
            "sensors": 2,
            "windows": 5,
            "epsilon_of_windows": 2.8,
            "epsilon_of_days": 0.45,
            "epsilon_passage": 1.0,
            "m_assumed": 4,
            "epsilon_person": 4.0,
            "epsilon_passage_at_every_sensor": 1.5,
        }
    ]
    assert said["figures"]["statements"] == [
        "street: One passage counts in one window (epsilon 0.7) and in at most one total of the day "
        "(epsilon 0.3): together at most 1. Who passes here 4 times a day comes to 4 × 1 = 4. "
        "Along more sensors that adds up."
    ]
    (dutch,) = run(folder, "--day", "2026-05-01", "--language", "nl", "--json")[1]["figures"]["statements"]
    assert "(epsilon 0,7)" in dutch
    assert "komt op 4 × 1 = 4. Langs meer sensoren telt dat op." in dutch


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("en", "street: One passage counts in one window (epsilon 0.7); no total of this day was accounted"),
        (
            "nl",
            "street: Eén passage telt mee in één meetvenster (epsilon 0,7); een dagtotaal is over deze dag",
        ),
    ],
)
def test_a_day_that_is_not_over_has_no_total_of_epsilon_nothing(code: str, said: str) -> None:
    today = Spent("street", 5, "2026-05-01", 1, 1, 3, 2_100_000, 0, 700_000, 0, 700_000, 4)
    (sentence,) = statements([today], languages()[code])
    assert sentence.startswith(said)
    assert ("4 × 0.7 = 2.8." if code == "en" else "4 × 0,7 = 2,8.") in sentence


def test_a_year_adds_up_at_the_dearest_sensor(folder: Path) -> None:
    spent = run(folder, "--year", "2026", "--json")[1]["figures"]["spent"]
    assert [(row["deployment"], row["when"], row["days"], row["m_assumed"]) for row in spent] == [
        ("gone", "2026", 1, None),
        ("street", "2026", 2, 4),
    ]
    street = spent[1]
    # One passage on each of two days: 0.7 + 0.3, and 0.7 + 0.3 again.
    assert (street["epsilon_passage"], street["epsilon_person"]) == (2.0, 8.0)
    assert (street["epsilon_of_windows"], street["epsilon_of_days"]) == (3.85, 0.75)
    assert street["epsilon_passage_at_every_sensor"] == 2.5
    said = run(folder, "--year", "2026")[1]
    assert "on each of the 2 days counts for 1.4 in windows and 0.6 in totals of days: together 2." in said
    assert "gone: there is no record any more" in said


def test_one_deployment_a_table_and_nothing(folder: Path) -> None:
    code, said = run(folder, "--year", "2026", "--deployment", "street", "--language", "nl")
    assert code == 0
    assert "gone" not in said
    assert said.startswith("inzet street")
    # On a terminal of eighty columns nothing is cut off.
    assert "…" not in said
    assert ["bicycle_towards", "2026", "2", "7", "2", "8"] in [line.split() for line in said.splitlines()]
    assert run(folder, "--day", "2026-04-29") == (0, "Nothing was accounted in this time.\n")
    assert run(folder, "--year", "2020", "--deployment", "street", "--language", "nl") == (
        0,
        "In deze periode is er niets verrekend.\n",
    )
    # Without a day: yesterday and today, by the gateway's clock.
    assert run(folder)[0] == 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--day", "yesterday"], "--day: found 'yesterday', wanted a date as 2026-05-01"),
        (["--day", "2026-05-01", "--year", "2026"], "found --day and --year, wanted one of them"),
        (["--language", "fr"], "found 'fr', wanted nl or en"),
        (["--deployment", "none"], "--deployment: found no record and no line of 'none'"),
    ],
)
def test_bad_input(folder: Path, words: list[str], error: str) -> None:
    code, said = run(folder, *words)
    assert code == 2
    assert error in said
