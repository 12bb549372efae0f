"""The mathematics of each attack, where it must win and where it must lose, and what files it takes."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peilmerk_bench.audit.attacks import (
    averaging,
    differencing,
    figures,
    gaps,
    linkage,
    location,
    occupancy,
    on_file,
    search,
    threshold,
    timing,
    weak_publisher,
    weak_worlds,
    worlds,
)
from peilmerk_bench.audit.attacks.campaign import NAMES, Plan, above
from peilmerk_bench.audit.attacks.cli import app
from peilmerk_bench.audit.attacks.figures import Figure
from peilmerk_bench.audit.attacks.score import OURS, WEAK, Score, auc, rank_correlation, ranks_of
from peilmerk_bench.audit.overlay import AuditError

RUNNER = CliRunner()
Q = 900.0


def noise(generator: random.Random, epsilon: float = 0.7) -> int:
    """Discrete Laplace, reproducible: for statistics only."""
    one, other = (int(math.log(1 - generator.random()) / -epsilon) for _ in range(2))
    return one - other


def quarter(number: int, value: float | None, length: int = 1, stream: str = "s") -> Figure:
    return Figure(stream, number * Q, (number + length) * Q, value, stream)


@pytest.mark.parametrize("name", list(weak_worlds.OF))
def test_every_attack_wins_on_the_weak_publisher(name: str) -> None:
    scores = weak_worlds.OF[name]()
    assert [one.attack for one in scores if not one.won] == []
    # Not by luck: what chance gives is five standard deviations below the limit.
    assert all(one.margin_sd is None or one.margin_sd > 4.99 for one in scores), scores


def test_ranks_areas_and_correlations_are_those_of_the_textbook() -> None:
    assert ranks_of([3, 1, 3, 2]) == [3.5, 1.0, 3.5, 2.0]
    assert auc([2, 3], [1, 2]) == 0.875
    assert auc([1], [1]) == 0.5
    assert rank_correlation([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4], [5, 5, 5, 5]) == 0.0


def test_differencing_finds_what_sums_give_away_and_nothing_else() -> None:
    rows = [
        quarter(0, 7),
        quarter(1, None),
        quarter(2, 9),
        quarter(3, 8),
        quarter(0, 27, 4),
        quarter(4, None),
    ]
    derived = differencing.derive(rows)
    assert derived.cells == {("s", Q, 2 * Q): 3.0}
    assert (derived.withheld, derived.rings) == (2, 0)
    # Of two that are withheld in one sum neither is known.
    assert differencing.derive([quarter(0, None), quarter(1, None), quarter(0, 9, 2)]).cells == {}
    # A sum of what is published closes a ring, which tells exact figures from noisy ones.
    exact = differencing.derive([quarter(0, 5), quarter(1, 6), quarter(0, 11, 2)])
    noisy = differencing.derive([quarter(0, 5), quarter(1, 6), quarter(0, 13, 2)])
    assert (exact.rings, exact.agreed, noisy.rings, noisy.agreed) == (1, 1, 1, 0)


def test_differencing_loses_where_every_figure_has_noise_of_its_own() -> None:
    generator = random.Random(1)
    counts = [way[0] for way in worlds.quiet_quarters(60, 10)]
    truth = {("s", n * Q, (n + 1) * Q): float(count) for n, count in enumerate(counts)}
    rows: list[Figure] = []
    for n, count in enumerate(counts):
        value = count + noise(generator)
        rows.append(quarter(n, float(value) if value >= 10 else None))
    for n in range(0, len(counts), 96):
        rows.append(quarter(n, float(sum(counts[n : n + 96]) + noise(generator, 0.3)), 96))
    score = differencing.score(OURS, "day less its windows", rows, truth, 10)
    assert not score.won
    # Without the noise in the windows, the day's own hides nothing that matters: sums of ninety-five do.
    plain = [quarter(n, float(count) if count >= 10 else None) for n, count in enumerate(counts)]
    exact = plain + [quarter(n, float(sum(counts[n : n + 96])), 96) for n in range(0, len(counts), 96)]
    assert differencing.score(OURS, "day less its windows", exact, truth, 10).won


def test_averaging_wins_by_asking_again_and_not_where_the_answer_stays() -> None:
    generator = random.Random(2)
    cells = {("s", n * Q, (n + 1) * Q): float(20 + n % 30) for n in range(300)}
    drawn = {cell: count + noise(generator) for cell, count in cells.items()}
    again = [Figure(*cell, cells[cell] + noise(generator)) for cell in cells for _ in range(50)]
    same = [Figure(*cell, drawn[cell]) for cell in cells for _ in range(50)]
    assert averaging.score(WEAK, again, cells, 0.7).won
    score = averaging.score(OURS, same, cells, 0.7)
    assert not score.won
    assert score.score == pytest.approx(score.chance, abs=5 * score.sd)
    assert "0 had more than one answer" in score.detail
    assert averaging.score_without_truth(WEAK, again).won
    assert not averaging.score_without_truth(OURS, same).won


def test_the_threshold_gives_away_what_epsilon_allows_and_no_more() -> None:
    generator = random.Random(3)
    counts = worlds.border(40, 10)
    truth = {
        (stream, n * Q, (n + 1) * Q): float(ways[way])
        for n, ways in enumerate(counts)
        for way, stream in enumerate(("to", "from"))
    }
    partners = {"to": "from", "from": "to"}

    def published(draws: dict[figures.Cell, int]) -> list[Figure]:
        return [
            Figure(*cell, count + draws[cell]) for cell, count in truth.items() if count + draws[cell] >= 10
        ]

    def score(draws: dict[figures.Cell, int]) -> list[Score]:
        return threshold.score(OURS, published(draws), truth, partners, 0.7)

    fair, surest = score({cell: noise(generator) for cell in truth})
    assert not fair.won
    assert not surest.won
    # The attack gets all that there is to get, not just less than allowed.
    assert fair.score == pytest.approx(math.exp(0.7) / (1 + math.exp(0.7)), abs=0.02)
    assert [one.score for one in score(dict.fromkeys(truth, 0))] == [1.0, 1.0]
    assert score({cell: noise(generator, 1.0) for cell in truth})[0].won
    # One draw for both directions: where only one is withheld, both are known.
    shared = {n: noise(generator) for n in range(len(counts))}
    everywhere, surest = score({cell: shared[round(cell[1] / Q)] for cell in truth})
    assert not everywhere.won
    assert (surest.won, surest.score) == (True, 1.0)


def test_occupancy_is_learnt_from_other_days_only() -> None:
    """A label that is noise cannot be learnt, however many streams there are to learn it from."""
    generator = random.Random(4)
    hours = [float(3600 * n) for n in range(1, 24 * 40 + 1)]
    labels = {moment: generator.getrandbits(1) for moment in hours}
    streams = [
        Figure(f"s{number}", moment - 3600, moment, generator.gauss(0, 1))
        for number in range(6)
        for moment in hours
    ]
    score = occupancy.score(OURS, "occupancy", streams, labels)
    assert not score.won
    assert score.score == pytest.approx(0.5, abs=5 * score.sd)
    told = [Figure("air", m - 3600, m, labels[m] + generator.gauss(0, 1)) for m in hours]
    assert occupancy.score(OURS, "occupancy", streams + told, labels).won
    assert occupancy.score(OURS, "occupancy", [], labels).score == 0.5


def test_the_time_of_the_day_earns_nothing() -> None:
    """Who sleeps at home is at home at night: figures that tell the hour alone get no credit for it."""
    hours = [float(3600 * n) for n in range(1, 24 * 20 + 1)]
    generator = random.Random(5)
    at_home = {m: int(generator.random() < (0.95 if m % 86_400 < 8 * 3600 else 0.3)) for m in hours}
    clockwork = [Figure("dark", m - 3600, m, float(m % 86_400 < 8 * 3600)) for m in hours]
    assert occupancy.score(OURS, "occupancy", clockwork, at_home).score == 0.5


def test_a_discriminant_is_solved_rightly() -> None:
    ones, others = [[1.0, 5.0], [3.0, 5.0]], [[0.0, 5.0], [2.0, 5.0]]
    weights = occupancy.discriminant(ones, others)
    # Variance 1 in the first column and none in the second: (2 - 1) / (1 + ridge).
    assert weights == pytest.approx([1 / (1 + occupancy.RIDGE / 2), 0.0], abs=1e-6)
    assert occupancy.discriminant([], others) == [0.0, 0.0]


def test_location_wins_against_blur_and_not_against_a_square() -> None:
    where = {"a": (5.1214, 52.0907), "b": (6.0, 52.5)}
    blurred = {key: [weak_publisher.jittered(*point) for _ in range(3000)] for key, point in where.items()}
    assert all(location.metres(location.mean(blurred[key]), where[key]) < 10 for key in where)
    square = {key: [(x + 0.0005, y + 0.0003)] * 4000 for key, (x, y) in where.items()}
    assert location.score(OURS, square, where).score == 0.0
    assert location.score_constant(OURS, square).score == 0.0
    assert location.score_constant(WEAK, blurred).won
    assert location.metres((5.0, 52.0), (5.0, 52.001)) == pytest.approx(111.3, abs=0.1)


def test_linkage_finds_names_in_any_spelling_and_pairs_by_what_nobody_else_has() -> None:
    found = linkage.found_in(
        {"page": "contact:  W.\n KANARIE"}, {"name": "w. kanarie", "mail": "x@y.example"}
    )
    assert found == {"name": ["page"]}
    one = {"zomer-1": {"id": "AA11"}, "zomer-2": {"id": "BB22", "kind": "beam"}}
    other = {"winter-2": {"id": "AA11"}, "winter-1": {"id": "BB22", "kind": "radar"}}
    same = {"zomer-1": "winter-2", "zomer-2": "winter-1"}
    assert linkage.matches(one, other) == same
    without = [{key: {"kind": "beam"} for key in rows} for rows in (one, other)]
    assert linkage.score_matches(OURS, *without, same).score == 0.0


def test_timing_sees_a_wait_that_grows_with_the_noise_and_no_other() -> None:
    generator = random.Random(6)
    drawn = [noise(generator) for _ in range(5000)]
    late = [abs(z) + generator.expovariate(0.5) for z in drawn]
    early = [generator.expovariate(0.5) for _ in drawn]
    assert timing.score(WEAK, "timing", late, drawn).won
    assert not timing.score(OURS, "timing", early, drawn).won
    # A length that follows from what is published is no news: 20 + z is public here.
    lengths = [len(str(20 + z)) for z in drawn]
    published = [20 + z for z in drawn]
    assert timing.score(OURS, "size", lengths, drawn, published).score == 0.0
    assert timing.score(OURS, "size", lengths, drawn).score > 0


def test_gaps_are_seen_in_messages_and_in_numbers() -> None:
    passed = {float(n): float(n % 3) for n in range(1, 400)}
    everything = {window: number for number, window in enumerate(passed, 5)}
    silent = {w: n for n, w in enumerate((w for w in passed if passed[w]), 5)}
    assert gaps.score(OURS, "silence", gaps.missing(list(passed), everything), passed, 1).score == 0.5
    assert gaps.score(WEAK, "silence", gaps.missing(list(passed), silent), passed, 1).score == 1.0
    # Sent, but with numbers that count what was left out.
    jumping = {w: n for w, n in everything.items() if passed[w]}
    assert min(gaps.missing(list(jumping), jumping).values()) == -1.0
    cells = {n: ("s", n * Q, (n + 1) * Q) for n in range(5)}
    numbers = {cells[0]: 10, cells[4]: 20, ("t", 0.0, Q): 12}
    hidden = [cells[1], cells[2], cells[3]]
    assert gaps.unseen(hidden, numbers) == dict.fromkeys(hidden, 8 / 3)


def test_numbers_are_found_as_text_and_as_python_keeps_them() -> None:
    assert search.numbers_in(b'{"n": 48271, "id": 148271, "x": 4827}') == Counter({48271: 1})
    piece = (1).to_bytes(8, "little") + (48271).to_bytes(4, "little") + bytes(4)
    assert search.numbers_in(piece)[48271] == 1
    assert search.numbers_of_columns([(48271, None, "a 51234", b"61234", True)]) == Counter(
        [48271, 51234, 61234]
    )


def test_exact_counts_are_told_from_numbers_that_are_everywhere() -> None:
    everywhere = Counter(range(20_000, 30_000))
    canaries, decoys = range(20_000, 20_400), range(25_000, 25_400)
    after = everywhere + Counter(canaries)
    found = search.score_counts(WEAK, "memory", everywhere, after, canaries, decoys, canaries)
    assert (found.score, found.chance, found.won) == (1.0, 0.0, True)
    nothing = search.score_counts(OURS, "memory", everywhere, everywhere, canaries, decoys, canaries)
    assert (nothing.score, nothing.won) == (0.0, False)
    # More of every number, canary or decoy, is no news.
    more = Counter(dict.fromkeys(everywhere, 2))
    assert not search.score_counts(OURS, "memory", everywhere, more, canaries, decoys, canaries).won
    secret = bytes(range(32))
    spilt = search.score_secrets(WEAK, "log", {"log": secret.hex().upper().encode()}, {"key": secret})
    assert spilt.won
    assert not search.score_secrets(OURS, "log", {"log": b"batch stored"}, {"key": secret}).won


def test_a_campaign_fails_on_either_side() -> None:
    def row(side: str, score: float) -> Score:
        return Score("averaging", side, "share", score, 0.3, 0.5, 0.01, 100)

    assert above([row(OURS, 0.5), row(WEAK, 0.9)]) == []
    assert above([row(OURS, 0.51), row(WEAK, 0.5)]) == [
        "averaging: share: 0.5100, limit 0.5000: won on our output",
        "averaging: share: 0.5000, limit 0.5000: lost on the weak publisher, so it proves nothing",
    ]


def test_the_worlds_are_the_same_in_every_run() -> None:
    assert worlds.recorded_days(1) == worlds.recorded_days(1)
    home = worlds.home(2)
    assert home.indoor == worlds.home(2).indoor
    assert len(home.front()) == 48
    assert [len(row) for row in home.front()] == [16] * 48
    assert set(home.at(3600)) == {worlds.BEGAN + 3600.0 * n for n in range(1, 49)}
    assert {tuple(row) for row in worlds.border(3, 10)} == {(9, 9), (9, 10), (10, 9), (10, 10)}


CSV = "stream;start;end;value\n"


def test_files_are_read_as_cities_write_them(tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(
        CSV + "a;2026-05-01T10:00:00+02:00;2026-05-01T10:15:00+02:00;12\na;1777622400;1777623300;\n"
    )
    one, other = figures.read(file)
    assert (one.stream, one.end - one.start, one.value, one.thing) == ("a", 900, 12, "a")
    assert (other.start, other.value) == (1777622400, None)
    again = tmp_path / "again.csv"
    figures.write(again, [one, other])
    assert figures.read(again) == [one, other]
    js = tmp_path / "counts.json"
    js.write_text(json.dumps({"figures": [{"stream": "a", "start": 0, "end": 900, "value": None}]}))
    assert figures.read(js) == [Figure("a", 0, 900, None, "a")]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "found no figures, wanted some"),
        (
            "start,end,value\n1,2,3\n",
            "row 1: found no 'stream' among start, end, value, wanted stream, start",
        ),
        (
            CSV + "a;0;900;many\n",
            "row 1: could not convert string to float: 'many', wanted a number or a moment",
        ),
        (CSV + "a;0;900;1\na;yesterday;900;1\n", "row 2: Invalid isoformat string: 'yesterday', wanted"),
        (CSV + "a;900;900;1\n", "row 1: found a window from 900 to 900, wanted its end after its start"),
        (CSV + "a;0;900;nan\n", "row 1: found nan, wanted a number or a moment"),
        (CSV + "a;0;900;1;2;3\n", "row 1: found 6 cells, wanted 4"),
        (CSV + "a;0;900\n", "row 1: found 3 cells, wanted 4"),
        ("[1, 2]", "found another form, wanted a list of objects"),
        ('{"figures": [', "found no JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_its_row(text: str, error: str, tmp_path: Path) -> None:
    file = tmp_path / "counts"
    file.write_text(text)
    with pytest.raises(AuditError) as caught:
        figures.read(file)
    assert str(file) in str(caught.value)
    assert error in str(caught.value)


def test_a_file_of_a_city_that_suppresses_and_adds_up_is_broken(tmp_path: Path) -> None:
    file, truth = tmp_path / "counts.csv", tmp_path / "truth.csv"
    figures.write(file, weak_worlds.hours())
    figures.write(truth, [Figure(*cell, count) for cell, count in weak_worlds.street().truth().items()])
    for more in ([], ["--truth", str(truth)]):
        done = RUNNER.invoke(app, ["--file", str(file), "--json", *more])
        assert done.exit_code == 1, done.output
        found = json.loads(done.stdout)
        assert (found["name"], found["ok"], found["limits"]) == (
            "audit attacks",
            False,
            {"won": 0, "lost_on_weak": 0},
        )
        assert (found["figures"]["attacks"], found["figures"]["lost"]) == (1, 0)
        assert found["figures"]["won_on_weak"] == found["figures"]["weak_attacks"] == 1
        audited = found["figures"]["audited"]
        assert (audited["complete"], audited["left_out"][0]) == (False, "our own output")
        why = {row["attack"]: row["why"] for row in found["figures"]["not_attacked"]}
        assert why["averaging"] == "no figure is there more than once"
        assert why["location"] == "no columns longitude and latitude"
        assert "messages, the gateway or the board" in why["replay"]


def test_a_file_without_sums_is_not_broken(tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    figures.write(file, weak_worlds.street().windows())
    done = RUNNER.invoke(app, ["--file", str(file), "--only", "differencing"])
    assert done.exit_code == 0, done.output
    assert "attacks lost: 1 of 1; won on the weak publisher: 1 of 1" in done.output


@pytest.mark.parametrize("name", list(on_file.ON_FILE))
def test_the_weak_publishers_file_falls_to_every_attack_on_files(name: str) -> None:
    """With a file of the truth, as without where an attack needs none."""
    needs_truth = name in ("timing", "size")
    assert on_file.ON_FILE[name](WEAK, on_file.weak_file(name, truth=needs_truth)).won


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--only", "magic"], f"found no attack 'magic', wanted one of {', '.join(NAMES)}"),
        (["--days", "1"], "found 1 days, wanted at least 4"),
        (["--truth", "/nowhere"], "found --truth without --file, wanted a file to attack"),
        (["--file", "/nowhere"], "/nowhere: cannot be read: No such file or directory"),
        (["--file", "/nowhere", "--days", "9"], "found --days with --file, wanted one of them"),
        (["--file", "/nowhere", "--epsilon", "0"], "found epsilon 0, wanted a number above 0"),
    ],
)
def test_bad_input(words: list[str], error: str) -> None:
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 2
    assert error in done.output


def test_a_file_with_nothing_to_attack_is_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    figures.write(file, [quarter(0, 1.0), quarter(1, 2.0)])
    done = RUNNER.invoke(app, ["--file", str(file)])
    assert done.exit_code == 2
    assert "found nothing that can be attacked (differencing: nothing is withheld;" in done.output


def test_a_plan_shortens_every_world() -> None:
    plan = Plan.of(["timing"], 6)
    assert (plan.names, plan.days, plan.home_days, plan.border_days) == (("timing",), 6, 12, 6)
    assert Plan.of().names == NAMES
