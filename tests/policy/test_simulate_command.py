"""`peilmerk deployment simulate`: what it prints and draws, of records and of drafts, and what it refuses."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from all_that_is_seen import TRACE, best_guess, seen
from typer.testing import CliRunner

from peilmerk_bench.policy.cli import app
from peilmerk_bench.policy.street import Street
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.web.language import TEXTS, load
from peilmerk_protocol.profile import AIR, STANDARD_COUNTER, Profile

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "street.csv"
    file.write_text(TRACE)
    return file


def written(folder: Path, profile: Profile = STANDARD_COUNTER) -> Path:
    """A record in force."""
    file = folder / "kade.toml"
    device = NewDevice("paal-1", "a" * 16, bytes(32), "counter", "model")
    file.write_text(
        new_record(
            id="kade",
            description="Kade, at the bridge",
            longitude=5.12,
            latitude=52.09,
            devices=[device],
            profile=profile,
            notified_at=date(2022, 12, 1),
            active_from=date(2023, 1, 1),
            active_until=date(2030, 12, 31),
            organisation="Gemeente Voorbeeld",
            contact="sensoren@voorbeeld.example",
        )
    )
    return file


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run() -> Run:
    def invoke(*words: str | Path) -> tuple[int, str, str]:
        answer = CliRunner().invoke(app, [str(word) for word in words])
        return answer.exit_code, answer.stdout, answer.stderr

    return invoke


FEW = ("--epsilon", "0.5,1", "--k", "5", "--window", "15,60")
SVG = "{http://www.w3.org/2000/svg}"


def without(file: Path, *keys: str) -> Path:
    """The same record without some lines: a draft."""
    lines = file.read_text("utf-8").splitlines()
    file.write_text("\n".join(line for line in lines if line.partition(" = ")[0] not in keys))
    return file


def test_json_has_every_choice_with_its_figures(tmp_path: Path, run: Run) -> None:
    code, out, _ = run(written(tmp_path), *FEW, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["name"], told["ok"], told["limits"]) == ("deployment simulate", True, {})
    figures = told["figures"]
    assert figures["trace"]["passages"] == 1095
    # Two windows, thresholds 5 and the record's 10, epsilons 0.5, 1 and none.
    assert len(figures["outcomes"]) == 12
    assert figures["agreed"] in figures["outcomes"]
    agreed = figures["agreed"]
    assert (agreed["epsilon"], agreed["k"], agreed["window_s"], agreed["epsilon_person"]) == (
        1.0,
        10,
        900,
        4.0,
    )
    epsilons = (Fraction(7, 10), Fraction(3, 10))
    most = best_guess(*([seen(epsilon, count, None) for epsilon in epsilons] for count in (1, 0)))
    assert agreed["attacks"]["passage_at_most"] == {"right": round(most, 4), "blind": 0.5}
    assert (figures["draft"], figures["refusals"], figures["refusals_are_all"]) == (False, [], True)
    exact = [found for found in figures["outcomes"] if found["epsilon"] is None]
    assert all(found["error"] == 0.0 and found["epsilon_person"] is None for found in exact)
    assert run(written(tmp_path), *FEW, "--json")[1] == out, "nothing is drawn"


def test_people_read_sentences_and_tables_that_fit_a_terminal(tmp_path: Path, run: Run) -> None:
    for language, words in (("nl", "wie 4 keer per dag langskomt"), ("en", "who passes 4 times a day")):
        code, out, _ = run(written(tmp_path), *FEW, "--language", language)
        assert code == 0
        assert words in " ".join(out.split())
        assert max(map(len, out.splitlines())) <= 80
        assert "…" not in out
        assert len(re.findall(r"^\*", out, re.MULTILINE)) == 4, "a star a table and what it means"


@pytest.mark.parametrize("language", ["nl", "en"])
def test_each_row_says_what_guessing_blindly_reaches(tmp_path: Path, run: Run, language: str) -> None:
    code, out, _ = run(written(tmp_path), "--language", language)
    assert code == 0
    # Of the windows of 5, 15 and 60 minutes of the shipped street, this share has the commonest count.
    for minutes, blind in ((5, 41), (15, 26), (60, 15)):
        counts = Street.of().histogram(60 * minutes)
        assert round(100 * max(counts.values()) / counts.total()) == blind
        row = rf"^\*? +{minutes} .* \d+ \({blind}\) *$"
        assert re.search(row, out, re.MULTILINE), minutes
    assert len(re.findall(r" \(26\) *$", out, re.MULTILINE)) == 6 + 4 + 1


def test_where_nothing_is_published_no_figure_is_said_to_be_right(tmp_path: Path, run: Run) -> None:
    none = ("--k", "500", "--epsilon", "1", "--window", "15")
    code, out, _ = run(written(tmp_path), *none, "--json")
    assert code == 0
    for found in json.loads(out)["figures"]["outcomes"]:
        is_told = found["k"] == 10
        assert all((found[name] is not None) is is_told for name in ("passages_mean", "error", "error_share"))
    assert re.search(r"^ +500 +- +- +100 +100 ", run(written(tmp_path), *none)[1], re.MULTILINE)


def test_what_is_off_by_more_than_the_scale_leaves_it_at_the_top(tmp_path: Path, run: Run) -> None:
    svg = tmp_path / "kade.svg"
    few = ("--epsilon", "0.25,1", "--k", "10", "--window", "5,15", "--language", "nl", "--svg", svg)
    assert run(written(tmp_path), *few)[0] == 0
    text = svg.read_text("utf-8")
    assert "eindigt bij 50 %: wat daarboven ligt, is niet getekend" in text
    assert "begint bij 50 %: zo goed als een munt" in text
    # 5 and 15 minutes at epsilon 0.25: 376 % and 69 %, said in words and pointed at.
    assert re.search(r"5 minuten: 0,25: 37\d,\d %, 1: ", text)
    assert text.count("v-10m-3.5 4l3.5 -4l3.5 4") == 2
    top = min(float(y) for y in re.findall(r'<path d="M[\d.]+ ([\d.]+)h\d+', text))
    for path in re.findall(r'<path d="M([^"]+)" fill="none" stroke="[^"]+" stroke-width="2"', text):
        assert all(float(point.split()[1]) >= top - 0.05 for point in path.split("L"))


def test_legends_of_many_lines_stay_within_the_picture(tmp_path: Path, run: Run) -> None:
    svg = tmp_path / "kade.svg"
    assert run(written(tmp_path), "--window", "5,10,15,30,60,120", "--svg", svg)[0] == 0
    for text in ET.fromstring(svg.read_text("utf-8")).iter(f"{SVG}text"):
        if (text.text or "").endswith(" minutes"):
            assert float(text.get("x", "0")) + 7.2 * len(text.text or "") < 960


def test_a_draft_is_worked_out_and_says_what_it_would_be_refused_for(tmp_path: Path, run: Run) -> None:
    whole = json.loads(run(written(tmp_path), *FEW, "--json")[1])["figures"]
    file = without(written(tmp_path), "notified_at", "active_until", "accountable")
    code, out, _ = run(file, *FEW, "--json")
    assert code == 0
    figures = json.loads(out)["figures"]
    assert figures["draft"] is True
    assert [(one["reason"], one["key"]) for one in figures["refusals"]] == [
        ("G1", "active_until"),
        ("G5", "dtpr.accountable"),
        ("G3", "notified_at"),
    ]
    assert figures["outcomes"] == whole["outcomes"]
    svg = tmp_path / "kade.svg"
    for language, word in (("nl", "CONCEPT"), ("en", "DRAFT")):
        code, out, _ = run(file, *FEW, "--language", language, "--svg", svg)
        assert code == 0
        for told in (
            " ".join(out.split()),
            ET.fromstring(svg.read_text("utf-8")).findtext(f"{SVG}desc") or "",
        ):
            assert word in told
            for gate in (Reason.G1, Reason.G3, Reason.G5):
                assert f"{gate}: {sentence(gate, language)}" in told
        assert "(notified_at)" in svg.read_text("utf-8")
    assert "DRAFT" not in run(written(tmp_path), *FEW, "--language", "en")[1]


def test_a_draft_without_terms_to_work_with_is_refused(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "draft.toml"
    terms = 'window_s = 900\nepsilon_leaf = "7/10"\nepsilon_day = "3/10"\nm_assumed = 4\n'
    file.write_text(f"[privacy]\n{terms}k = 10\n")
    code, out, _ = run(file, *FEW, "--json")
    assert (code, json.loads(out)["figures"]["record"]) == (0, "draft")
    for wrong, said in (
        ("", "privacy: not found, wanted a table with window_s, epsilon_leaf, epsilon_day, m_assumed, k"),
        (f"[privacy]\n{terms}", "privacy.k: not found, wanted an answer"),
        (f"[privacy]\n{terms}k = -1\n", "privacy.k: found -1, wanted at least 0"),
        (
            f"[privacy]\n{terms}k = 10\n".replace("m_assumed = 4", "m_assumed = 0"),
            "privacy.m_assumed: found 0, wanted more, because a count needs it",
        ),
    ):
        file.write_text(wrong)
        assert run(file, *FEW) == (1, "", f"error: {file}: {said}\n")


def test_the_picture_stands_alone_and_says_what_it_shows(tmp_path: Path, run: Run) -> None:
    svg = tmp_path / "kade.svg"
    assert run(written(tmp_path), *FEW, "--svg", svg)[0] == 0
    text = svg.read_text("utf-8")
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    about = root.findtext(f"{SVG}desc") or ""
    assert "What the rules of kade mean" in (root.findtext(f"{SVG}title") or "")
    assert "How far off is a figure?" in about
    assert about.count(" %") >= 12
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not {"script", "style", "image"} & {item.tag.removeprefix(SVG) for item in root.iter()}
    # One ring explains, one marks the record's choice on each line that it is on.
    assert text.count('r="7" fill="none"') >= 5
    code, _, err = run(written(tmp_path), *FEW, "--svg", tmp_path / "no" / "kade.svg")
    assert (code, err) == (
        2,
        f"error: {tmp_path}/no/kade.svg: No such file or directory, wanted a file to draw into\n",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epsilon", "0.5,x"), "--epsilon: found 'x', wanted numbers from 0.01 to 20, with commas between"),
        (("--epsilon", "0"), "--epsilon: found '0', wanted numbers from 0.01 to 20"),
        (("--epsilon", "1/0"), "--epsilon: found '1/0', wanted numbers from 0.01 to 20, with commas between"),
        (("--k", "1,2,3,4,5,6,7"), "--k: found 7, wanted at most 6"),
        (("--window", "7"), "--window: found '7', wanted minutes that divide a day"),
        (("--trace", "no.csv"), "no.csv: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, run: Run, words: tuple[str, str], said: str) -> None:
    assert run(written(tmp_path), *words) == (2, "", f"error: {said}\n")


def test_a_record_that_counts_nothing_or_is_none_is_refused(tmp_path: Path, run: Run, trace: Path) -> None:
    code, out, err = run(written(tmp_path, AIR))
    assert (code, out) == (1, "")
    assert "datastreams: found none that counts, wanted one: only counts have an epsilon" in err
    assert run(tmp_path / "none.toml")[0] == 2
    (tmp_path / "broken.toml").write_text("id = ")
    assert run(tmp_path / "broken.toml")[0] == 1
    trace.write_text(TRACE + "2024-02-27T23:59:59;up;15\n")
    code, _, err = run(written(tmp_path), "--trace", trace)
    assert code == 2
    assert "line 6: direction is 'up', wanted one of" in err


def test_every_text_is_used() -> None:
    sources = "".join(file.read_text("utf-8") for file in (ROOT / "bench/peilmerk_bench/policy").glob("*.py"))
    pieces = ("policy.column.", "policy.vary.", "policy.person.", "policy.across.", "policy.picture.")
    for key in load(TEXTS.read_text("utf-8"))["nl"]:
        if key.startswith("policy."):
            assert f'"{key}"' in sources or key.startswith(pieces), key
