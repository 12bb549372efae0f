"""What `peilmerk device deploy --battery` writes, and what it refuses before a board is touched."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from peilmerk_provisioning import power, sensing
from peilmerk_provisioning.cli import app
from peilmerk_provisioning.errors import PowerError


def test_what_a_board_on_batteries_is_told() -> None:
    assert power.battery("air") == {"mode": "battery", "every_s": 300, "send_s": 900}
    assert power.battery("air", 30, 86_400) == {"mode": "battery", "every_s": 30, "send_s": 86_400}


@pytest.mark.parametrize(
    ("every_s", "send_s", "said"),
    [
        (29, None, "found a sample every 29 s, wanted every 30 to 3600 s"),
        (3601, None, "found a sample every 3601 s, wanted every 30 to 3600 s"),
        (300, 899, r"found a sending every 899 s, wanted every 900 s \(a window\) to 86400 s \(a day\)"),
        (300, 86_401, "found a sending every 86401 s, wanted"),
    ],
)
def test_times_that_the_board_would_refuse(every_s: int, send_s: int | None, said: str) -> None:
    with pytest.raises(PowerError, match=said):
        power.battery("air", every_s, send_s)


@pytest.mark.parametrize(
    ("kind", "named", "found"),
    [
        ("air", None, None),
        ("air", ["sps30", "scd4x", "bme280"], None),
        ("air", ["sht3x", "dnms"], "dnms"),
        ("counter", None, "beam_pair"),
        ("counter", ["ld2450"], "ld2450"),
    ],
)
def test_what_must_watch_or_listen_without_pause_is_not_for_batteries(
    kind: str, named: list[str] | None, found: str | None
) -> None:
    made = sensing.entries(kind, named) if named else None
    if found is None:
        power.check(kind, made)
        return
    with pytest.raises(PowerError, match=f"^found {found} on a board on batteries, wanted only sensors that"):
        power.check(kind, made)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "air", "--battery", "--sensor", "dnms"], "error: found dnms on a board on batteries, "),
        (["--kind", "counter", "--battery"], "error: found beam_pair on a board on batteries, "),
        (
            ["--kind", "air", "--battery", "--every", "0"],
            "error: found a sample every 0 s, wanted every 30",
        ),
        (["--kind", "air", "--every", "60"], "found --every without --battery"),
        (["--kind", "air", "--mains", "--send", "3600"], "found --send without --battery"),
    ],
)
def test_deploy_refuses_it_before_it_looks_for_the_board(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["deploy", "--port", "/dev/not-there", *words])
    assert done.exit_code == 2
    assert said in done.output
