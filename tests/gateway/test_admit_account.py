"""Admit and account: every rule with its reason, the edges of time and threshold, the price of a window."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_street import FIRMWARE, NOW, WINDOW, record

from peilmerk_gateway.account import account
from peilmerk_gateway.admit import AHEAD_S, BEHIND_S, Admitted, Redelivered, admit_report, admit_statement
from peilmerk_gateway.deployments.deployment import parse
from peilmerk_gateway.deployments.mandate import Mandate
from peilmerk_gateway.open import Opened
from peilmerk_gateway.refusal import Reason, Refusal, sentence
from peilmerk_gateway.store import AttestationRow, Entry, Known
from peilmerk_protocol import profile, topics
from peilmerk_protocol.profile import AIR, AIR_FULL, STANDARD_COUNTER
from peilmerk_protocol.report import HEALTH_PARTIAL, HEALTH_PAUSED, Report
from peilmerk_protocol.statement import Statement

DEVICE = "a" * 16
DIGEST = b"d" * 32
ATTESTED = AttestationRow(DEVICE, 1, 1, FIRMWARE, profile.digest(STANDARD_COUNTER), 1, 1)
FRESH = Known(attested=ATTESTED)


def mandate_for(agreed: profile.Profile) -> Mandate:
    text = record("street", [("fietspad-1", DEVICE)], agreed)
    return parse(text.encode(), Path("street.toml")).mandates[DEVICE]


COUNTER, AIR_NODE = mandate_for(STANDARD_COUNTER), mandate_for(AIR)


def judge(
    known: Known = FRESH,
    terms: Mandate | Reason = COUNTER,
    *,
    values: dict[int, tuple[int, ...]] | None = None,
    window: int = WINDOW,
    revision: int = 1,
    redelivered: bool = False,
    now: float = NOW,
) -> Admitted | Redelivered | Reason:
    message = Report(7, window, revision, 0, {5: (17,), 6: (12,)} if values is None else values)
    judged = admit_report(Opened(DEVICE, message, 40, DIGEST, redelivered), message, known, terms, now)
    if isinstance(judged, Refusal):
        assert (judged.device_id, judged.size, judged.at) == (DEVICE, 40, now)
        return judged.reason
    return judged


def test_what_keeps_to_its_record_is_admitted() -> None:
    admitted = judge()
    assert isinstance(admitted, Admitted)
    assert admitted.window_start == WINDOW * 900


def test_without_a_usable_record_nothing_is_admitted() -> None:
    for reason in (Reason.NO_DEPLOYMENT, Reason.RECORD_BROKEN, Reason.G1, Reason.G5):
        assert judge(terms=reason) is reason
    assert judge(terms=replace(COUNTER, active=False)) is Reason.DEVICE_INACTIVE


def test_a_device_must_have_stated_what_it_runs() -> None:
    assert judge(Known()) is Reason.NOT_ATTESTED
    assert judge(revision=2) is Reason.NOT_ATTESTED


def test_g6_firmware_or_privacy_terms_other_than_the_record() -> None:
    other = ATTESTED._replace(firmware_digest=bytes(32))
    assert judge(Known(attested=other)) is Reason.G6
    for change in (
        {"epsilon_leaf": Fraction(9, 10)},
        {"epsilon_day": Fraction(4, 10)},
        {"k": 9},
        {"m_assumed": 5},
        {"window_s": 1800},
        {"streams": MappingProxyType({**COUNTER.streams, 7: COUNTER.streams[5]})},
    ):
        changed = replace(COUNTER, _digests={}, **change)
        assert judge(terms=changed, window=WINDOW - 9) is Reason.G6, change
    assert "deployment record" in sentence(Reason.G6)
    assert "inzetdossier" in sentence(Reason.G6, "nl")


def test_g7_anything_undeclared() -> None:
    assert judge(values={5: (17,), 7: (1,)}) is Reason.G7
    assert judge(values={4: (9,)}) is Reason.G7, "samples belong to means, and a counter has none"
    air = Known(attested=ATTESTED._replace(profile_digest=profile.digest(AIR)))
    assert isinstance(judge(air, AIR_NODE, values={0: (120, 4), 4: (9,)}), Admitted)
    assert judge(air, AIR_NODE, values={5: (17,)}) is Reason.G7


def test_fewer_quantities_than_declared_are_a_sensor_fault_not_a_refusal() -> None:
    assert isinstance(judge(values={}), Admitted)


def test_windows_must_have_passed_and_not_be_ancient() -> None:
    end = (WINDOW + 1) * 900
    assert isinstance(judge(now=end - AHEAD_S), Admitted)
    assert judge(now=end - AHEAD_S - 0.5) is Reason.WINDOW_AHEAD
    assert isinstance(judge(now=end + BEHIND_S), Admitted)
    assert judge(now=end + BEHIND_S + 0.5) is Reason.WINDOW_BEHIND


def test_windows_are_disjoint() -> None:
    start = WINDOW * 900
    assert isinstance(judge(FRESH._replace(window_end_before=start)), Admitted)
    assert judge(FRESH._replace(window_end_before=start + 1)) is Reason.WINDOW_REPEATED


@pytest.mark.parametrize(
    ("stored", "redelivered", "wanted"),
    [
        (DIGEST, True, Redelivered(DEVICE)),
        (DIGEST, False, Reason.REPLAYED),
        (b"", True, Redelivered(DEVICE)),
        (b"", False, Reason.REPLAYED),
        (b"e" * 32, True, Reason.SEQUENCE_REUSED),
        (b"e" * 32, False, Reason.SEQUENCE_REUSED),
    ],
)
def test_a_number_that_was_used(stored: bytes, redelivered: bool, wanted: Redelivered | Reason) -> None:
    assert judge(FRESH._replace(report_digest=stored), redelivered=redelivered) == wanted


def test_a_report_under_a_statements_number_is_no_repetition() -> None:
    assert judge(FRESH._replace(is_statement=True), redelivered=True) is Reason.SEQUENCE_REUSED


def test_statements_are_taken_once_and_need_no_record() -> None:
    said = Statement(3, 1, FIRMWARE, bytes(32), 1, (0, 1, 0), (1, 29, 0), 4, 1, 1, 1)
    opened = Opened(DEVICE, said, 90, DIGEST, redelivered=False)
    row = admit_statement(opened, said, Known(), NOW)
    assert row == AttestationRow(DEVICE, 3, 1, FIRMWARE, bytes(32), 1, 4, 1)
    again = admit_statement(opened, said, Known(is_statement=True), NOW)
    assert isinstance(again, Refusal)
    assert again.reason is Reason.REPLAYED
    brought = replace(opened, redelivered=True)
    assert admit_statement(brought, said, Known(is_statement=True), NOW) == Redelivered(DEVICE)
    reused = admit_statement(brought, said, Known(report_digest=DIGEST), NOW)
    assert isinstance(reused, Refusal)
    assert reused.reason is Reason.SEQUENCE_REUSED


def entry(values: dict[int, tuple[int, ...]], terms: Mandate = COUNTER) -> Entry:
    return account(Admitted(DEVICE, Report(7, WINDOW, 1, 0, values), terms, DIGEST))


def test_the_threshold_is_on_the_noisy_figure_and_includes_k() -> None:
    made = entry({5: (10,), 6: (9,)})
    assert [(row.datastream, row.result) for row in made.observations] == [
        ("street/fietspad-1/bicycle_towards", 10)
    ]
    assert [(row.datastream, row.reason) for row in made.withheld] == [
        ("street/fietspad-1/bicycle_away", "below-k")
    ]
    assert [(row.quantity, row.epsilon_micro) for row in made.ledger] == [(5, 700_000), (6, 700_000)]


def test_a_withheld_figure_cannot_be_tried_out_against_a_digest() -> None:
    assert entry({5: (10,), 6: (9,)}).report.digest is None
    assert entry({5: (10,), 6: (10,)}).report.digest == DIGEST


DAY = int(NOW) // 86_400 - 1


def judge_day(
    known: Known = FRESH,
    terms: Mandate = COUNTER,
    *,
    values: dict[int, tuple[int, ...]] | None = None,
    day: int = DAY,
    now: float = NOW,
) -> Admitted | Redelivered | Reason:
    message = Report(7, day, 1, 0, {5: (400,), 6: (380,)} if values is None else values)
    opened = Opened(DEVICE, message, 40, DIGEST, False, topics.DAY)
    judged = admit_report(opened, message, known, terms, now)
    return judged.reason if isinstance(judged, Refusal) else judged


def test_a_days_total_is_admitted_once_the_day_has_passed_and_once_only() -> None:
    admitted = judge_day()
    assert isinstance(admitted, Admitted)
    assert (admitted.window_start, admitted.window_s) == (DAY * 86_400, 86_400)
    end = (DAY + 1) * 86_400
    assert isinstance(judge_day(now=end - AHEAD_S), Admitted)
    assert judge_day(now=end - AHEAD_S - 0.5) is Reason.WINDOW_AHEAD
    assert judge_day(now=end + BEHIND_S + 0.5) is Reason.WINDOW_BEHIND
    assert judge_day(FRESH._replace(window_end_before=DAY * 86_400 + 1)) is Reason.WINDOW_REPEATED
    assert isinstance(judge_day(FRESH._replace(window_end_before=DAY * 86_400)), Admitted)
    assert judge_day(Known()) is Reason.NOT_ATTESTED


def test_a_day_may_hold_declared_counts_only_and_none_without_an_epsilon_for_it() -> None:
    assert isinstance(judge_day(values={5: (400,)}), Admitted)
    assert judge_day(values={5: (400,), 7: (1,)}) is Reason.G7
    none = profile.Profile(1, 900, STANDARD_COUNTER.set, (7, 10), (0, 1), 10, 4)
    attested = ATTESTED._replace(profile_digest=profile.digest(none))
    known = FRESH._replace(attested=attested)
    assert judge_day(known, mandate_for(none)) is Reason.G7
    assert isinstance(judge_day(known, mandate_for(none), values={}), Admitted)
    air = FRESH._replace(attested=ATTESTED._replace(profile_digest=profile.digest(AIR)))
    assert judge_day(air, AIR_NODE, values={0: (4, 0)}) is Reason.G7


def day_entry(values: dict[int, tuple[int, ...]], health: int = 0) -> Entry:
    return account(Admitted(DEVICE, Report(7, DAY, 1, health, values), COUNTER, DIGEST, topics.DAY))


def test_a_days_total_costs_the_epsilon_of_the_day_and_is_a_figure_of_its_own() -> None:
    made = day_entry({5: (400,), 6: (9,)})
    assert [(row.datastream, row.window_start, row.window_s, row.result) for row in made.observations] == [
        ("street/fietspad-1/bicycle_towards/day", DAY * 86_400, 86_400, 400)
    ]
    assert math.isclose(made.observations[0].noise_scale or 0, 4.696, abs_tol=1e-3)
    assert [(row.datastream, row.reason) for row in made.withheld] == [
        ("street/fietspad-1/bicycle_away/day", "below-k")
    ]
    assert [(row.quantity, row.kind, row.epsilon_micro) for row in made.ledger] == [
        (5, topics.DAY, 300_000),
        (6, topics.DAY, 300_000),
    ]
    assert (made.report.kind, made.report.window_s, made.report.digest) == (topics.DAY, 86_400, None)


def test_part_of_a_day_is_paid_for_and_withheld() -> None:
    made = day_entry({5: (400,), 6: (380,)}, HEALTH_PARTIAL)
    assert made.observations == ()
    assert {row.reason for row in made.withheld} == {"partial-day"}
    assert len(made.withheld) == len(made.ledger) == 2
    # A window of which a part is missing tells what it tells.
    leaf = account(Admitted(DEVICE, Report(7, WINDOW, 1, HEALTH_PARTIAL, {5: (40,)}), COUNTER, DIGEST))
    assert len(leaf.observations) == 1


FULL_NODE = mandate_for(AIR_FULL)


def test_the_record_of_a_full_air_node_asks_for_the_full_profile() -> None:
    assert FULL_NODE.profile(1) == AIR_FULL
    assert sorted(FULL_NODE.observed) == [0, 1, 2, 3]


def test_extremes_and_completeness_go_along_with_their_mean() -> None:
    values = {0: (40, 3), 2: (-85, 12), 3: (700, 1), 4: (6,), 24: (83,), 25: (31, 62), 27: (-99, -70)}
    made = entry(values, FULL_NODE)
    assert [
        (row.quantity, row.result, row.spread, row.samples, row.minimum, row.maximum, row.completeness)
        for row in made.observations
    ] == [(0, 40, 3, 6, 31, 62, 83), (2, -85, 12, 6, -99, -70, 83), (3, 700, 1, 6, None, None, 83)]
    assert made.ledger == ()


def test_extremes_that_the_record_does_not_declare_are_function_creep() -> None:
    assert judge(FRESH._replace(attested=ATTESTED), AIR_NODE, values={25: (31, 62)}) is Reason.G7
    assert judge(FRESH._replace(attested=ATTESTED), AIR_NODE, values={24: (83,)}) is Reason.G7


def test_while_an_update_is_under_way_either_firmware_may_report() -> None:
    text = record("street", [("fietspad-1", DEVICE)])
    named = f'firmware_digest = "{FIRMWARE.hex()}"'
    assert text.count(named) == 1
    text = text.replace(named, f'{named}\nnext_firmware_digest = "{"ab" * 32}"')
    both = parse(text.encode(), Path("street.toml")).mandates[DEVICE]
    updated = FRESH._replace(attested=ATTESTED._replace(firmware_digest=b"\xab" * 32))
    assert isinstance(judge(FRESH, both), Admitted)
    assert isinstance(judge(updated, both), Admitted)
    assert judge(updated, COUNTER) is Reason.G6
    other = FRESH._replace(attested=ATTESTED._replace(firmware_digest=b"\xcd" * 32))
    assert judge(other, both) is Reason.G6


def test_a_paused_sensor_reports_nothing_and_is_admitted() -> None:
    message = Report(7, WINDOW, 1, HEALTH_PAUSED, {})
    admitted = admit_report(Opened(DEVICE, message, 40, DIGEST, False), message, FRESH, COUNTER, NOW)
    assert isinstance(admitted, Admitted)
    made = account(admitted)
    assert (made.observations, made.withheld, made.ledger) == ((), (), ())
    assert made.report.health == HEALTH_PAUSED


def test_noise_is_told_with_its_standard_deviation() -> None:
    assert math.isclose(entry({5: (17,)}).observations[0].noise_scale or 0, 1.979, abs_tol=1e-3)


def test_physical_figures_pass_as_they_are() -> None:
    made = entry({0: (4, 0), 2: (-85, 12), 4: (6,)}, AIR_NODE)
    assert [(row.quantity, row.result, row.spread, row.samples) for row in made.observations] == [
        (0, 4, 0, 6),
        (2, -85, 12, 6),
    ]
    assert made.ledger == ()
    assert made.withheld == ()
    assert {row.noise_scale for row in made.observations} == {None}


def test_public_ids_never_contain_the_device() -> None:
    made = entry({5: (17,), 6: (1,)})
    public = [row.datastream for row in made.observations] + [row.datastream for row in made.withheld]
    assert not any(DEVICE in key for key in public)


def test_a_price_that_is_no_round_number_is_rounded_up() -> None:
    third = replace(COUNTER, epsilon_leaf=Fraction(1, 3))
    assert entry({5: (17,)}, third).ledger[0].epsilon_micro == 333_334


values = st.dictionaries(st.sampled_from([5, 6, 7, 13]), st.tuples(st.integers(-65_536, 65_535)), max_size=4)
known = st.builds(
    Known,
    report_digest=st.sampled_from([None, b"", DIGEST, bytes(32)]),
    is_statement=st.booleans(),
    window_end_before=st.none() | st.integers(0, 2**43),
    attested=st.none() | st.sampled_from([ATTESTED, ATTESTED._replace(revision=2)]),
)


@given(
    known=known,
    terms=st.sampled_from([COUNTER, AIR_NODE, Reason.NO_DEPLOYMENT]),
    values=values,
    window=st.integers(0, 2**32 - 1),
    revision=st.integers(0, 255),
    redelivered=st.booleans(),
    now=st.floats(0, 2**40),
)
def test_every_report_is_judged_and_what_is_admitted_is_accounted(
    known: Known,
    terms: Mandate | Reason,
    values: dict[int, tuple[int, ...]],
    window: int,
    revision: int,
    redelivered: bool,
    now: float,
) -> None:
    judged = judge(
        known, terms, values=values, window=window, revision=revision, redelivered=redelivered, now=now
    )
    if not isinstance(judged, Admitted):
        return
    assert terms is COUNTER
    assert not known.is_stored
    made = account(judged)
    assert [row.quantity for row in made.ledger] == list(values)
    assert len(made.observations) + len(made.withheld) == len(values)
    assert all(row.result >= 10 for row in made.observations)
    assert account(judged) == made


def test_every_reason_has_its_sentences() -> None:
    for reason in Reason:
        assert sentence(reason) != str(reason)
        assert sentence(reason, "nl") not in (str(reason), sentence(reason))
    assert sentence("something-else") == "something-else"
