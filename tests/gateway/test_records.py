"""Deployment records: what is wrong is said with file, key and what was wanted; none harms another."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_street import FIRMWARE, record

from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.deployment import RecordError, parse
from peilmerk_gateway.deployments.explain import explain
from peilmerk_gateway.deployments.template import NewDevice, new_record
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.web.language import TEXTS, languages, load
from peilmerk_protocol import profile, quantities
from peilmerk_protocol.profile import AIR, AIR_FULL, STANDARD_COUNTER

FILE = Path("records/street.toml")
A, B = "a" * 16, "b" * 16
STREET = record("street", [("fietspad-1", A)])

GOVERNED = (
    STREET
    + """
[[purposes]]
goal = "Safer crossing"
dtpr_purpose = "planning"
legal_ground = "AVG art. 6 (1) e"
privacy_declaration_url = "https://voorbeeld.example/privacy"

[dpia]
status = "done"
date = 2025-01-02
review_due = 2027-01-02

[permit]
regime = "notification"

[rathenau.privacy]
risk = "Being recognised"
measure = "Noise on the sensor"
owner = "CISO"

[[changelog]]
version = "1"
date = 2025-01-02
text = "First version"
"""
)


ENGLISH, DUTCH = languages()["en"], languages()["nl"]


def complaints(text: str) -> list[str]:
    with pytest.raises(RecordError) as caught:
        parse(text.encode(), FILE)
    return str(caught.value).splitlines()


def changed(old: str, new: str, text: str = STREET) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def test_a_new_record_is_complete() -> None:
    deployment = parse(STREET.encode(), FILE)
    assert deployment.mandates[A].profile(1) == STANDARD_COUNTER
    assert deployment.cells["fietspad-1"].id == "rd100-E1367N4558"


def test_the_whole_schema_is_read() -> None:
    governed = parse(GOVERNED.encode(), FILE).record
    assert governed.purposes[1].goal == "Safer crossing"
    assert governed.dpia is not None
    assert governed.dpia.review_due == date(2027, 1, 2)
    assert governed.rathenau is not None
    assert governed.rathenau.privacy is not None
    assert governed.changelog[0].date == date(2025, 1, 2)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('type = "a type"\n', "", "G1: devices[1].type: not found, wanted an answer"),
        ('type = "a type"', 'type = " "', "G1: devices[1].type: found ' ', wanted"),
        ('themes = ["mobility"]', "themes = []", "G1: datastreams[1].themes: found [], wanted at least 1"),
        ('themes = ["mobility"]\n', "", "G1: datastreams[1].themes: not found, wanted an answer"),
        ("[location]", "[somewhere]", "G1: location: not found, wanted an answer"),
        ("point = { longitude = 5.1214, latitude = 52.0907 }\n", "", "G1: location.point: not found"),
        ("contains_personal_data = false\n", "", "G1: contains_personal_data: not found"),
        ("active_until = 2030-12-31\n", "", "G1: active_until: not found"),
        (
            "active_until = 2030-12-31",
            'active_until = "soon"',
            "G1: active_until: found 'soon', wanted a date",
        ),
        ('retention = "', 'retention = ""#', "G5: dtpr.retention: found '', wanted some text"),
        ("[dtpr]", "[dptr]", "G5: dtpr: not found"),
        (
            'observed_property = "https://smartdatamodels.org/dataModel.Transportation/intensity"',
            'observed_property = "https://elsewhere.example/faces"',
            "G7: datastreams[1].observed_property: found 'https://elsewhere.example/faces', wanted",
        ),
        (
            'measures = "bicycle_towards"',
            'measures = "faces"',
            "G7: datastreams[1].measures: found 'faces', wanted the name of a known quantity",
        ),
        (
            'measures = "bicycle_towards"',
            'measures = "samples"',
            "G7: datastreams[1].measures: found 'samples'",
        ),
        ("window_s = 900", "window_s = 901", "privacy.window_s: found 901, wanted seconds that divide a day"),
        (
            'epsilon_leaf = "7/10"',
            "epsilon_leaf = 0.7",
            "privacy.epsilon_leaf: found 0.7, wanted a fraction in",
        ),
        (
            'epsilon_leaf = "7/10"',
            'epsilon_leaf = "0.7"',
            "privacy.epsilon_leaf: found '0.7', wanted a fraction",
        ),
        ('epsilon_leaf = "7/10"', 'epsilon_leaf = "0"', "privacy.epsilon_leaf: found 0, wanted more"),
        (
            "m_assumed = 4",
            "m_assumed = 0",
            "privacy.m_assumed: found 0, wanted more, because bicycle_towards",
        ),
        ("k = 10", "k = 10.5", "privacy.k: found 10.5, wanted"),
        ("k = 10", "kk = 10", "privacy.kk: no such key, did you mean 'k'?"),
        (
            'organisation = "',
            'organization = "',
            "owner.organization: no such key, did you mean 'organisation'?",
        ),
        (f'device_id = "{A}"', 'device_id = "AA:BB"', "devices[1].device_id: found 'AA:BB', wanted the 16"),
        (FIRMWARE.hex(), "abc", "devices[1].firmware_digest: found 'abc', wanted 64 hexadecimal digits"),
        ('unit = "1"', 'unit = "km"', "datastreams[1].unit: found 'km', wanted '1' (UCUM)"),
        (
            "unprotected_quantities = []",
            'unprotected_quantities = ["bicycle"]',
            "privacy.unprotected_quantities: found 'bicycle', wanted none that counts",
        ),
        ("is_public = true\n", "", "datastreams[1].is_public: not found, wanted an answer"),
        (
            "active_from = 2023-01-01",
            "active_from = 2031-01-01",
            "active_until: found 2030-12-31, wanted a day",
        ),
        ('measures = "bicycle_away"', 'measures = "bicycle_towards"', "found datastream 'bicycle_towards of"),
        (
            "longitude = 5.1214",
            "longitude = 7.6",
            "G1: location.point: found a point outside of the Dutch grid",
        ),
        ("indoor = false", 'public_cell = "rd100-E0001N0001"', "G1: location.public_cell: found"),
        ("k = 10", "k = ", "not TOML: "),
    ],
)
def test_complaints_name_file_gate_key_and_what_was_wanted(old: str, new: str, wanted: str) -> None:
    said = complaints(changed(old, new))
    assert any(line.startswith(f"{FILE}: {wanted}") for line in said), said


def test_bytes_that_are_no_text_are_placed() -> None:
    with pytest.raises(RecordError, match=r"street\.toml: line 2: found bytes that are not UTF-8"):
        parse(b'id = "street"\n\xff\n', FILE)


def test_a_point_is_never_repeated() -> None:
    for bad in ('"51.98765x"', "151.98765", "7.98765"):
        said = complaints(changed("longitude = 5.1214", f"longitude = {bad}"))
        assert "98765" not in "".join(said)
    assert "5.1214" not in repr(parse(STREET.encode(), FILE))


def test_the_reason_is_the_lowest_gate() -> None:
    broken = changed('access = "', 'access = ""#', changed("k = 10", "k = -1"))
    with pytest.raises(RecordError) as caught:
        parse(broken.encode(), FILE)
    assert caught.value.reason is Reason.G5
    assert caught.value.device_ids == {A}
    with pytest.raises(RecordError) as caught:
        parse(changed("active_until = 2030-12-31\n", "", broken).encode(), FILE)
    assert caught.value.reason is Reason.G1


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_record_or_a_complaint(data: bytes) -> None:
    with pytest.raises(RecordError):
        parse(data, FILE)


@given(st.data())
def test_any_line_may_be_missing(data: st.DataObject) -> None:
    lines = GOVERNED.splitlines()
    gone = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=6))
    text = "\n".join(line for number, line in enumerate(lines) if number not in gone)
    try:
        deployment = parse(text.encode(), FILE)
    except RecordError as error:
        said = str(error)
    else:
        said = "complete"
        assert deployment.record.dtpr.retention
    assert said


def test_devices_of_several_kinds_in_one_record_have_terms_of_their_own() -> None:
    text = new_record(
        id="mixed",
        description="Voorbeeldplein",
        longitude=5.1214,
        latitude=52.0907,
        devices=[NewDevice("teller", A, FIRMWARE, "t", "m"), NewDevice("lucht", B, FIRMWARE, "t", "m")],
        profile=profile.Profile(1, 900, STANDARD_COUNTER.set | AIR.set, (7, 10), (3, 10), 10, 4),
        notified_at=date(2023, 6, 1),
        active_from=date(2024, 1, 1),
        active_until=date(2030, 1, 1),
        organisation="o",
        contact="c",
    )
    parts = text.split("[[datastreams]]")
    for number, part in enumerate(parts[1:], 1):
        name = "teller" if "bicycle" in part else "lucht"
        parts[number] = part.rstrip("\n") + f'\ndevices = ["{name}"]\n\n'
    mandates = parse("[[datastreams]]".join(parts).encode(), FILE).mandates
    assert mandates[A].profile(1) == STANDARD_COUNTER
    assert mandates[B].profile(1) == AIR
    assert mandates[A].profile_digest(1) == profile.digest(STANDARD_COUNTER)
    assert mandates[A].profile_digest(2) != mandates[A].profile_digest(1)
    parts[1] = parts[1].replace('["', '["nobody", "')
    assert (
        "found device 'nobody', wanted one of teller, lucht" in complaints("[[datastreams]]".join(parts))[0]
    )


def test_the_exact_fraction_is_kept() -> None:
    mandate = parse(changed('"7/10"', '"14/20"').encode(), FILE).mandates[A]
    assert mandate.epsilon_leaf == Fraction(7, 10)
    assert mandate.profile(1) == STANDARD_COUNTER
    assert replace(mandate, epsilon_leaf=Fraction(1, 3)).epsilon_micro() == 333_334


def test_what_is_written_is_valid_whatever_the_words() -> None:
    for words in (
        'say "no"',
        "back\\slash",
        "kwaliteit van de lucht in de café-hoek",
        "tab\there",
        "del\x7f",
    ):
        text = record("street", [("fietspad-1", A)], description=words, organisation=words)
        assert parse(text.encode(), FILE).record.location.description == words
    with pytest.raises(RecordError, match="id: found 'Straat 1'"):
        record("Straat 1", [("fietspad-1", A)])


# Catalogue


@pytest.fixture
def records(tmp_path: Path) -> Path:
    (tmp_path / "street.toml").write_text(STREET, "utf-8")
    (tmp_path / "air.toml").write_text(record("air", [("lucht-1", B)], AIR), "utf-8")
    return tmp_path


def test_a_broken_record_stops_only_its_own_deployment(records: Path) -> None:
    (records / "street.toml").write_text(changed("contains_personal_data = false\n", ""), "utf-8")
    catalogue = Catalogue(records)
    assert catalogue.mandate(A) is None
    assert catalogue.refusal(A) is Reason.G1
    assert catalogue.mandate(B) is not None
    assert [error.file.name for error in catalogue.broken] == ["street.toml"]
    assert set(catalogue.deployments) == {"air"}


def test_changes_are_taken_into_force_and_only_changes(records: Path) -> None:
    catalogue = Catalogue(records)
    assert not catalogue.reload()
    revision = catalogue.revision
    (records / "street.toml").write_text("broken = ", "utf-8")
    assert catalogue.reload()
    assert catalogue.revision == revision + 1
    assert (catalogue.mandate(A), catalogue.refusal(A)) == (None, Reason.RECORD_BROKEN)
    (records / "street.toml").unlink()
    assert catalogue.reload()
    assert catalogue.refusal(A) is Reason.NO_DEPLOYMENT
    (records / "street.toml").write_text(STREET, "utf-8")
    assert catalogue.reload()
    assert catalogue.mandate(A) is not None
    assert catalogue.broken == ()


def test_a_change_of_the_same_size_is_seen(records: Path) -> None:
    catalogue = Catalogue(records)
    file = records / "street.toml"
    before = file.stat()
    file.write_text(changed("k = 10", "k = 12"), "utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert file.stat().st_size == before.st_size
    assert catalogue.reload()
    mandate = catalogue.mandate(A)
    assert mandate is not None
    assert mandate.k == 12


def test_a_second_record_cannot_take_a_device_or_an_id(records: Path) -> None:
    (records / "thief.toml").write_text(changed('id = "street"', 'id = "thief"'), "utf-8")
    (records / "twin.toml").write_text(record("street", [("x", "c" * 16)]), "utf-8")
    catalogue = Catalogue(records)
    mandate = catalogue.mandate(A)
    assert mandate is not None
    assert mandate.deployment == "street"
    assert [str(error) for error in catalogue.broken] == [
        f"{records}/thief.toml: devices[1].device_id: found a device that street.toml has, "
        "wanted each device in one record",
        f"{records}/twin.toml: id: found 'street', which street.toml has; wanted its own",
    ]
    assert catalogue.refusal("c" * 16) is Reason.RECORD_BROKEN


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "nowhere")
    assert catalogue.deployments == {}
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "street.toml").write_text(STREET, "utf-8")
    assert catalogue.reload()
    assert set(catalogue.deployments) == {"street"}


def test_what_is_told_in_public_has_no_device_and_no_point(records: Path) -> None:
    catalogue = Catalogue(records)
    told = [catalogue.describe(key) for key in catalogue.datastreams]
    # Two counts, each by the window and by the day, and four means.
    assert len(told) == 2 * 2 + 4
    assert not any(A in repr(one) or B in repr(one) for one in told)
    assert not any("5.1214" in repr(one) and "52.0907" in repr(one) for one in told)
    first = catalogue.describe("street/fietspad-1/bicycle_towards")
    assert first is not None
    assert first.cell == "rd100-E1367N4558"
    assert first.facts["threshold_k"] == 10
    assert first.facts["epsilon_person"] == "4"
    assert first.facts["epsilon_person_of"] == "4 passages a day at one sensor; along more it adds up"
    assert catalogue.describe("street/fietspad-1/pedestrian") is None


def test_nothing_is_told_of_what_is_not_public_or_indoors(records: Path) -> None:
    for old, new, hidden in (
        ("is_public = true", "is_public = false", ["street/fietspad-1/bicycle_towards"]),
        (
            "indoor = false",
            "indoor = true",
            ["street/fietspad-1/bicycle_away", "street/fietspad-1/bicycle_towards"],
        ),
    ):
        (records / "street.toml").write_text(changed(old, new), "utf-8")
        catalogue = Catalogue(records)
        with_days = sorted(key + tail for key in hidden for tail in ("", "/day"))
        assert sorted(key for key in catalogue.datastreams if catalogue.describe(key) is None) == with_days
        assert sorted(s.key for s in catalogue.mandate(A).streams.values() if not s.is_public) == hidden  # type: ignore[union-attr]


def test_an_explanation_says_what_at_which_detail_and_why() -> None:
    said = explain(parse(STREET.encode(), FILE), ENGLISH)
    assert "Bicycles, towards: published as open data, one figure for every 15 minutes." in said
    assert "standard deviation 2.0" in said
    assert "epsilon 4 a day" in said
    assert "the square rd100-E1367N4558 of 100 m" in said
    assert A not in said
    assert "5.1214" not in said


def test_an_explanation_is_in_the_officers_own_language() -> None:
    deployment = parse(STREET.encode(), FILE)
    said = explain(deployment, DUTCH)
    assert "Fietsers, heen: gepubliceerd als open data, één cijfer per 15 minuten." in said
    assert "willekeurige ruis bij op (standaardafwijking 2,0)" in said
    assert "is beschermd met epsilon 4 per dag" in said
    assert "epsilon 0,7 in haar tijdvak en 0,3 in het dagtotaal, samen 1." in said
    assert "het vak rd100-E1367N4558 van 100 m" in said
    # Line for line the same is said; what differs is no leftover of the other language.
    lines = [explain(deployment, language).splitlines() for language in (ENGLISH, DUTCH)]
    assert len(lines[0]) == len(lines[1])
    same = [one for one, other in zip(*lines, strict=True) if one == other and one.strip()]
    assert all(line.startswith("fietspad-1 (") for line in same)


def test_every_sentence_of_an_explanation_is_used() -> None:
    folder = Path(__file__).parents[2] / "gateway" / "peilmerk_gateway" / "deployments"
    sources = "".join((folder / name).read_text("utf-8") for name in ("explain.py", "cli.py"))
    for key in load(TEXTS.read_text("utf-8"))["nl"]:
        if key.startswith("explain."):
            assert f'"{key}"' in sources or f"'{key}'" in sources, key


def full_air() -> str:
    return record("lucht", [("lucht-1", A)], AIR_FULL)


def test_extremes_need_their_mean_and_its_publicity() -> None:
    good = parse(full_air().encode(), FILE)
    assert good.mandates[A].profile(1) == AIR_FULL
    told = explain(good, ENGLISH)
    assert "With the lowest and the highest sample" in told
    assert "lowest and highest:" not in told, "extremes are no figures of their own"
    without_its_mean = profile.Profile(1, 900, AIR_FULL.set & ~(1 << quantities.PM10), (0, 1), (0, 1), 0, 0)
    with pytest.raises(RecordError, match=r"pm10_extremes: found it of lucht-1 otherwise than pm10, .*both$"):
        parse(record("lucht", [("lucht-1", A)], without_its_mean).encode(), FILE)
    secret = re.sub(
        r'(measures = "pm10_extremes"(?:\n.+)*?\nis_public = )true', r"\1false", full_air(), count=1
    )
    assert secret != full_air()
    with pytest.raises(RecordError, match=r"pm10_extremes: .*wanted is_public the same for both"):
        parse(secret.encode(), FILE)


def test_an_explanation_tells_of_the_days_total_and_its_noise() -> None:
    told = explain(parse(record("street", [("fietspad-1", A)]).encode(), FILE), ENGLISH)
    assert "Bicycles, towards, total of the day: published as open data, one figure for every whole" in told
    assert "standard deviation 4.7" in told
