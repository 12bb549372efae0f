"""Which safeguards a deployment has, and which tests prove them: "file::test" in the source of this
release.

A safeguard without a test is not listed. Texts are "annex.safeguard.<key>" of texts.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from peilmerk_gateway.deployments.record import Record


@dataclass(frozen=True)
class Safeguard:
    """One safeguard, where it applies, and the tests that prove it."""

    key: str
    where: Literal["always", "counts", "radio", "indoor", "home"]
    tests: tuple[str, ...]


SAFEGUARDS = (
    Safeguard(
        "exact",
        "counts",
        (
            "tests/firmware/test_node_window.py::test_release_overwrites_counts_and_noise_and_draws_in_rising_order",
            "tests/firmware/test_node_cycle.py::test_no_exact_count_lies_in_the_clocks_memory",
            "tests/firmware/test_node_app.py::test_no_secret_and_no_exact_count_on_the_console",
            "tests/portal/test_local_page.py::test_no_exact_count_is_on_the_page_and_the_latest_samples_are",
        ),
    ),
    Safeguard(
        "noise",
        "counts",
        (
            "tests/firmware/test_node_laplace.py::test_distribution_is_the_discrete_laplace",
            "tests/firmware/test_node_laplace.py::test_no_float_and_no_pseudo_random_generator_on_the_privacy_path",
            "tests/end_to_end/test_trace_to_platform.py::test_counts_are_the_traces_counts_plus_the_noise_drawn_again",
        ),
    ),
    Safeguard(
        "entropy",
        "counts",
        (
            "tests/firmware/test_node_laplace.py::test_entropy_is_refused_while_the_radio_is_off",
            "tests/firmware/test_node_cycle.py::test_without_true_randomness_no_count_leaves_and_it_is_tried_again",
        ),
    ),
    Safeguard(
        "once",
        "counts",
        (
            "tests/firmware/test_node_cycle.py::test_resets_at_any_moment_release_no_window_and_no_day_twice",
            "tests/gateway/test_admit_account.py::test_windows_are_disjoint",
            "tests/end_to_end/test_trace_to_platform.py::test_the_ledger_is_spent_once_a_quantity_and_window",
        ),
    ),
    Safeguard(
        "threshold",
        "counts",
        ("tests/gateway/test_admit_account.py::test_the_threshold_is_on_the_noisy_figure_and_includes_k",),
    ),
    Safeguard(
        "timing",
        "counts",
        ("tests/firmware/test_node_cycle.py::test_when_a_report_is_made_tells_nothing_about_its_noise",),
    ),
    Safeguard(
        "radio",
        "radio",
        (
            "tests/counters/test_radio.py::test_no_canary_is_left_when_the_window_closes",
            "tests/counters/test_radio.py::test_it_works_in_its_period_only_and_with_a_known_clock_only",
            "tests/firmware/test_node_radio.py::test_no_address_leaves_and_none_is_left",
        ),
    ),
    Safeguard(
        "record",
        "always",
        (
            "tests/gateway/test_admit_account.py::test_without_a_usable_record_nothing_is_admitted",
            "tests/gateway/test_admit_account.py::test_g6_firmware_or_privacy_terms_other_than_the_record",
            "tests/gateway/test_admit_account.py::test_g7_anything_undeclared",
            "tests/gateway/test_gates.py::test_g3_windows_before_five_days_of_notice_and_after_the_last_day",
            "tests/gateway/test_gates.py::test_g4_windows_before_the_assessment_and_after_its_review_was_due",
        ),
    ),
    Safeguard(
        "place",
        "always",
        (
            "tests/gateway/test_grid.py::test_every_point_of_a_cell_gives_the_same_cell",
            "tests/end_to_end/test_trace_to_platform.py::test_nothing_public_tells_device_ids_or_points",
            "tests/publish/test_from_records.py::test_no_byte_names_board_point_or_person",
            "tests/deployments_exports/test_exports_are_public.py::test_no_export_tells_a_place_a_board_or_a_person",
        ),
    ),
    Safeguard(
        "indoor",
        "indoor",
        (
            "tests/web/test_page.py::test_what_hangs_indoors_is_not_shown_at_all",
            "tests/gateway/test_place_home.py::test_indoors_nothing_is_published_whatever_the_record_says",
        ),
    ),
    Safeguard(
        "home",
        "home",
        (
            "tests/gateway/test_place_home.py::test_a_mean_of_less_than_an_hour_is_no_record_of_a_home",
            "tests/gateway/test_place_home.py::test_no_platform_is_told_before_an_hour_has_passed",
            "tests/gateway/test_place_home.py::test_the_page_tells_it_no_sooner",
        ),
    ),
    Safeguard(
        "addresses",
        "home",
        (
            "tests/gateway/test_place.py::test_the_finest_square_with_enough_addresses",
            "tests/gateway/test_place.py::test_too_few_addresses_are_refused_in_whatever_square",
            "tests/gateway/test_place.py::test_a_home_whose_addresses_nobody_counted_is_in_the_coarsest_square",
            "tests/gateway/test_place.py::test_the_square_is_the_same_over_ten_thousand_readings",
        ),
    ),
    Safeguard(
        "host",
        "home",
        (
            "tests/gateway/test_host_halts.py::test_what_was_measured_during_a_pause_stays_out_however_late_it_comes",
            "tests/gateway/test_host_halts.py::test_withdrawal_is_for_good_and_empties_the_queue",
            "tests/gateway/test_host_commands.py::test_an_export_has_everything_that_is_held",
            "tests/gateway/test_host_commands.py::test_erasing_leaves_what_was_published_and_no_byte_that_leads_to_the_person",
        ),
    ),
    Safeguard(
        "owners",
        "home",
        (
            "tests/gateway/test_host_vault.py::test_what_was_put_comes_back_and_nothing_of_it_can_be_read_in_the_file",
            "tests/gateway/test_host_commands.py::test_the_gateway_knows_nothing_of_the_owners_store",
        ),
    ),
    Safeguard(
        "retention",
        "always",
        (
            "tests/gateway/test_retention.py::test_what_the_record_says_of_each_datastream_holds",
            "tests/gateway/test_retention.py::test_what_is_deleted_is_in_no_byte_of_a_file_nor_of_a_database_that_was_rewritten",
            "tests/gateway/test_retention.py::test_the_trail_verifies_after_every_step_however_small",
        ),
    ),
    Safeguard(
        "forged",
        "always",
        (
            "tests/gateway/test_open.py::test_a_bit_less_is_forged",
            "tests/gateway/test_admit_account.py::test_a_number_that_was_used",
        ),
    ),
    Safeguard(
        "updates",
        "always",
        (
            "tests/updates/test_refusals.py::test_nothing_is_written_before_the_manifest_is_verified",
            "tests/updates/test_refusals.py::test_any_damage_is_refused",
            "tests/updates/test_refusals.py::test_the_floor_outlives_the_firmware_that_set_it",
        ),
    ),
    Safeguard(
        "forget",
        "always",
        (
            "tests/firmware/test_node_commands.py::test_a_power_cut_while_forgetting_leaves_nothing_that_reports",
        ),
    ),
)


def safeguards_of(record: Record) -> Iterator[Safeguard]:
    """Yield the safeguards that a deployment has."""
    counts = any(stream.measures.is_count for stream in record.datastreams)
    radio = any(device.radio_capture for device in record.devices)
    applies = {
        "always": True,
        "counts": counts,
        "radio": radio,
        "indoor": record.location.indoor,
        "home": record.private_host,
    }
    yield from (safeguard for safeguard in SAFEGUARDS if applies[safeguard.where])
