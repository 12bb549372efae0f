"""The gates that look at a whole record: what an answer makes necessary, and from when to when it holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_street import FIRMWARE, NOW, WINDOW, record

from peilmerk_gateway.admit import Admitted, admit_report
from peilmerk_gateway.deployments import gates
from peilmerk_gateway.deployments.deployment import RecordError, parse
from peilmerk_gateway.deployments.explain import explain
from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.open import Opened
from peilmerk_gateway.refusal import Reason, Refusal, sentence
from peilmerk_gateway.store import AttestationRow, Known
from peilmerk_gateway.web.language import languages
from peilmerk_protocol import profile, topics
from peilmerk_protocol.profile import STANDARD_COUNTER
from peilmerk_protocol.report import Report

DEVICE = "a" * 16
FILE = Path("street.toml")
PURPOSE = 'goal = "Knowing how busy'
PERSONAL = [
    ("contains_personal_data = false", "contains_personal_data = true"),
    (
        PURPOSE,
        'legal_ground = "GDPR 6(1)(e)"\nprivacy_declaration_url = "https://example.org/privacy"\n' + PURPOSE,
    ),
]
ON_DEVICE = [
    *PERSONAL[1:],
    ("on_device_personal_data = false", "on_device_personal_data = true"),
    (
        "[dtpr]",
        '[dpia]\nstatus = "approved"\ndate = 2023-01-10\nreview_due = 2026-01-09\n\n[dtpr]',
    ),
]
RADIO = [
    *ON_DEVICE,
    ('model = "a model"', 'model = "a model"\nradio_capture = true'),
    ("indoor = false", 'indoor = false\nobserved_area = "The market square, north of the fountain"'),
]


def written(*changes: tuple[str, str], **values: object) -> str:
    text = record("street", [("fietspad-1", DEVICE)], **values)
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def complaints(text: str) -> list[str]:
    try:
        parse(text.encode(), FILE)
    except RecordError as error:
        return [str(complaint) for complaint in error.complaints]
    return []


def without(line: str, changes: list[tuple[str, str]]) -> str:
    text = written(*changes)
    assert text.count(line) == 1, line
    return text.replace(line, "")


@pytest.mark.parametrize("changes", [[], PERSONAL, ON_DEVICE, RADIO])
def test_records_that_answer_everything_are_usable(changes: list[tuple[str, str]]) -> None:
    assert complaints(written(*changes)) == []


@pytest.mark.parametrize("changes", [PERSONAL, ON_DEVICE])
@pytest.mark.parametrize(
    ("line", "key", "what"),
    [
        ('legal_ground = "GDPR 6(1)(e)"\n', "legal_ground", "the legal ground"),
        (
            'privacy_declaration_url = "https://example.org/privacy"\n',
            "privacy_declaration_url",
            "the address of the privacy declaration",
        ),
    ],
)
def test_g2_personal_data_without_ground_or_declaration(
    changes: list[tuple[str, str]], line: str, key: str, what: str
) -> None:
    assert complaints(without(line, changes)) == [
        f"G2: purposes[1].{key}: not found, wanted {what}, because personal data is handled"
    ]


def test_g2_personal_data_without_any_purpose() -> None:
    text = written(("contains_personal_data = false", "contains_personal_data = true"))
    for line in ("[[purposes]]", 'goal = "Knowing', 'dtpr_purpose = "'):
        assert text.count(f"\n{line}") == 1
        text = text.replace(f"\n{line}", f"\n# {line}")
    assert complaints(text) == [
        "G2: purposes: found none, wanted one with its legal ground, because personal data is handled"
    ]


def test_g3_nobody_was_notified() -> None:
    (said,) = complaints(written(("notified_at = 2022-12-01\n", "")))
    assert said.startswith("G3: notified_at: not found, wanted the day on which")
    (said,) = complaints(written(("notified_at = 2022-12-01", 'notified_at = "soon"')))
    assert said.startswith("G3: notified_at: found 'soon', wanted a date")


def test_a_private_host_is_exempt_from_notification_and_from_nothing_else() -> None:
    text = written(notified_at=None)
    assert "private_host = true" in text
    assert complaints(text) == []
    text = text.replace("on_device_personal_data = false", "on_device_personal_data = true")
    assert {said[:2] for said in complaints(text)} == {"G2", "G4"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[dpia]\nstatus = "approved"\ndate = 2023-01-10\nreview_due = 2026-01-09\n', "dpia: not found"),
        ("date = 2023-01-10\n", "dpia.date: not found"),
        ("review_due = 2026-01-09\n", "dpia.review_due: not found"),
    ],
)
def test_g4_personal_data_on_the_device_without_assessment(line: str, said: str) -> None:
    (found,) = complaints(without(line, ON_DEVICE))
    assert found.startswith(f"G4: {said}, wanted the ")
    assert found.endswith("because personal data is handled on the device")


def test_whether_personal_data_is_on_the_device_must_be_answered() -> None:
    assert complaints(written(("on_device_personal_data = false\n", ""))) == [
        "G1: on_device_personal_data: not found, wanted an answer"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("active_from = 2023-01-01\n", "active_from: not found, wanted the first day of the period"),
        (
            'observed_area = "The market square, north of the fountain"\n',
            "location.observed_area: not found, wanted the area in precise words",
        ),
    ],
)
def test_g8_radio_without_period_or_area(line: str, said: str) -> None:
    assert complaints(without(line, RADIO)) == [f"G8: {said}, because of devices[1].radio_capture"]


def test_counts_of_short_windows_are_not_public() -> None:
    short = written(("window_s = 900", "window_s = 300"))
    (said,) = complaints(short)
    assert (
        "privacy.window_s: found 300, wanted at least 900, because datastreams[1] (bicycle_towards)" in said
    )
    assert "public as a class only" in said
    # Kept for whoever watches over a crowd, or indoors, where nothing is public, they may be.
    kept = short.replace("is_public = true\nis_open_data = true", "is_public = false\nis_open_data = false")
    assert kept != short
    assert complaints(kept) == []
    assert complaints(short.replace("indoor = false", "indoor = true")) == []


def test_g8_addresses_of_radios_are_personal_data() -> None:
    radio = [change for change in RADIO if "model" in change[0] or "indoor" in change[0]]
    assert complaints(written(*radio)) == [
        "G8: on_device_personal_data: found false, wanted true: addresses of radios are personal data, "
        "devices[1].radio_capture"
    ]


def test_g8_what_counts_without_class_must_say_whether_it_listens_to_radio() -> None:
    unclassified = ('measures = "bicycle_towards"', 'measures = "unclassified"')
    (said,) = complaints(written(unclassified))
    assert said.startswith("G8: devices[1].radio_capture: not found, wanted true or false")
    answered = ('model = "a model"', 'model = "a model"\nradio_capture = false')
    assert complaints(written(unclassified, answered)) == []


def mandate(*changes: tuple[str, str]) -> Mandate:
    return parse(written(*changes).encode(), FILE).mandates[DEVICE]


def judge(terms: Mandate, start: datetime, kind: int = topics.REPORT) -> Reason | None:
    window = int(start.timestamp()) // terms.length_s(kind)
    attested = AttestationRow(DEVICE, 1, 1, FIRMWARE, profile.digest(STANDARD_COUNTER), 1, 1)
    message = Report(7, window, 1, 0, {5: (17,)})
    opened = Opened(DEVICE, message, 40, b"d" * 32, False, kind)
    now = start.timestamp() + terms.length_s(kind)
    judged = admit_report(opened, message, Known(attested=attested), terms, now)
    if isinstance(judged, Refusal):
        return judged.reason
    assert isinstance(judged, Admitted)
    return None


def test_g3_windows_before_five_days_of_notice_and_after_the_last_day() -> None:
    terms = mandate(("notified_at = 2022-12-01", "notified_at = 2024-02-26"), ("2030-12-31", "2024-03-02"))
    # 26 February and five days, in a leap year; the last day ends in the Netherlands at 23:00 UTC.
    first, last = datetime(2024, 3, 2, tzinfo=UTC), datetime(2024, 3, 2, 21, 45, tzinfo=UTC)
    assert judge(terms, first) is None
    assert judge(terms, first - timedelta(minutes=15)) is Reason.G3
    assert judge(terms, last) is None
    assert judge(terms, last + timedelta(minutes=15)) is Reason.G3
    assert judge(mandate(), datetime(2023, 1, 1, tzinfo=UTC)) is None
    assert judge(mandate(), datetime(2022, 12, 31, 23, 45, tzinfo=UTC)) is Reason.G3


def test_g3_a_day_that_reaches_beyond_the_last_hour_has_no_total() -> None:
    terms = mandate(("2030-12-31", "2024-03-02"))
    assert judge(terms, datetime(2024, 3, 1, tzinfo=UTC), topics.DAY) is None
    assert judge(terms, datetime(2024, 3, 2, tzinfo=UTC), topics.DAY) is Reason.G3


def test_g4_windows_before_the_assessment_and_after_its_review_was_due() -> None:
    terms = mandate(*ON_DEVICE)
    assert judge(terms, datetime(2023, 1, 9, 23, 45, tzinfo=UTC)) is Reason.G4
    assert judge(terms, datetime(2023, 1, 10, tzinfo=UTC)) is None
    assert judge(terms, datetime(2026, 1, 9, 21, 45, tzinfo=UTC)) is None
    assert judge(terms, datetime(2026, 1, 9, 22, 0, tzinfo=UTC)) is Reason.G4


@given(st.dates(date(2020, 1, 1), date(2037, 12, 31)))
def test_no_day_is_longer_than_it_is_in_the_netherlands(day: date) -> None:
    zone = ZoneInfo("Europe/Amsterdam")
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
    after = day + timedelta(days=1)
    assert gates._begin(day) >= midnight
    assert gates._end(day) <= datetime(after.year, after.month, after.day, tzinfo=zone).timestamp()


def test_the_explanation_says_from_when_to_when() -> None:
    text = written(("notified_at = 2022-12-01", "notified_at = 2024-02-26"))
    assert "From 2024-03-02 until 2030-12-31." in explain(parse(text.encode(), FILE), languages()["en"])
    private = parse(written(("active_from = 2023-01-01\n", ""), notified_at=None).encode(), FILE)
    assert "Until 2030-12-31." in explain(private, languages()["en"])


@pytest.mark.parametrize(
    ("day", "english", "dutch"),
    [
        (date(2024, 3, 1), "G3 refuses until 2024-03-02: ", "G3 weigert tot 2024-03-02: "),
        (date(2024, 3, 2), None, None),
        (date(2030, 12, 31), None, None),
        (date(2031, 1, 1), "G3 refuses after 2030-12-31: ", "G3 weigert na 2030-12-31: "),
    ],
)
def test_the_explanation_says_that_nothing_is_published_yet_or_any_more(
    day: date, english: str | None, dutch: str | None
) -> None:
    read = parse(written(("notified_at = 2022-12-01", "notified_at = 2024-02-26")).encode(), FILE)
    for code, wanted in (("en", english), ("nl", dutch)):
        told = [line for line in explain(read, languages()[code], day).splitlines() if line.startswith("G")]
        assert told == ([wanted + sentence(Reason.G3, code)] if wanted else [])


@pytest.mark.parametrize("gate", [f"G{number}" for number in range(1, 9)])
def test_every_gate_has_a_sentence_in_both_languages(gate: str) -> None:
    english, dutch = sentence(gate), sentence(gate, "nl")
    assert gate not in (english, dutch)
    assert english != dutch


def test_now_lies_where_the_record_of_these_tests_is_in_force() -> None:
    assert mandate().in_force.holds(WINDOW * 900, int(NOW))
