"""A sensor at a home: figures of an hour at least, an hour late at least, and nothing from indoors."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from sealed_street import NOW, Street

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.deployments.deployment import RecordError, parse
from peilmerk_gateway.deployments.explain import explain
from peilmerk_gateway.web import reading
from peilmerk_gateway.web.language import languages
from peilmerk_protocol.profile import AIR, STANDARD_COUNTER, Profile

HOURLY = Profile(1, 3_600, AIR.set, (0, 1), (0, 1), 0, 0)
HOUR = int(NOW) // 3_600 - 1
END = (HOUR + 1) * 3_600
MEANS = {0: (100, 3), 4: (6,)}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Street]:
    """One air node at a private host's."""
    made = Street(tmp_path, counters=0, air=1)
    made.air[0].profile = HOURLY
    made.write("lucht", [("lucht-0", made.air[0].id)], HOURLY, notified_at=None)
    made.catalogue.reload()
    yield made
    made.registry.close()


def written(profile: Profile, street: Street, **values: object) -> str:
    street.write("other", [("x", "a" * 16)], profile, **values)
    return (street.records / "other.toml").read_text("utf-8")


@pytest.mark.parametrize(("after_s", "sent"), [(0, 0), (3_599, 0), (3_600, 2)])
async def test_no_platform_is_told_before_an_hour_has_passed(home: Street, after_s: int, sent: int) -> None:
    board = home.air[0]
    async with await home.open() as store:
        home.clock = ScaledClock(END + 1.0, 0.0, 0.0)
        await home.flow(store).store(
            [board.statement(1), board.report(2, HOUR, {0: (100, 3), 1: (90, 2), 4: (6,)})]
        )
        rows = await store.claim("city", 10, END + after_s)
    assert len(rows) == sent
    assert home.refused() == []


async def test_the_page_tells_it_no_sooner(home: Street) -> None:
    board = home.air[0]
    async with await home.open() as store:
        home.clock = ScaledClock(END + 1.0, 0.0, 0.0)
        reports = [board.report(2 + n, HOUR - 1 + n, {0: (100 + n, 3), 4: (6,)}) for n in range(2)]
        await home.flow(store).store([board.statement(1), *reports])
        shown = {}
        for now in (END + 3_599, END + 3_600):
            street = await reading.read(store, home.catalogue, [], now, 1)
            (series,) = [series for series in street.sensors[0].series if series.quantity.name == "pm2_5"]
            shown[now - END] = [round(s.value, 6) for s in series.slots if s.value is not None]
    assert shown == {3_599: [10.0], 3_600: [10.0, 10.1]}


async def test_a_street_is_told_at_once(tmp_path: Path) -> None:
    street = Street(tmp_path, counters=1)
    board = street.counters[0]
    async with await street.open() as store:
        await street.flow(store).store([board.statement(1), board.report(2)])
        assert len(await store.claim("city", 10, NOW)) == 2
    street.registry.close()


def test_a_mean_of_less_than_an_hour_is_no_record_of_a_home(home: Street) -> None:
    with pytest.raises(RecordError) as caught:
        written(AIR, home, notified_at=None)
    assert "privacy.window_s: found 900, wanted at least 3600, because private_host is true" in str(
        caught.value
    )
    shorter = Profile(1, 2_880, AIR.set, (0, 1), (0, 1), 0, 0)
    with pytest.raises(RecordError, match="found 2880"):
        written(shorter, home, notified_at=None)


def test_what_is_not_public_and_what_carries_noise_may_be_shorter(home: Street) -> None:
    assert "private_host" in written(AIR, home, notified_at=None, is_public=False)
    text = written(STANDARD_COUNTER, home, notified_at=None)
    (mandate,) = parse(text.encode(), Path("x.toml")).mandates.values()
    assert mandate.hold_s == 3_600
    assert mandate.epsilon_leaf == Fraction(7, 10)


async def test_indoors_nothing_is_published_whatever_the_record_says(home: Street) -> None:
    home.change("lucht", "indoor = false", "indoor = true")
    board = home.air[0]
    async with await home.open() as store:
        await home.flow(store).store([board.statement(1), board.report(2, HOUR, MEANS)])
        assert await store.claim("city", 10, NOW + 10 * 86_400) == []
        street = await reading.read(store, home.catalogue, [], NOW + 86_400, 1)
    assert street.sensors == ()
    assert len(home.rows("observation")) == 1
    assert home.catalogue.describe("lucht/lucht-0/pm2_5") is None


def test_a_council_is_told_how_late_and_how_long(home: Street) -> None:
    (deployment,) = home.catalogue.deployments.values()
    said = explain(deployment, languages()["en"])
    assert said.count("Nobody is told before 60 minutes after its end") == 4
    assert said.count("Kept here for 365 days") == 4
    assert "of 1000 m" in said
