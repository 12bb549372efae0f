"""The light: every state has a pattern of its own, and the guide tells each in both languages."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

from house import House

from peilmerk_provisioning import bundle

SOURCE = (bundle.firmware_folder() / "node" / "indicate.py").read_text("utf-8")
GUIDE = (Path(__file__).parents[2] / "docs" / "citizen.md").read_text("utf-8")
STATES = [
    "START",
    "SETUP",
    "JOINING",
    "CONNECTING",
    "WORKING",
    "FAULT",
    "PAUSED",
    "IDENTIFY",
    "UPDATING",
    "SAFE",
]
FLASHES = {2: ("twee flitsen", "two flashes"), 3: ("drie flitsen", "three flashes")}
FLASHES |= {4: ("vier flitsen", "four flashes"), 5: ("vijf flitsen", "five flashes")}


def patterns():
    """{state: lengths in ms, on and off by turns}, read from the firmware's source."""
    tree = ast.parse(SOURCE)
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "PATTERNS":
            found = ast.literal_eval(node.value)
    numbers = {name: int(re.search(rf"^{name} = const\((\d+)\)", SOURCE, re.M)[1]) for name in STATES}
    assert sorted(numbers.values()) == list(range(len(found)))
    return {name: [50 * units for units in found[number]] for name, number in numbers.items()}


def rows(language):
    """The table of the guide in one language: the words for each state, in the order of the states."""
    table = re.search(rf"\| {language} \|.*?\n\|---\|---\|\n((?:\|.*\n)+)", GUIDE)
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[1].splitlines()]


def test_every_state_has_its_own_pattern_that_ends_dark():
    made = patterns()
    assert len({tuple(one) for one in made.values()}) == len(STATES)
    for name, lengths in made.items():
        assert len(lengths) % 2 == 0, name
        assert min(lengths) >= 50, name


def test_the_guide_tells_every_state_as_it_is_shown():
    dutch, english = rows(r"u ziet \| de sensor"), rows(r"you see \| the sensor")
    assert len(dutch) == len(english) == len(STATES)
    for name, nl, en in zip(STATES, dutch, english, strict=True):
        lengths = patterns()[name]
        if len(lengths) >= 4:
            assert nl[0].startswith(FLASHES[len(lengths) // 2][0]), name
            assert en[0].startswith(FLASHES[len(lengths) // 2][1]), name
    assert patterns()["SETUP"] == [1000, 1000]
    assert dutch[1][0].startswith("een seconde aan, een seconde uit")
    assert sum(patterns()["WORKING"]) == 10_000
    assert patterns()["PAUSED"] == [2000, 4000]


async def test_the_light_shows_that_set_up_is_open(house: House) -> None:
    place = house(node={"indicator": {"pin": 2, "active": 1}, "button": {"pin": 0, "active": 0}})
    await place.at_the_door()

    def blinks(wanted: list[int]) -> bool:
        """Whether the last lengths on the pin, to 300 ms, are those of a pattern."""
        moments = [(at, level) for at, pin, level in place.board.pins_set if pin == 2]
        lengths = [round((later[0] - one[0]) * 1000) for one, later in pairwise(moments)][-4:]
        return len(lengths) == 4 and all(abs(found - wanted[0]) < 300 for found in lengths)

    await place.until(lambda: blinks([1000]), "a second on, a second off")
