"""The policy simulator: its probabilities against plain sums over all that can be seen, and its command."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from peilmerk_bench.policy import attackers, panels
from peilmerk_bench.policy.cli import app
from peilmerk_bench.policy.noise import Noise
from peilmerk_bench.policy.simulate import Policy, choices, outcome
from peilmerk_bench.policy.street import Street
from peilmerk_bench.world.traces import TraceError, counting_days
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.refusal import Reason, sentence
from peilmerk_gateway.web.language import TEXTS, languages, load
from peilmerk_protocol.profile import AIR, STANDARD_COUNTER, Profile

ROOT = Path(__file__).parents[2]
REACH = 150
"""Noise further out than this has less than 1e-16 of probability at the epsilons that are tried here."""
EPSILONS = st.fractions(Fraction(1, 4), 3, max_denominator=20)
TRACE = (
    "timestamp;direction;speed\n"
    "2024-02-26T08:01:00;in;18\n"
    "2024-02-26T08:02:00;in;\n"
    "2024-02-26T08:16:00;out;20\n"
    "2024-02-27T23:59:59;in;15\n"
)


def drawn(epsilon: Fraction | None, z: int) -> float:
    """The probability of noise z, written down from the paper and not from the code."""
    if epsilon is None:
        return float(z == 0)
    q = math.exp(-epsilon)
    return (1 - q) / (1 + q) * q ** abs(z)


def seen(epsilon: Fraction | None, count: int, k: int | None) -> Counter[int | None]:
    """What can be published of a count, with its probabilities; None is withheld."""
    found: Counter[int | None] = Counter()
    for z in range(-REACH, REACH + 1):
        shown = count + z
        found[None if k is not None and shown < k else shown] += drawn(epsilon, z)  # type: ignore[assignment]
    return found


def best_guess(here: Iterable[Counter[int | None]], there: Iterable[Counter[int | None]]) -> float:
    """How often the best guess between two worlds is right, summed over everything that can be seen."""
    here, there = list(here), list(there)
    right = 0.0
    for shown in product(*({*one, *other} for one, other in zip(here, there, strict=True))):
        right += max(
            math.prod(world[s] for world, s in zip(worlds, shown, strict=True)) for worlds in (here, there)
        )
    return right / 2


@given(EPSILONS, st.integers(-30, 30))
def test_noise_is_what_its_sums_say(epsilon: Fraction, z: int) -> None:
    noise = Noise(epsilon)
    values = {y: drawn(epsilon, y) for y in range(-REACH, REACH + 1)}
    assert noise.probability(z) == pytest.approx(values[z])
    assert noise.at_least(z) == pytest.approx(sum(p for y, p in values.items() if y >= z), abs=1e-9)
    assert noise.error_at_least(z) == pytest.approx(
        sum(abs(y) * p for y, p in values.items() if y >= z), abs=1e-9
    )
    assert noise.error == pytest.approx(sum(abs(y) * p for y, p in values.items()))
    assert noise.sd == pytest.approx(math.sqrt(sum(y * y * p for y, p in values.items())))
    assert drawn(epsilon, noise.reach + 1) < 1e-11


def test_without_noise_nothing_is_off() -> None:
    exact = Noise(None)
    assert (exact.sd, exact.error, exact.reach) == (0.0, 0.0, 0)
    assert [exact.at_least(z) for z in (-1, 0, 1)] == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=r"found epsilon 0, wanted more than 0"):
        Noise(Fraction(0))


@given(EPSILONS, st.integers(0, 12), st.integers(1, 4), st.one_of(st.none(), st.integers(0, 12)))
def test_the_best_guess_of_presence_is_the_sum_over_all_that_can_be_seen(
    epsilon: Fraction, count: int, shift: int, k: int | None
) -> None:
    # `count` has the passages of the person in it.
    floor = None if k is None else k - count
    fast = attackers.presence(attackers.release(Noise(epsilon), shift, floor))
    slow = best_guess([seen(epsilon, count, k)], [seen(epsilon, count - shift, k)])
    assert fast == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize(
    ("leaf", "day"),
    [(Fraction(7, 10), Fraction(3, 10)), (Fraction(1, 2), Fraction(1, 2)), (Fraction(3), Fraction(1))],
)
def test_window_and_day_together_tell_what_both_tell(leaf: Fraction, day: Fraction) -> None:
    fast = attackers.presence(attackers.release(Noise(leaf), 1, 8), attackers.release(Noise(day), 1))
    slow = best_guess([seen(leaf, 2, 10), seen(day, 40, None)], [seen(leaf, 1, 10), seen(day, 39, None)])
    assert fast == pytest.approx(slow, abs=1e-9)
    # Neyman and Pearson's bound for pure differential privacy.
    assert fast <= 1 / (1 + math.exp(-(leaf + day))) + 1e-9


@pytest.mark.parametrize("times", [1, 2, 3])
def test_passages_in_windows_of_their_own_tell_what_each_tells(times: int) -> None:
    leaf = Fraction(7, 10)
    right = Noise(leaf).at_least(0)
    advantage = 0.0
    for signs in product((True, False), repeat=times):
        here = math.prod(right if sign else 1 - right for sign in signs)
        there = math.prod(1 - right if sign else right for sign in signs)
        advantage += max(0.0, here - there)
    assert attackers.presence(attackers.windows_apart(Noise(leaf), times)) == pytest.approx(
        0.5 + advantage / 2
    )
    one = attackers.presence(attackers.release(Noise(leaf), 1))
    assert attackers.presence(attackers.windows_apart(Noise(leaf), 1)) == pytest.approx(one)


def test_a_guesser_of_counts_uses_what_is_withheld_and_what_is_usual() -> None:
    histogram, epsilon, k = {0: 5, 3: 3, 12: 2}, Fraction(7, 10), 5
    right = 0.0
    for shown in range(-REACH, REACH + 13):
        if shown >= k:
            right += max(n / 10 * drawn(epsilon, shown - count) for count, n in histogram.items())
    right += max(
        n / 10 * sum(drawn(epsilon, z) for z in range(-REACH, REACH + 1) if count + z < k)
        for count, n in histogram.items()
    )
    found, blind = attackers.reading(histogram, Noise(epsilon), k)
    assert found == pytest.approx(right, abs=1e-9)
    assert blind == 0.5
    assert attackers.reading(histogram, Noise(None), 0) == (1.0, 0.5)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "street.csv"
    file.write_text(TRACE)
    return file


def test_a_trace_of_two_days_has_two_days(trace: Path) -> None:
    assert {str(day): len(found) for day, found in counting_days(trace).items()} == {
        "2024-02-26": 3,
        "2024-02-27": 1,
    }
    street = Street.of(trace)
    assert (street.days, street.total, sorted(street.totals)) == (2, 4, [0, 1, 1, 2])
    # Two days of two directions: 4 x 96 quarters, of which three have passages.
    assert street.histogram(900) == {0: 381, 1: 2, 2: 1}
    assert street.histogram(86_400) == {0: 1, 1: 2, 2: 1}
    trace.write_text("timestamp;direction;speed\n")
    with pytest.raises(TraceError, match="no passages"):
        counting_days(trace)


def test_an_exact_policy_is_worked_out_by_hand(trace: Path) -> None:
    found = outcome(Street.of(trace), Policy(None, Fraction(0), 2, 900, 4))
    assert found.passages_mean == 2.0
    assert found.error == found.error_share == 0.0
    assert found.withheld_windows == pytest.approx(383 / 384)
    assert found.withheld_passages == pytest.approx(0.5)
    assert found.day_sd is found.epsilon_person is found.withheld_days is None
    # One of two: who passed alone is withheld with everybody else; of two, everybody is told.
    assert found.passage == pytest.approx((2 * 0.5 + 2 * 1.0) / 4)
    assert found.person_together == 1.0


def test_more_noise_is_more_error_and_less_to_guess() -> None:
    street = Street.of()
    agreed = Policy(Fraction(7, 10), Fraction(3, 10), 10, 900, 4)
    row = [
        outcome(street, agreed.with_epsilon(epsilon))
        for epsilon in (Fraction(1, 2), Fraction(1), Fraction(4), None)
    ]
    errors = [found.error for found in row]
    assert errors == sorted(errors, reverse=True)
    for attack in ("passage", "passage_most", "person_apart", "person_together", "reading"):
        guessed = [getattr(found, attack) for found in row]
        assert guessed == sorted(guessed), attack
    assert row[1].policy == agreed
    assert row[1].epsilon_person == 4
    half = row[0].policy
    assert (half.epsilon_leaf, half.epsilon_day) == (Fraction(7, 20), Fraction(3, 20))


def test_choices_have_the_agreed_one_and_no_noise_among_them() -> None:
    agreed = Policy(Fraction(7, 10), Fraction(3, 10), 10, 900, 4)
    found = list(choices(agreed, [Fraction(2)], [5], [3600]))
    assert len(found) == len(set(found)) == 3 * 2 * 2
    assert agreed in found
    assert sum(policy.epsilon is None for policy in found) == 4


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


def test_guesses_begin_where_nothing_is_published() -> None:
    street = Street.of()
    agreed = Policy(Fraction(7, 10), Fraction(3, 10), 10, 900, 4)
    found = [outcome(street, policy) for policy in choices(agreed, [Fraction(2)], [], [300])]
    error, withheld, person, reading = panels.panels(found, agreed, languages()["en"])
    for panel in (person, reading):
        assert panel.choices == ("nothing", "1", "2", "no noise")
    assert {line.values[0] for line in person.lines} == {50.0}
    assert (person.marks[0], person.note) == (50.0, "begins at 50 %: as good as a coin")
    blind = {o.policy.window_s: 100 * o.reading_blind for o in found}
    assert [line.values[0] for line in reading.lines] == [blind[300], blind[900]]
    # The ring is on the record's own choice all the same.
    assert [(line.values[1], line.chosen) for line in reading.lines][1] == (
        100 * next(o.reading for o in found if o.policy == agreed),
        1,
    )
    assert error.choices == ("1", "2", "no noise"), "of what is not published nothing is off"
    assert (error.marks[-1], error.cap) == (50.0, "ends at 50 %: what is above is not drawn")
    assert withheld.note is withheld.cap is None


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
