"""Recorded traces: read, placed within their second, repeated every day; broken files name file and line."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from peilmerk_bench.world.air import Climate, Particles
from peilmerk_bench.world.passages import DAY_S, Passage, PassageReplay
from peilmerk_bench.world.traces import COUNTS, Crossing, Sample, TraceError, air_day, counting_day

DAY = 20_000 * DAY_S


def test_the_shipped_day_of_passages_is_whole() -> None:
    crossings = counting_day()
    assert len(crossings) == 1095
    assert Counter(c.direction for c in crossings) == Counter(
        line.split(";")[4] for line in COUNTS.read_text().splitlines()[1:]
    )
    assert crossings[0].second < crossings[-1].second < DAY_S


def test_passages_keep_clear_of_their_seconds_borders_and_of_each_other() -> None:
    passages = PassageReplay()(DAY, DAY + DAY_S)
    assert len(passages) == 1095
    for passage in passages:
        assert 0.0999 <= passage.at % 1 <= passage.until % 1 <= 0.9001
        assert passage.at // 1 == passage.until // 1
        assert 0 < passage.gap_s < passage.dark_s
        assert passage.until - passage.at < Passage.LONGEST_S
    for earlier, later in itertools.pairwise(passages):
        assert earlier.until < later.at


def test_the_day_repeats_and_windows_add_up() -> None:
    replay = PassageReplay()
    today = replay(DAY, DAY + DAY_S)
    tomorrow = replay(DAY + DAY_S, DAY + 2 * DAY_S)
    assert [(round(p.at - DAY, 6), p.direction) for p in today] == [
        (round(p.at - DAY - DAY_S, 6), p.direction) for p in tomorrow
    ]
    windows = [replay.counts(DAY + i * 900, DAY + (i + 1) * 900) for i in range(96)]
    whole = replay.counts(DAY, DAY + DAY_S)
    assert sum(w["in"] for w in windows) == whole["in"]
    assert sum(w["out"] for w in windows) == whole["out"]
    over_midnight = replay(DAY + DAY_S - 3600, DAY + DAY_S + 6 * 3600)
    assert over_midnight == sorted(over_midnight)


def test_another_street_is_the_same_day_moved() -> None:
    crossing = Crossing(10, "in", 18.0)
    here, there = PassageReplay((crossing,)), PassageReplay((crossing,), shift_s=-20)
    assert here(DAY, DAY + DAY_S)[0].at == pytest.approx(DAY + 10.1)
    assert there(DAY, DAY + DAY_S)[0].at == pytest.approx(DAY + DAY_S - 10 + 0.1)
    assert here(DAY, DAY + DAY_S)[0].gap_s == pytest.approx(0.06)


def test_air_holds_until_the_next_sample_and_over_midnight() -> None:
    particles = Particles((Sample(100, (1.0, 2.0)), Sample(200, (3.0, 4.0))))
    assert particles(DAY + 100) == (1.0, 2.0)
    assert particles(DAY + 199.9) == (1.0, 2.0)
    assert particles(DAY + 200) == (3.0, 4.0)
    assert particles(DAY + 50) == (3.0, 4.0)


def test_the_shipped_air_is_particles_then_climate() -> None:
    assert Particles()(DAY + 12 * 3600)[0] < Particles()(DAY + 12 * 3600)[1]
    celsius, percent = Climate()(DAY + 12 * 3600)
    assert -20 < celsius < 30
    assert 20 < percent <= 100


def test_a_day_is_taken_out_of_a_longer_trace(tmp_path: Path) -> None:
    trace = tmp_path / "week.csv"
    trace.write_text(
        "timestamp;lane;direction;speed\n2024-02-26T04:34:08;1;in;20\n"
        "2024-02-27T00:00:01;1;out;\n2024-02-27T23:59:59;2;in;7.5\n"
    )
    assert counting_day(trace) == (Crossing(16448, "in", 20.0),)
    assert counting_day(trace, date(2024, 2, 27)) == (Crossing(1, "out", 0.0), Crossing(86399, "in", 7.5))
    with pytest.raises(TraceError, match=r"week\.csv: no passages on 2024-03-01"):
        counting_day(trace, date(2024, 3, 1))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("timestamp;speed\n", r"no column 'direction'; found \['timestamp', 'speed'\]"),
        ("timestamp;direction;speed\nyesterday;in;1\n", r"line 2: timestamp is 'yesterday', wanted ISO 8601"),
        (
            "timestamp;direction;speed\n2024-02-26T04:34:08;up;1\n",
            r"line 2: direction is 'up', wanted one of",
        ),
        (
            "timestamp;direction;speed\n2024-02-26T04:34:08;in;fast\n",
            r"line 2: speed is 'fast', wanted a number",
        ),
        ("timestamp;direction;speed\n", "no passages"),
    ],
)
def test_broken_traces_name_file_and_line(tmp_path: Path, text: str, wanted: str) -> None:
    trace = tmp_path / "broken.csv"
    trace.write_text(text)
    with pytest.raises(TraceError, match=rf"broken\.csv.*{wanted}"):
        counting_day(trace)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv: No such file"):
        air_day(tmp_path / "none.csv", ("P1",))
