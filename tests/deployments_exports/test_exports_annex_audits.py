"""An annex tells what the last audits found, of which code, and says so when there is none or it failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dossier import DOSSIER
from typer.testing import CliRunner

from peilmerk_bench.audit.attacks.campaign import result
from peilmerk_bench.audit.attacks.score import OURS, WEAK, Score
from peilmerk_bench.audit.auditor import Plan, audit
from peilmerk_gateway.deployments.cli import app
from peilmerk_gateway.deployments.exports import audits


@pytest.fixture
def record(tmp_path: Path) -> Path:
    file = tmp_path / "havenstraat.toml"
    file.write_text(DOSSIER)
    return file


def saved(folder: Path, report: Any) -> Path:
    file = folder / "report.json"
    file.write_text(report if isinstance(report, str) else json.dumps(report))
    return file


def annex(record: Path, *reports: Path, language: str = "en") -> tuple[int, str, str]:
    words = ["export", str(record), "--as", "annex", "--language", language]
    answer = CliRunner().invoke(app, [*words, *(f"--audit={report}" for report in reports)])
    return answer.exit_code, answer.stdout, answer.stderr


def attacks(*won_on_ours: bool) -> dict[str, Any]:
    """The report of a campaign, as the command makes it."""
    ours = [
        Score(f"attack-{n}", OURS, "share", float(won), 0.0, 0.5, 0.0, 10)
        for n, won in enumerate(won_on_ours)
    ]
    return result([*ours, *(Score(one.attack, WEAK, "share", 1.0, 0.0, 0.5, 0.0, 10) for one in ours)])


def test_without_an_audit_it_says_so(record: Path) -> None:
    for language, words in (("nl", "Er is geen uitslag van een toetsing"), ("en", "No outcome of an audit")):
        code, text, _ = annex(record, language=language)
        assert code == 0
        assert words in text


def test_a_report_of_the_audit_itself_is_told_with_its_figures(record: Path, tmp_path: Path) -> None:
    report = audit(Plan.of(parts=["integers"]))
    report["figures"]["largest"] = 0.0119
    report["figures"]["mutants"] = [{"killed": True}, {"killed": False}]
    code, text, _ = annex(record, saved(tmp_path, report))
    assert code == 0
    at = report["figures"]["audited"]["at"]
    assert f"| Ended | {at[:10]} {at[11:16]} UTC |" in text
    assert "| Audit | peilmerk audit privacy |" in text
    assert f"| Release and code audited | Peilmerk 0.1.0, {audits.code_digest()[:16]} |" in text
    assert "| Code | the same as made this document |" in text
    assert "| Outcome | all as it must be |" in text
    assert "| Largest excess over what is promised | 0.0119 (limit 0.03) |" in text
    assert f"| Spoiled versions that were noticed | 1 of {report['figures']['mutants_known']} |" in text


def test_attacks_that_won_and_code_that_is_another_are_told_plainly(record: Path, tmp_path: Path) -> None:
    report = attacks(False, True, False)
    report["figures"]["audited"]["code"] = "0" * 64
    code, text, _ = annex(record, saved(tmp_path, report), language="nl")
    assert code == 0
    assert "| Uitslag | NIET GOED |" in text
    assert "| Aanvallen op wat is gepubliceerd die niets vonden | 2 van 3 |" in text
    assert "| Dezelfde aanvallen die een zwakke publicatie wel braken | 3 van 3 |" in text
    assert "een andere dan die dit stuk maakte" in text
    assert "Grootste afwijking" not in text


def test_two_reports_are_two_tables(record: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    both = (saved(tmp_path, audit(Plan.of(parts=["integers"]))), saved(tmp_path / "b", attacks(False)))
    _, text, _ = annex(record, *both)
    assert text.count("| Outcome | all as it must be |") == 2
    assert "Largest excess" not in text, "nothing was drawn"


def _without(report: dict[str, Any], name: str) -> dict[str, Any]:
    del report["figures"][name]
    return report


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("no report", "found no JSON, wanted what `peilmerk audit … --json` prints"),
        ([1], "name: found None, wanted 'audit privacy' or 'audit attacks'"),
        ({"name": "demo"}, "name: found 'demo', wanted 'audit privacy' or 'audit attacks'"),
        (_without(attacks(False), "audited"), "found a report of audit attacks without 'audited'"),
        (_without(attacks(False), "lost"), "found a report of audit attacks without 'lost'"),
    ],
)
def test_what_is_no_report_is_refused(record: Path, tmp_path: Path, report: Any, said: str) -> None:
    file = saved(tmp_path, report)
    code, out, err = annex(record, file)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}: {said}")


def test_an_audit_goes_with_an_annex_only(record: Path, tmp_path: Path) -> None:
    report = saved(tmp_path, attacks(False))
    answer = CliRunner().invoke(app, ["export", str(record), "--as", "dtpr", "--audit", str(report)])
    assert answer.exit_code == 2
    assert "--audit: found --as dtpr, wanted annex" in answer.stderr
    code, _, err = annex(record, tmp_path / "none.json")
    assert (code, err) == (
        2,
        f"error: {tmp_path}/none.json: No such file or directory, wanted the report of an audit\n",
    )


def test_the_digest_follows_the_code() -> None:
    assert len(audits.code_digest()) == 64
    assert audits.code_digest() == audits.code_digest()
