"""An annex tells what the last audits found, of which code, and says so when there is none or it failed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from dossier import DOSSIER
from typer.testing import CliRunner

from peilmerk_bench.audit.attacks import campaign
from peilmerk_bench.audit.attacks.score import OURS, WEAK, NotAttacked, Score
from peilmerk_bench.audit.audited import Sources
from peilmerk_bench.audit.auditor import Plan, audit
from peilmerk_bench.audit.overlay import AuditError
from peilmerk_gateway.deployments.cli import app
from peilmerk_gateway.deployments.exports import audits
from peilmerk_provisioning.bundle import firmware_folder

PART = {"nl": "NIET DE HELE TOETSING VAN DEZE UITGAVE", "en": "NOT THE WHOLE AUDIT OF THIS RELEASE"}
WELL = {"nl": "alles zoals het moet", "en": "all as it must be"}


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


def attacks(*won_on_ours: bool, plan: campaign.Plan | None = None) -> dict[str, Any]:
    """The report of a campaign, of a whole one unless `plan` says otherwise, as the command makes it."""
    made = campaign.Plan.of() if plan is None else plan
    ours = [
        Score(f"attack-{n}", OURS, "share", float(won), 0.0, 0.5, 0.0, 10)
        for n, won in enumerate(won_on_ours)
    ]
    weak = [Score(one.attack, WEAK, "share", 1.0, 0.0, 0.5, 0.0, 10) for one in ours]
    return campaign.result([*ours, *weak], Sources.of(), made.left_out)


def integers(firmware: Path | None = None) -> dict[str, Any]:
    """The report of the shortest part of the privacy audit."""
    return audit(Plan.of(parts=["integers"], firmware=firmware))


def whole(report: dict[str, Any]) -> dict[str, Any]:
    """The same, as if nothing had been left out: the whole audit takes minutes."""
    report["figures"]["audited"] |= {"complete": True, "left_out": []}
    return report


def firmware_copy(folder: Path) -> Path:
    return Path(shutil.copytree(firmware_folder(), folder, ignore=shutil.ignore_patterns("__pycache__")))


def test_without_an_audit_it_says_so(record: Path) -> None:
    for language, words in (("nl", "Er is geen uitslag van een toetsing"), ("en", "No outcome of an audit")):
        code, text, _ = annex(record, language=language)
        assert code == 0
        assert words in text


def test_a_report_of_the_audit_itself_is_told_with_its_figures(record: Path, tmp_path: Path) -> None:
    report = whole(integers())
    report["figures"]["largest"] = 0.0119
    report["figures"]["mutants"] = [{"killed": True}, {"killed": False}]
    code, text, _ = annex(record, saved(tmp_path, report))
    assert code == 0
    at = report["figures"]["audited"]["at"]
    assert f"| Ended | {at[:10]} {at[11:16]} UTC |" in text
    assert "| Audit | peilmerk audit privacy |" in text
    assert f"| Release and code audited | Peilmerk 0.1.0, {audits.code_digest()[:16]} |" in text
    firmware = audits.firmware_digest()
    assert firmware is not None
    assert f"| Firmware audited | {firmware[:16]}, that of the release audited |" in text
    assert "| Code and firmware | the same as here, where this document was made |" in text
    assert "| Outcome | all as it must be |" in text
    assert "| Largest excess over what is promised | 0.0119 (limit 0.03) |" in text
    dutch = annex(record, saved(tmp_path, report), language="nl")[1]
    assert "| Grootste afwijking van het beloofde | 0,0119 (grens 0,03) |" in dutch
    assert f"| Spoiled versions that were noticed | 1 of {report['figures']['mutants_known']} |" in text


def test_attacks_that_won_and_code_that_is_another_are_told_plainly(record: Path, tmp_path: Path) -> None:
    report = attacks(False, True, False)
    report["figures"]["audited"]["code"] = "0" * 64
    code, text, _ = annex(record, saved(tmp_path, report), language="nl")
    assert code == 0
    assert "| Uitslag | NIET GOED |" in text
    assert "| Aanvallen op wat is gepubliceerd die niets vonden | 2 van 3 |" in text
    assert "| Dezelfde aanvallen die een zwakke publicatie wel braken | 3 van 3 |" in text
    assert "| Code en firmware | andere dan hier, waar dit stuk is gemaakt: de uitslag geldt" in text
    assert "Grootste afwijking" not in text


def test_two_reports_are_two_tables(record: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    both = (saved(tmp_path, whole(integers())), saved(tmp_path / "b", attacks(False)))
    _, text, _ = annex(record, *both)
    assert text.count("| Outcome | all as it must be |") == 2
    assert "Largest excess" not in text, "nothing was drawn"


@pytest.mark.parametrize("language", ["nl", "en"])
def test_firmware_that_is_not_the_releases_is_told(record: Path, tmp_path: Path, language: str) -> None:
    mine = firmware_copy(tmp_path / "mine")
    same = integers(mine)["figures"]["audited"]["firmware"]
    assert same == {"sha256": audits.firmware_digest(), "shipped": True}, "wherever it lies"
    release = mine / "node" / "release.py"
    release.write_text(release.read_text() + "# another\n")
    report = integers(mine)
    assert report["ok"] is True
    assert report["figures"]["audited"]["firmware"]["shipped"] is False
    assert "the firmware of this release" in report["figures"]["audited"]["left_out"]
    # Whatever a report says of itself, its digest is not that of the firmware that is here.
    for told in (report, whole(report)):
        _, text, _ = annex(record, saved(tmp_path, told), language=language)
        wanted = {
            "nl": ("NIET DIE BIJ DE UITGAVE HOORT", "andere dan hier, waar dit stuk is gemaakt"),
            "en": ("NOT THAT OF THE RELEASE", "others than here, where this document was made"),
        }[language]
        assert all(words in text for words in wanted)
    report["figures"]["audited"]["firmware"]["shipped"] = True
    assert wanted[1] in annex(record, saved(tmp_path, report), language=language)[1]


def test_firmware_here_that_was_changed_since_is_another(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = saved(tmp_path, whole(integers()))
    mine = firmware_copy(tmp_path / "mine")
    monkeypatch.setattr(audits, "shipped_firmware", lambda: mine)
    same = "| Code and firmware | the same as here"
    assert same in annex(record, report)[1]
    (mine / "node" / "portal" / "pages.html").write_text("another")
    assert same not in annex(record, report)[1]
    monkeypatch.setattr(audits, "shipped_firmware", lambda: None)
    assert same not in annex(record, report)[1]


@pytest.mark.parametrize("language", ["nl", "en"])
def test_a_part_of_an_audit_is_never_all_as_it_must_be(record: Path, tmp_path: Path, language: str) -> None:
    some_days = campaign.Plan.of((), 20)
    one_attack = campaign.Plan.of(["timing"])
    assert campaign.Plan.of().left_out == Plan.of().left_out == []
    for report in (integers(), attacks(False, plan=some_days), attacks(False, plan=one_attack)):
        assert report["ok"] is True
        _, text, _ = annex(record, saved(tmp_path, report), language=language)
        assert f"| {PART[language]} |" in text
        assert WELL[language] not in text
    failed = attacks(True, plan=one_attack)
    _, text, _ = annex(record, saved(tmp_path, failed), language=language)
    assert f"| {'NIET GOED' if language == 'nl' else 'FAILED'}; {PART[language]} |" in text
    _, text, _ = annex(record, saved(tmp_path, attacks(False)), language=language)
    assert f"| {WELL[language]} |" in text
    assert PART[language] not in text


@pytest.mark.parametrize(
    ("plan", "left_out"),
    [
        (Plan.of(parts=["noise"]), "part mutants"),
        (Plan.of(profiles=["strict"]), "profile crowd"),
        (Plan.of(mutants=["one-sided"]), "mutant true-threshold"),
        (Plan.of(samples=20_000), "40000 of 60000 samples"),
        (campaign.Plan.of(["size"]), "attack downgrade"),
        (campaign.Plan.of((), 20), "100 of 120 days"),
        (campaign.Plan(homes=1), "199 of 200 homes"),
    ],
)
def test_what_was_left_out_is_in_the_report(plan: Plan | campaign.Plan, left_out: str) -> None:
    assert left_out in plan.left_out


def test_an_attack_that_could_not_be_made_was_left_out() -> None:
    why = [NotAttacked("size", OURS, "no bytes")]
    told = campaign.result([], Sources.of(), [], why)["figures"]["audited"]
    assert (told["complete"], told["left_out"]) == (False, ["attack size"])


def test_code_that_changes_while_it_is_audited_has_no_report(tmp_path: Path) -> None:
    mine = firmware_copy(tmp_path / "mine")

    def changed(_: str) -> None:
        (mine / "node" / "late.py").write_text("")

    with pytest.raises(AuditError, match="found the code changed while it was audited, wanted it at rest"):
        audit(Plan.of(parts=["integers"], firmware=mine), changed)


def _without(report: dict[str, Any], name: str) -> dict[str, Any]:
    del report["figures"][name]
    return report


def _unaudited(name: str) -> dict[str, Any]:
    report = attacks(False)
    del report["figures"]["audited"][name]
    return report


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("no report", "found no JSON, wanted what `peilmerk audit … --json` prints"),
        ([1], "name: found None, wanted 'audit privacy' or 'audit attacks'"),
        ({"name": "demo"}, "name: found 'demo', wanted 'audit privacy' or 'audit attacks'"),
        (_without(attacks(False), "audited"), "found a report of audit attacks without 'audited'"),
        # As reports were before they told of firmware and of what was left out.
        (
            _unaudited("firmware"),
            "found a report of audit attacks without 'firmware', wanted one of this release: audit anew",
        ),
        (
            _unaudited("complete"),
            "found a report of audit attacks without 'complete', wanted one of this release: audit anew",
        ),
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


def test_the_digest_follows_the_sources(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "a.py").write_bytes(b"a = 1\n")
    inner = hashlib.sha256(b"a = 1\n").digest()
    first = audits.sources_digest({"node": folder})
    assert first == hashlib.sha256(b"node/a.py\0" + inner).hexdigest()
    (folder / "a.pyc").write_bytes(b"left by Python")
    assert audits.sources_digest({"node": folder}) == first
    (folder / "a.py").rename(folder / "b.py")
    assert audits.sources_digest({"node": folder}) != first
    assert audits.code_digest() != audits.firmware_digest()
    assert audits.shipped_firmware() == firmware_folder()
