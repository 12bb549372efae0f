"""Attacks on what our own parts publish and hold, in small: boards' firmware, gateway, store, publishers."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from peilmerk_bench.audit.attacks import downgrade, homes, insider, location
from peilmerk_bench.audit.attacks.campaign import IN_GATEWAY, ON_STREET
from peilmerk_bench.audit.attacks.figures import Figure
from peilmerk_bench.audit.attacks.ours import OurStreet, Published
from peilmerk_bench.audit.attacks.score import OURS, WEAK
from peilmerk_bench.audit.attacks.worlds import BEGAN


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("street")
    return asyncio.run(OurStreet(folder, 2, 2, 2, moves_after=1, strict=0).run())


def test_no_attack_wins_on_a_small_street(published: Published) -> None:
    scores = [one for attack in ON_STREET.values() for one in attack(published)]
    assert [one.attack for one in scores if one.won] == []
    assert {one.side for one in scores} == {OURS}


def test_it_is_our_published_output_that_is_attacked(published: Published) -> None:
    """Each kept window of the counters is there, with its noise, and what is below the threshold is not."""
    towards = [stream for stream in published.truth if stream[0].startswith("fietspad-")]
    shown = {(f.stream, f.start, f.end): f.value for f in published.figures if f.end - f.start == 900}
    off = [shown[cell] - published.truth[cell] for cell in towards if cell in shown]
    assert len(off) > 600
    assert min(value for value in shown.values() if value is not None) >= 10
    # Noise of epsilon 0.7: its mean absolute value is 1.32, and a third of all is 0.
    assert 1.0 < sum(map(abs, off)) / len(off) < 1.7
    assert 0.2 < Counter(off)[0] / len(off) < 0.5
    # Both days of the home's front, all four means, an hour late at least; nothing of indoors.
    assert {f.thing for f in published.home_figures} == {"thuis-buiten/gevel"}
    assert len(published.home_figures) == 2 * 24 * 4
    assert {f.end - f.start for f in published.home_figures} == {3600}
    assert {f.stream.split()[1] for f in published.home_quality} >= {"minimum", "maximum", "spread"}
    # Every figure was asked for fifty times, of a store that was started again and again, and of a platform.
    assert min(Counter((f.stream, f.start) for f in published.answers).values()) == 50
    kinds = {name.split(",")[0].split()[0] for name in published.public}
    assert kinds == {"platform", "page", "export"}
    # Each report of the busy boards was seen on its way.
    assert len(published.delays) == len(published.noise) == 3 * 2 * 96
    assert list(published.sent) == [BEGAN + 900.0 * n for n in range(1, 193)]


def test_what_leaks_on_our_street_is_found(published: Published) -> None:
    """The same output with a leak put into it: each attack sees its own."""
    (score,) = ON_STREET["averaging"](published)
    assert not score.won
    told = Published(**{**vars(published), "answers": []})
    told.answers = [
        Figure(*cell, count + shift)
        for cell, count in list(published.truth.items())[:100]
        for shift in (-1, 1, 0, 0)
    ]
    assert ON_STREET["averaging"](told)[0].won
    name = published.canaries["owner name"]
    spilt = Published(**{**vars(published), "public": {**published.public, "page /": f"by {name.upper()}"}})
    assert [one.won for one in ON_STREET["linkage"](spilt)] == [True, False]
    waits = Published(**{**vars(published), "delays": [100 + abs(z) for z in published.noise]})
    assert ON_STREET["timing"](waits)[0].won
    fewer = Published(
        **{**vars(published), "sent": {end: n for end, n in published.sent.items() if published.passed[end]}}
    )
    assert ON_STREET["gaps"](fewer)[0].won


def test_a_gateway_at_work_holds_no_exact_count_and_takes_nothing_twice(tmp_path: Path) -> None:
    found = insider.ours(tmp_path / "ours", days=1)
    assert [one.attack for scores in found.values() for one in scores if one.won] == []
    memory, database = found["search"]
    # The search finds what is there: what the sensor sent.
    assert "of what was sent 100% is there" in database.detail
    assert memory.size > 80
    assert set(found) == set(IN_GATEWAY.values())


def test_the_gateway_that_logs_too_much_still_fits_the_sources(tmp_path: Path) -> None:
    room = insider.talkative_gateway(tmp_path)
    text = (room / "peilmerk_gateway" / "flow.py").read_text("utf-8")
    compile(text, "flow.py", "exec")
    assert "payload.hex()" in text


def test_older_firmware_and_older_terms_are_refused(tmp_path: Path) -> None:
    ours, weak = downgrade.updates(tmp_path / "updates")
    assert (ours.score, ours.size, weak.won) == (0.0, 9, True)
    assert "altered" not in weak.detail
    assert not downgrade.record(OURS, tmp_path / "ours").won
    assert downgrade.record(WEAK, tmp_path / "weak").score == 1.0


async def test_homes_are_published_in_one_square_each(tmp_path: Path) -> None:
    places, where = await homes.published(tmp_path, 2, 6)
    assert [len(found) for found in places.values()] == [6] * 2
    assert [len(set(found)) for found in places.values()] == [1] * 2
    for key, found in places.items():
        # The middle of a square of 1 km.
        assert location.metres(found[0], where[key]) < 710
