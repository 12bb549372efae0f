"""What a change of a record means for what is published, by figures and words; what widens is said first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sealed_street import record
from typer.testing import CliRunner

from peilmerk_gateway.deployments.cli import app
from peilmerk_gateway.deployments.deployment import Deployment, parse
from peilmerk_gateway.deployments.difference import difference, must_rise
from peilmerk_gateway.deployments.difference_words import PRIVATE, TOLD, Change, Effect
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.deployments.versions import is_above
from peilmerk_gateway.web.language import languages
from peilmerk_protocol.profile import AIR

A, B = "a" * 16, "b" * 16
STREET = record("street", [("fietspad-1", A), ("fietspad-2", B)])
LUCHT = record("lucht", [("lucht-1", A)], AIR)
GROUND = (
    "[[purposes]]",
    '[[purposes]]\nlegal_ground = "GDPR 6(1)(e)"\nprivacy_declaration_url = "https://example.org/p"',
)
# A home would be in a coarser square, which is another change.
IN_MANY = ("indoor = false", 'indoor = false\npublic_cell = "rd100-E1367N4558"\naddresses = 12')
ASSESSED = (
    "[dtpr]",
    '[dpia]\nstatus = "approved"\ndate = 2023-01-10\nreview_due = 2026-01-09\n\n[dtpr]',
)
ON_DEVICE = [
    ("on_device_personal_data = false", "on_device_personal_data = true"),
    GROUND,
    ASSESSED,
]
BOARD_2 = STREET.index('[[devices]]\nname = "fietspad-2"')
SECOND = STREET[BOARD_2 : STREET.index("[[datastreams]]")]
FIRST_STREAM = STREET[STREET.index("[[datastreams]]") : STREET.rindex("[[datastreams]]")]


def deployment(*changes: tuple[str, str], text: str = STREET) -> Deployment:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return parse(text.encode(), Path("street.toml"))


def changes(old: Deployment, new: Deployment, language: str = "en") -> list[Change]:
    return difference(old, new, languages()[language])


def told(old: Deployment, new: Deployment, effect: Effect, language: str = "en") -> list[str]:
    return [change.text for change in changes(old, new, language) if change.effect is effect]


CHANGES: dict[str, tuple[tuple[str, str], str, str]] = {
    # key: (change, what is said of it, what is said of the way back)
    "privacy.epsilon_leaf": (
        ('epsilon_leaf = "7/10"', 'epsilon_leaf = "1"'),
        "One slot may give away 1 of one passage instead of 7/10 (epsilon); the noise has standard deviation "
        "1.4.",
        "One slot may give away 7/10 of one passage instead of 1 (epsilon); the noise has standard deviation "
        "2.0.",
    ),
    "privacy.epsilon_day": (
        ('epsilon_day = "3/10"', 'epsilon_day = "1/2"'),
        "The day's total may give away 1/2 of one passage instead of 3/10 (epsilon).",
        "The day's total may give away 3/10 of one passage instead of 1/2 (epsilon).",
    ),
    "privacy.k": (
        ("k = 10", "k = 9"),
        "A count is withheld below 9 instead of below 10.",
        "A count is withheld below 10 instead of below 9.",
    ),
    "privacy.unprotected_quantities": (
        ("unprotected_quantities = []", 'unprotected_quantities = ["pm2_5"]'),
        "Without noise goes out as well: Fine particles PM2.5.",
        "No longer without noise goes out: Fine particles PM2.5.",
    ),
    "active_from": (
        ("active_from = 2023-01-01", "active_from = 2022-12-20"),
        "It may begin earlier: on 2022-12-20 instead of 2023-01-01.",
        "It may begin later: on 2023-01-01 instead of 2022-12-20.",
    ),
    "active_until": (
        ("active_until = 2030-12-31", "active_until = 2031-01-01"),
        "It goes on longer: until 2031-01-01 instead of 2030-12-31.",
        "It ends earlier: after 2030-12-31 instead of 2031-01-01.",
    ),
    "contains_personal_data": (
        ("contains_personal_data = false", "contains_personal_data = true"),
        "Personal data is now sent.",
        "No personal data is sent any more.",
    ),
    "devices.fietspad-2": (
        (SECOND, SECOND + SECOND.replace("fietspad-2", "fietspad-3").replace(B, "c" * 16)),
        "A sensor is added: fietspad-3.",
        "A sensor is taken away: fietspad-3.",
    ),
    "datastreams.bicycle_towards": (
        (FIRST_STREAM, FIRST_STREAM + FIRST_STREAM.replace("bicycle_towards", "vehicle_towards")),
        "fietspad-1 now also measures: Motor vehicles, towards (published as open data).",
        "fietspad-1 no longer measures: Motor vehicles, towards.",
    ),
    "private_host": (
        ("notified_at = 2022-12-01", "notified_at = 2022-12-01\nprivate_host = true"),
        "It now counts as a sensor of a private person at home: notification and permit fall away.",
        "It no longer counts as a sensor of a private person at home: notification is now required.",
    ),
}


@pytest.mark.parametrize(("change", "wider", "narrower"), CHANGES.values(), ids=CHANGES)
def test_a_change_widens_and_its_way_back_narrows(change: tuple[str, str], wider: str, narrower: str) -> None:
    old, new = deployment(GROUND, IN_MANY), deployment(GROUND, IN_MANY, change)
    assert wider in told(old, new, Effect.WIDER)
    assert told(old, new, Effect.NARROWER) == []
    assert narrower in told(new, old, Effect.NARROWER)
    assert told(new, old, Effect.WIDER) == []


def test_a_sensor_that_is_added_and_says_nothing_of_radio_takes_no_answer_away() -> None:
    assert "radio_capture" not in SECOND
    third = SECOND.replace("fietspad-2", "fietspad-3").replace(B, "c" * 16)
    old, new = deployment(), deployment((SECOND, SECOND + third))
    assert [text for text in told(old, new, Effect.WIDER) if "radio" in text] == []
    area = ("indoor = false", 'indoor = false\nobserved_area = "The market square"')
    loud = third.replace("active = true", "active = true\nradio_capture = true")
    old, new = (deployment(*ON_DEVICE, area, (SECOND, SECOND + added)) for added in ("", loud))
    assert "fietspad-3 now listens to radios of passers-by." in told(old, new, Effect.WIDER)


@pytest.mark.parametrize(
    ("before", "after", "wider", "narrower"),
    [
        # Kept, public, open: each step widens.
        (
            ("is_public = true\nis_open_data = true", "is_public = false\nis_open_data = true"),
            ("is_public = true\nis_open_data = true", "is_public = true\nis_open_data = false"),
            "Bicycles, towards of fietspad-1 is now published instead of only kept.",
            "Bicycles, towards of fietspad-1 is now only kept instead of published.",
        ),
        (
            ("is_open_data = true", "is_open_data = false"),
            ("is_open_data = true", "is_open_data = true"),
            "Bicycles, towards of fietspad-2 is now published as open data instead of published.",
            "Bicycles, towards of fietspad-2 is now published instead of published as open data.",
        ),
        (
            ("is_reusable = true", "is_reusable = false"),
            ("is_reusable = true", "is_reusable = true"),
            "Bicycles, towards of fietspad-1 may now be used again.",
            "Bicycles, towards of fietspad-1 may not be used again any more.",
        ),
        (
            ("indoor = false", "indoor = true"),
            ("indoor = false", "indoor = false"),
            "It now hangs outdoors; what is called public is now published.",
            "It now hangs indoors; nothing is published any more.",
        ),
        (
            ("active = true", "active = false"),
            ("active = true", "active = true"),
            "fietspad-1 is put to use again.",
            "fietspad-1 is not in use any more.",
        ),
        (
            ("window_s = 900", "window_s = 1800"),
            ("window_s = 900", "window_s = 900"),
            "One figure stands for 900 seconds instead of 1800.",
            "One figure stands for 1800 seconds instead of 900.",
        ),
        (
            ('epsilon_day = "3/10"', 'epsilon_day = "0"'),
            ('epsilon_day = "3/10"', 'epsilon_day = "3/10"'),
            "A total of the day is added, which may give away 3/10 of one passage (epsilon).",
            "There is no total of the day any more.",
        ),
    ],
)
def test_steps_from_less_to_more(
    before: tuple[str, str], after: tuple[str, str], wider: str, narrower: str
) -> None:
    old, new = deployment(before), deployment(after)
    assert wider in told(old, new, Effect.WIDER)
    assert told(old, new, Effect.NARROWER) == []
    assert narrower in told(new, old, Effect.NARROWER)
    assert told(new, old, Effect.WIDER) == []


def test_what_no_rule_can_tell_counts_as_wider_both_ways() -> None:
    for change, wanted in (
        (("goal = ", 'goal = "Traffic fines"#'), "The purpose is worded otherwise; whether more is done"),
        (("indoor = false", 'indoor = false\nobserved_area = "all"'), "The observed area is described"),
        (("indoor = false", 'indoor = false\nregions = ["all"]'), "The observed area is described"),
        (('id = "street"', 'id = "road"'), "It is another record: "),
        (("longitude = 5.1214", "longitude = 5.1314"), "fietspad-1 now hangs in square rd100-"),
    ):
        old, new = deployment(), deployment(change)
        for one, other in ((old, new), (new, old)):
            assert any(text.startswith(wanted) for text in told(one, other, Effect.WIDER)), wanted
            assert told(one, other, Effect.NARROWER) == []


def test_a_place_within_the_square_is_told_and_not_repeated() -> None:
    old, new = deployment(), deployment(("longitude = 5.1214", "longitude = 5.12141"))
    assert [str(change.effect) for change in changes(old, new)] == ["other", "other"]
    assert "5.1214" not in str(changes(old, new))
    assert told(old, new, Effect.OTHER)[0].startswith("fietspad-1 hangs elsewhere in the same square")


def test_radio_that_begins_and_an_assessment_that_ends_later() -> None:
    radio = [
        *ON_DEVICE,
        ('model = "a model"', 'model = "a model"\nradio_capture = true'),
        ("indoor = false", 'indoor = false\nobserved_area = "The market square"'),
    ]
    quiet = [*radio[:-2], ('model = "a model"', 'model = "a model"\nradio_capture = false'), radio[-1]]
    assert told(deployment(*quiet), deployment(*radio), Effect.WIDER) == [
        "fietspad-1 now listens to radios of passers-by."
    ]
    assert told(deployment(*radio), deployment(*quiet), Effect.NARROWER) == [
        "fietspad-1 does not listen to radios of passers-by (any more)."
    ]
    later = [*ON_DEVICE, ("review_due = 2026-01-09", "review_due = 2027-01-09")]
    assert told(deployment(*ON_DEVICE), deployment(*later), Effect.WIDER) == [
        "It goes on longer: until 2027-01-09 instead of 2026-01-09."
    ]
    # A radio whose answer is taken away is not a radio that is silent.
    unsaid = [change for change in quiet if "radio_capture" not in change[1]]
    assert told(deployment(*quiet), deployment(*unsaid), Effect.WIDER) == [
        "Of fietspad-1 it is no longer said whether it listens to radios."
    ]


def test_boards_are_known_by_their_id_and_by_their_name() -> None:
    old = deployment()
    renamed = told(old, deployment(("fietspad-2", "brug")), Effect.OTHER)
    assert renamed == ["fietspad-2 is now called brug; its series begin anew."]
    replaced = changes(old, deployment((B, "d" * 16)))
    assert [(change.effect, change.text) for change in replaced] == [
        (Effect.OTHER, "fietspad-2 has become another device.")
    ]
    swapped = deployment(("fietspad-1", "x"), ("fietspad-2", "fietspad-1"), ("x", "fietspad-2"))
    assert told(old, swapped, Effect.WIDER) == []
    assert len(told(old, swapped, Effect.OTHER)) == 2


def test_air_has_no_epsilon_to_widen_and_its_window_still_counts() -> None:
    old = deployment(text=LUCHT)
    assert told(old, deployment(("m_assumed = 0", "m_assumed = 4"), text=LUCHT), Effect.OTHER)
    assert told(old, deployment(("window_s = 900", "window_s = 60"), text=LUCHT), Effect.WIDER) == [
        "One figure stands for 60 seconds instead of 900."
    ]


def test_every_other_key_is_told_by_its_name_and_private_ones_without_their_value() -> None:
    old = deployment()
    new = deployment(
        ('organisation = "Gemeente Voorbeeld"', 'organisation = "Gemeente Elders"\nphone = "06-12345678"'),
        ('type = "a type"', 'type = "radar"'),
        ('themes = ["mobility"]', 'themes = ["mobility", "safety"]'),
        ('status = "active"', 'status = "trial"'),
    )
    found = {change.key: change.text for change in changes(old, new)}
    assert found == {
        "owner.organisation": "Another organisation is responsible: Gemeente Elders instead of Gemeente "
        "Voorbeeld.",
        "status": "status: trial instead of active",
        "owner.phone": "owner.phone: changed (private, not shown here)",
        "devices[fietspad-1].type": "devices[fietspad-1].type: radar instead of a type",
        "datastreams[bicycle_towards].themes": (
            "datastreams[bicycle_towards].themes: mobility, safety instead of mobility"
        ),
    }
    assert {change.effect for change in changes(old, new)} == {Effect.OTHER}


def _keys(model: type[BaseModel], path: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = next(
            (
                part
                for part in _parts(field.annotation)
                if isinstance(part, type) and issubclass(part, BaseModel)
            ),
            None,
        )
        found += [key] if inner is None or key in TOLD else _keys(inner, key)
    return found


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(p for part in getattr(annotation, "__args__", ()) for p in _parts(part))]


def test_what_has_a_sentence_or_is_private_is_a_key_of_a_record() -> None:
    keys = set(_keys(Record))
    assert len(keys) > 90
    assert keys >= TOLD
    assert keys >= PRIVATE


def test_dutch() -> None:
    old, new = deployment(), deployment(("k = 10", "k = 5"), ("active = true", "active = false"))
    assert told(old, new, Effect.WIDER, "nl") == [
        "Een telling wordt achtergehouden onder 5 in plaats van onder 10."
    ]
    assert told(old, new, Effect.NARROWER, "nl") == ["fietspad-1 is niet meer in gebruik."]


@pytest.mark.parametrize(
    ("new", "old", "above"),
    [
        ("2", "1", True),
        ("10", "9", True),
        ("1.10", "1.9", True),
        ("1.0", "1", False),
        ("1", "1.0", False),
        ("2026-03", "2026-02", True),
        ("v2", "1", True),
        ("1", "1", False),
        ("1", "2", False),
        ("1", "draft", True),
        ("0", "draft", True),
        ("final", "draft", False),
        ("final", "1", False),
        ("", "1", False),
        ("2 ", "1", False),
    ],
)
def test_which_version_comes_after_which(new: str, old: str, above: bool) -> None:
    assert is_above(new, old) is above


def test_a_version_must_rise_with_the_content_alone() -> None:
    old = deployment()
    assert must_rise(old.record, deployment(("k = 10", "k = 11")).record)
    assert not must_rise(
        old.record, deployment(("k = 10", "k = 11"), ('version = "1"', 'version = "2"')).record
    )
    assert not must_rise(old.record, deployment(("k = 10", "k   =  10 # ten")).record)
    assert not must_rise(old.record, deployment(('"7/10"', '"14/20"')).record)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (tmp_path / f"{name}.toml").write_text(STREET, "utf-8")
    return tmp_path / "old.toml", tmp_path / "new.toml"


def run(*words: object) -> tuple[int, str, str]:
    done = CliRunner(env={"LC_ALL": "C"}).invoke(app, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_says_what_widens_first_and_ends_with_3(files: tuple[Path, Path]) -> None:
    old, new = files
    assert run("diff", old, new) == (0, "The content is the same.\n", "")
    new.write_text(STREET + "# a comment\n", "utf-8")
    assert run("diff", old, new)[1] == "The content is the same; only comments or layout differ.\n"
    text = STREET.replace("k = 10", "k = 5").replace("active = true", "active = false", 1)
    new.write_text(text, "utf-8")
    code, said, _ = run("diff", old, new)
    assert (code, said.splitlines()) == (
        3,
        [
            "More is given away, less is protected, or that cannot be ruled out:",
            "  - A count is withheld below 5 instead of below 10.",
            "Less is given away, or more is protected:",
            "  - fietspad-1 is not in use any more.",
            "The version must go up: found 1, wanted above 1. Until then the gateway refuses the record.",
        ],
    )
    new.write_text(text.replace('version = "1"', 'version = "2"\nsigned_by = "the alderman"'), "utf-8")
    assert run("diff", old, new)[1].endswith("Version 1 becomes 2, signed by the alderman.\n")
    code, said, _ = run("diff", new, old, "--language", "nl")
    assert (code, said.splitlines()[0]) == (
        3,
        "Er komt meer naar buiten, er is minder bescherming, of dat is niet uit te sluiten:",
    )


def test_the_command_for_scripts(files: tuple[Path, Path]) -> None:
    old, new = files
    new.write_text(STREET.replace("k = 10", "k = 11"), "utf-8")
    code, said, _ = run("diff", old, new, "--json")
    assert code == 1
    assert json.loads(said) == {
        "name": "deployment diff",
        "ok": False,
        "figures": {
            "wider": [],
            "narrower": [{"key": "privacy.k", "text": "A count is withheld below 11 instead of below 10."}],
            "other": [],
            "version": {"old": "1", "new": "1", "signed_by": None, "must_rise": True},
        },
        "limits": {"wider": [], "version": {"must_rise": False}},
    }
    new.write_text(STREET.replace("k = 10", "k = 11").replace('version = "1"', 'version = "2"'), "utf-8")
    code, said, _ = run("diff", old, new, "--json")
    assert (code, json.loads(said)["ok"]) == (0, True)


def test_the_command_on_what_cannot_be_compared(files: tuple[Path, Path]) -> None:
    old, new = files
    new.write_text(STREET.replace("k = 10", "k = -1"), "utf-8")
    code, said, errors = run("diff", old, new)
    assert (code, said) == (1, "")
    assert errors == f"error: {new}: privacy.k: found -1, wanted at least 0\n"
    code, _, errors = run("diff", old, "street@3")
    assert code == 2
    assert "found no such file, wanted a record, or ID@VERSION together with --gateway FOLDER" in errors
    assert run("diff", old, old, "--language", "de")[0] == 2


def home(**location: str) -> Deployment:
    lines = "\n".join(f"{key} = {value}" for key, value in location.items())
    return deployment(
        ("notified_at = 2022-12-01", "private_host = true"),
        ("point = { longitude = 5.1214, latitude = 52.0907 }", lines),
        ("window_s = 900", "window_s = 3600"),
        text=LUCHT,
    )


def test_a_home_on_a_coarser_square_is_told_less_of() -> None:
    fine = home(public_cell='"rd500-E1365N4555"', addresses="12")
    coarse, away = home(public_cell='"rd1000-E1360N4550"'), home(public_cell='"rd1000-E1370N4550"')
    (narrower,) = told(fine, coarse, Effect.NARROWER)
    assert narrower == (
        "lucht-1 is placed less precisely on the map: square rd1000-E1360N4550 instead of rd500-E1365N4555."
    )
    assert told(fine, coarse, Effect.WIDER) == []
    (wider,) = told(coarse, fine, Effect.WIDER)
    assert wider.startswith("lucht-1 is placed more precisely on the map: square rd500-E1365N4555")
    for old, new in ((coarse, away), (away, coarse), (fine, away)):
        assert "other people pass there" in told(old, new, Effect.WIDER)[0]


def test_a_place_that_leaves_the_record_for_its_square_changes_nothing_in_public() -> None:
    point = home(point="{ longitude = 5.1214, latitude = 52.0907 }")
    assert changes(point, home(public_cell='"rd1000-E1360N4550"'))[0].key == "location.public_cell"
    assert told(point, home(public_cell='"rd1000-E1360N4550"'), Effect.WIDER) == []


def test_figures_that_are_kept_longer_are_more() -> None:
    old = deployment()
    new = deployment(('measures = "bicycle_away"', 'measures = "bicycle_away"\nretention_days = 400'))
    assert told(old, new, Effect.WIDER) == [
        "Bicycles, away (fietspad-1) is kept for 400 days instead of 365.",
        "Bicycles, away (fietspad-2) is kept for 400 days instead of 365.",
    ]
    assert len(told(new, old, Effect.NARROWER)) == 2
