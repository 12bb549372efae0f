"""The record that answers make, and each answer checked at once, by the rules of `check`."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from officer_answers import DEVICE, EN, HOME, NL, RADIO, STREET, TODAY, question, written

from peilmerk_gateway.deployments.asking import answers as answering
from peilmerk_gateway.deployments.asking import compose
from peilmerk_gateway.deployments.asking.answers import AnswerError, flat, nested, take
from peilmerk_gateway.deployments.asking.interview import answer_refused, complete
from peilmerk_gateway.deployments.asking.questions import NOTHING, OPEN, Kind, Question
from peilmerk_gateway.deployments.deployment import parse
from peilmerk_protocol import profile
from peilmerk_protocol.profile import STANDARD_COUNTER


def test_the_answers_of_a_street_make_its_record() -> None:
    deployment = parse(written(STREET).encode(), Path("kerkstraat.toml"))
    record = deployment.record
    assert deployment.mandates[DEVICE].profile(1) == STANDARD_COUNTER
    assert (record.id, record.version, record.devices[0].name) == ("kerkstraat", "1", "kerkstraat")
    assert (record.notified_at, record.active_from) == (date(2026, 3, 1), date(2026, 3, 6))
    assert (record.purposes[0].dtpr_purpose, record.roles.controller) == ("mobility", "Gemeente Voorbeeld")  # type: ignore[union-attr]
    assert [(s.is_public, s.is_open_data, s.retention_days) for s in record.datastreams] == [
        (True, True, 365),
        (True, True, 365),
    ]
    assert [(c.version, c.date, c.text) for c in record.changelog] == [("1", TODAY, "First version")]


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"profile": "strict"}, profile.Profile(1, 3600, STANDARD_COUNTER.set, (7, 20), (3, 20), 10, 4)),
        (
            {
                "profile": "own",
                "privacy.window_s": "1800",
                "privacy.epsilon_leaf": "1/2",
                "privacy.epsilon_day": "0",
                "privacy.k": "20",
                "privacy.m_assumed": "2",
            },
            profile.Profile(1, 1800, STANDARD_COUNTER.set, (1, 2), (0, 1), 20, 2),
        ),
    ],
)
def test_the_terms_of_counts(more: dict[str, str], wanted: profile.Profile) -> None:
    assert parse(written(STREET | more).encode(), Path("x.toml")).mandates[DEVICE].profile(1) == wanted


def test_boards_that_measure_other_things_have_datastreams_of_their_own() -> None:
    other = "bcdefghij2345672"
    text = written(
        STREET
        | {"devices[2].measures": "bicycle_away, pm2_5", "devices[2].device_id": other, "profile": "standard"}
    )
    deployment = parse(text.encode(), Path("x.toml"))
    streams = {s.measures.name: s.devices for s in deployment.record.datastreams}
    assert streams == {
        "pm2_5": ("kerkstraat-2",),
        "bicycle_towards": ("kerkstraat-1",),
        "bicycle_away": None,
    }
    assert deployment.record.devices[1].model == "Peilmerk"
    assert [q.name for q in deployment.record.privacy.unprotected_quantities] == ["pm2_5"]


def test_a_home_is_asked_less_and_its_place_is_not_in_the_record() -> None:
    asked, _, wrong = complete(EN, HOME)
    assert wrong == []
    keys = {one.key for one in asked}
    assert not keys & {"notified_at", "permit.regime", "permit.id", "evaluate_on", "reference", "project"}
    assert len(keys) < len(complete(EN, STREET)[0])
    # A record is public and kept: nobody's name goes into it for want of a signature.
    assert question("signed_by", HOME).text == "signed_by.home"
    assert "never a resident's name" in EN.language.text("ask.signed_by.home.why")
    text = written(HOME)
    record = parse(text.encode(), Path("x.toml")).record
    assert (record.private_host, record.owner.organisation) == (True, "A resident")
    assert (record.privacy.window_s, record.location.public_cell) == (3600, "rd1000-E1360N4550")
    assert record.location.point is None
    assert "5.1214" not in text
    assert "52.09" not in text


def test_radio_and_everything_that_may_be_asked_more() -> None:
    more = RADIO | {
        "more": "yes",
        "owner.phone": "06-12345678",
        "rathenau.privacy.risk": "Being recognised",
        "rathenau.privacy.measure": "Noise",
        "rathenau.privacy.owner": "CISO",
    }
    record = parse(written(more).encode(), Path("x.toml")).record
    assert (record.devices[0].radio_capture, record.owner.phone) == (True, "06-12345678")
    assert record.rathenau is not None
    assert record.rathenau.privacy is not None
    assert (record.rathenau.privacy.owner, record.rathenau.justice) == ("CISO", None)


def test_the_proposals_are_dutch_for_a_dutch_officer() -> None:
    record = parse(written(STREET, NL).encode(), Path("x.toml")).record
    assert record.dtpr.storage == "Bij de hierboven genoemde organisatie, in de Europese Unie."
    assert record.dtpr.retention == "Hier 365 dagen; wat gepubliceerd is, blijft op het dataplatform."
    assert record.datastreams[0].themes == ("mobiliteit",)


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("id", "Kerk Straat", "Wanted: lower-case letters, digits and hyphens"),
        ("private_host", "maybe", "That cannot be: 'maybe'. Wanted: yes or no."),
        ("private_host", OPEN, "This answer is needed to go on"),
        ("location.point", "", "That cannot be: nothing. Wanted: latitude and longitude"),
        ("location.point", "52.0907", "That cannot be: …. Wanted: latitude and longitude"),
        ("location.point", "48.85, 2.35", "That cannot be: …. Wanted: latitude and longitude"),
        # Within the fence of degrees, and in the sea outside of the grid.
        ("location.point", "55.9, 2.1", "found a point outside of the Dutch grid"),
        ("boards", "0", "Wanted: a whole number from 1 to 99."),
        ("boards", 100, "Wanted: a whole number from 1 to 99."),
        ("devices[1].measures", "faces", "Wanted: one or more names of the list"),
        ("devices[1].measures", "bicycle, bicycle", "Wanted: one or more names of the list"),
        ("devices[1].measures", "samples", "Wanted: one or more names of the list"),
        ("devices[1].measures", "pm2_5_extremes", "along with which it goes; wanted both"),
        ("devices[1].device_id", "AA:BB", "wanted the 16 characters that 'peilmerk device enrol' printed"),
        ("devices[1].firmware_digest", "abc", "wanted 64 hexadecimal digits"),
        ("profile", "crowd", "Wanted: one of standard, strict, own."),
        ("purposes[1].dtpr_purpose", "profit", "Wanted: one of accessibility, "),
        ("notified_at", "soon", "Wanted: a date such as 2027-12-31."),
        ("notified_at", "2026-02-30", "Wanted: a date such as 2027-12-31."),
        ("active_until", "2026-03-01", "wanted a day after active_from 2026-03-06"),
        ("objection_url", "voorbeeld.example", "objection_url: found 'voorbeeld.example', wanted"),
        ("retention_days", "0", "retention_days: found 0, wanted at least 1"),
        ("location.description", "x" * 2001, "location.description: found"),
        ("location.description", "", "That cannot be: nothing. Wanted: text"),
        ("public_contact", 5, "That cannot be: 5. Wanted: one line"),
    ],
)
def test_an_answer_is_refused_at_once_by_the_rules_of_check(key: str, given: object, said: str) -> None:
    asked, known, _ = complete(EN, STREET)
    one = next(one for one in asked if one.key == key)
    answer, why = answer_refused(EN, one, given, known)
    assert answer is None
    assert why is not None
    assert said in why
    _, why = answer_refused(NL, one, given, known)
    assert why is not None
    assert why.startswith(("Dat kan niet", "Dit antwoord is nodig"))


def test_what_is_refused_for_the_sake_of_another_answer_says_which() -> None:
    asked, known, _ = complete(EN, RADIO)
    one = next(one for one in asked if one.key == "on_device_personal_data")
    _, why = answer_refused(EN, one, "no", known)
    assert why is not None
    assert "G8: on_device_personal_data: found false, wanted true: addresses of radios" in why
    own = STREET | {
        "profile": "own",
        "privacy.epsilon_leaf": "1/2",
    }
    asked, known, _ = complete(EN, own)
    for key, bad, said in (
        ("privacy.epsilon_leaf", "0.7", "not a decimal"),
        ("privacy.epsilon_leaf", "0", "found 0, wanted more, because bicycle_towards is a count"),
        ("privacy.window_s", "901", "wanted seconds that divide a day"),
        ("privacy.k", "-1", "wanted at least 0"),
    ):
        one = next(one for one in asked if one.key == key)
        _, why = answer_refused(EN, one, bad, known)
        assert why is not None
        assert said in why


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (Kind.YES_NO, "JA", True),
        (Kind.YES_NO, "n", False),
        (Kind.YES_NO, True, True),
        (Kind.DAY, "31-12-2027", date(2027, 12, 31)),
        (Kind.DAY, "1/2/2027", date(2027, 2, 1)),
        (Kind.DAY, date(2027, 1, 2), date(2027, 1, 2)),
        (Kind.PLACE, "5.1214; 52.0907", {"longitude": 5.1214, "latitude": 52.0907}),
        (Kind.PLACE, "52.0907°N 5.1214°E", {"longitude": 5.1214, "latitude": 52.0907}),
        (Kind.WORDS, " a , b,", ["a", "b"]),
        (Kind.WORDS, ["a", "b"], ["a", "b"]),
        (Kind.WHOLE, "10", 10),
        (Kind.LINE, OPEN, OPEN),
        (Kind.LINE, " x ", "x"),
    ],
)
def test_how_an_answer_may_be_written(kind: Kind, given: object, taken: object) -> None:
    assert take(Question("key", "text", kind), given) == taken


@pytest.mark.parametrize(
    ("kind", "given"),
    [(Kind.WHOLE, True), (Kind.YES_NO, 1), (Kind.LINE, ["x"]), (Kind.PLACE, [5.1, 52.1]), (Kind.WHOLE, 1.5)],
)
def test_a_value_of_another_type_is_refused(kind: Kind, given: object) -> None:
    with pytest.raises(AnswerError):
        take(Question("key", "text", kind), given)


ASKED, KNOWN, _ = complete(EN, RADIO | {"more": "yes", "rathenau.privacy.risk": "x"})


@given(
    number=st.integers(0, len(ASKED) - 1),
    given=st.text(max_size=30)
    | st.sampled_from(["-1", "99999999", "0/0", "1e5", "later", "devices", "52.1, 5.1", "2026-01-01"])
    | st.integers()
    | st.booleans()
    | st.dates()
    | st.lists(st.text(max_size=4), max_size=3)
    | st.dictionaries(st.sampled_from(["longitude", "latitude", "x"]), st.floats() | st.text(max_size=3)),
)
@settings(max_examples=60)
def test_any_answer_is_taken_or_refused_in_words_and_what_is_taken_checks(number: int, given: Any) -> None:
    one = ASKED[number]
    answer, why = answer_refused(EN, one, given, KNOWN)
    if why is not None:
        assert why
        return
    if answer in (OPEN, NOTHING):
        return
    known = {**KNOWN, one.key: answer}
    asked = EN.questions(known)
    fill = [other.key for other in asked if known.get(other.key, OPEN) == OPEN]
    text = compose.text_of(asked, known, EN.language, TODAY, fill)
    assert compose.complaints(text, Path("x.toml")) == []


def test_answers_go_into_a_file_and_come_back() -> None:
    _, known, _ = complete(EN, RADIO)
    assert dict(flat(nested(known))) == known
    assert dict(flat(tomllib.loads(answering.as_toml(nested(known))))) == known
