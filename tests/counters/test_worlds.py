"""The recorded day drives every counter, as a board is wired by default."""

from __future__ import annotations

import pytest
from stepped_street import BEGIN, Street

from peilmerk_bench.board import SensorSpec
from peilmerk_bench.world.movers import MoverReplay
from peilmerk_bench.world.passages import PassageReplay

WINDOW_S = 600

TUBES = {"driver": "pulse_pair", "pins": [4, 5], "class": "measured", "axles": 2, "spacing_mm": 1000}
RADAR = {"driver": "ld2450", "uart": 1, "tx": 17, "rx": 16, "line": [-3000, 2500, 3000, 2500]}


def test_the_replay_is_the_recorded_day_every_day() -> None:
    replay, passages = MoverReplay(), PassageReplay()
    for day in (0, 3):
        since = BEGIN + 86_400 * day
        movers = replay(since, since + 3600)
        assert [m.direction for m in movers] == [p.direction for p in passages(since, since + 3600)]
        assert [round(m.at - since, 3) for m in movers] == [
            round(m.at - BEGIN, 3) for m in replay(BEGIN, BEGIN + 3600)
        ]
    assert {mover.kind for mover in MoverReplay(on_foot=True)(BEGIN, BEGIN + 600)} == {"pedestrian"}


@pytest.mark.parametrize(
    ("spec", "entry", "within"),
    [
        (SensorSpec.beam_pair(), {"driver": "beam_pair", "pins": [4, 5]}, 0),
        (SensorSpec.pulses(pulse_s=None), {"driver": "pulses", "pin": 4, "class": "bicycle"}, 1),
        (SensorSpec.pulse_pair(), TUBES, 1),
        (SensorSpec.ld2450(), RADAR, 1),
    ],
    ids=["beams", "loop", "tubes", "radar"],
)
async def test_ten_minutes_of_the_recorded_street(
    street: Street, spec: SensorSpec, entry: dict[str, object], within: int
) -> None:
    counted = await street.count(spec, entry, windows=1, window_s=WINDOW_S)
    true = len(MoverReplay()(BEGIN, BEGIN + WINDOW_S))
    assert true > 8
    assert abs(sum(counted.windows[0].values()) - true) <= within
