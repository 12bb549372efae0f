"""What a host sees and presses, as `peilmerk device deploy` says it."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from peilmerk_provisioning.cli import app
from peilmerk_provisioning.errors import PanelError
from peilmerk_provisioning.panel import panel


def test_what_was_said_and_nothing_else() -> None:
    assert panel("counter", None) == {}
    assert panel("counter", None, "2", "0", False) == {
        "indicator": {"pin": 2, "active": 1},
        "button": {"pin": 0, "active": 0},
        "local_page": False,
    }
    assert panel("air", None, "48:0", "15:1", True) == {
        "indicator": {"pin": 48, "active": 0},
        "button": {"pin": 15, "active": 1},
        "local_page": True,
    }
    assert panel("air", None, "none", "none") == {"indicator": None, "button": None}


@pytest.mark.parametrize(
    ("kind", "sensors", "light", "button", "said"),
    [
        ("counter", None, "49", None, "found --light '49', wanted a pin of 0 to 48, PIN:0, PIN:1 or none"),
        ("counter", None, "2:2", None, "found --light '2:2', wanted"),
        ("counter", None, None, "boot", "found --button 'boot', wanted"),
        ("counter", None, None, "", "found --button '', wanted"),
        ("counter", None, "4", None, "found --light at pin 4, which is that of beam_pair"),
        ("air", None, None, "21", "found --button at pin 21, which is that of sht3x"),
        ("air", [{"driver": "dnms", "power": 13}], "13", None, "found --light at pin 13, which is"),
        ("counter", None, "2", "2:1", "found --button at pin 2, which is that of --light"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(kind, sensors, light, button, said) -> None:
    with pytest.raises(PanelError, match="^" + re.escape(said)):
        panel(kind, sensors, light, button)


def test_deploy_refuses_it_before_it_looks_for_the_board() -> None:
    words = ["deploy", "--port", "/dev/not-there", "--kind", "counter", "--light", "5"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "error: found --light at pin 5, which is that of beam_pair" in done.output
