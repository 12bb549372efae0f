"""The annex: every test that it names exists, every text is used, and it says what the record says."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from dossier import RADIO, written

from peilmerk_gateway.deployments.exports.safeguards import SAFEGUARDS
from peilmerk_gateway.web import language

ROOT = Path(__file__).parents[2]


@cache
def named_in(file: str) -> dict[str, str]:
    """Return name -> decorators of the tests of a file."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {
        node.name: " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("test", [test for safeguard in SAFEGUARDS for test in safeguard.tests])
def test_every_test_that_proves_a_safeguard_exists_and_runs(test: str) -> None:
    file, _, name = test.partition("::")
    assert file.startswith("tests/")
    assert name in named_in(file), f"{test}: no such test"
    assert ".skip" not in named_in(file)[name]


def test_no_safeguard_is_without_a_proof_and_none_is_named_twice() -> None:
    assert all(safeguard.tests for safeguard in SAFEGUARDS)
    assert len({safeguard.key for safeguard in SAFEGUARDS}) == len(SAFEGUARDS)


def test_every_text_of_sign_and_annex_is_used() -> None:
    folder = ROOT / "gateway" / "peilmerk_gateway" / "deployments" / "exports"
    sources = "".join(file.read_text("utf-8") for file in folder.glob("*.py"))
    pieces = ("annex.column.", "annex.fate.", "annex.role.", "annex.safeguard.", "annex.value.", "dtpr.")
    titles = {
        f"annex.{key}"
        for key in ("measured", "ground", "privacy", "safeguards", "audits", "dtpr", "values", "limits")
    }
    for key in language.load(language.TEXTS.read_text("utf-8"))["nl"]:
        if key.startswith(("sign.", "dtpr.", "annex.")) and key not in titles:
            assert (
                any(f"{mark}{key}{mark}" in sources for mark in "\"'")
                or (key.startswith(pieces) and f'"{key.rpartition(".")[2]}"' in sources)
                or key.startswith("annex.value.")
            ), key


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (
            "nl",
            [
                "# Bijlage sensoren: Verkeer in beeld",
                "| Inzetdossier | havenstraat, versie 3 |",
                "| paal-1: fietsteller, Peilmerk teller | rd100-E1367N4558 | Fietsers, heen | 15 minuten |",
                "| rd100-E1367N4558 | Fietsers, heen | dag (UTC) | gepubliceerd als open data |",
                "| Luchttemperatuur (°C) | 15 minuten | niet gepubliceerd |",
                "- Veiliger oversteken\n  - Grondslag: Publieke taak\n"
                "  - Privacyverklaring: <https://www.voorbeeld.example/privacy>",
                "| Persoonsgegevens in wat het apparaat verlaat | nee |\n"
                "| Persoonsgegevens op het apparaat | ja |",
                "| DPIA herzien voor | woensdag 1 december 2027 |",
                "| Epsilon per dag van wie 4 keer langs één sensor komt | 4 |",
                "Langs meer sensoren, en over meer dagen, telt epsilon op.",
                "| Regime | notification M-17 |",
                "| Epsilon van één passage | 1 |\n"
                "| Epsilon per dag van wie 4 keer langs één sensor komt | 4 |",
                "| Standaardafwijking van de ruis, venster | 2,0 |",
                # A bar of a text is no column of a table.
                "| Privacy | Herkenning van voorbijgangers \\| wie het ook zij | Ruis op",
                "geen verklaring van overeenstemming",
            ],
        ),
        (
            "en",
            [
                "# Annex on sensors: Verkeer in beeld",
                "| Bicycles, towards | 15 minutes | published as open data |",
                "| Fine particles PM2.5 (µg/m³) | 15 minutes | published |",
                "| Standard deviation of the noise, day's total | 4.7 |",
                "no statement of conformity",
            ],
        ),
    ],
)
def test_it_says_what_is_measured_on_what_ground_and_how_it_is_protected(
    code: str, wanted: list[str]
) -> None:
    text = written("annex", "md", language=code).decode()
    for piece in wanted:
        assert piece in text, piece
    for safeguard in SAFEGUARDS:
        for test in safeguard.tests:
            assert (f"`{test}`" in text) is (safeguard.where not in ("indoor", "radio", "home"))


def test_radio_is_told_with_what_protects_from_it() -> None:
    text = written("annex", "md", *RADIO, language="en").decode()
    assert "| Picks up radio signals of passers-by | yes |" in text
    assert "`tests/counters/test_radio.py::test_no_canary_is_left_when_the_window_closes`" in text
    assert "| Picks up radio signals of passers-by | no |" in written("annex", "md", language="en").decode()


def test_a_private_host_is_told() -> None:
    home = ("notified_at = 2026-01-05", "private_host = true"), ("window_s = 900", "window_s = 3600")
    text = written("annex", "md", *home, language="en").decode()
    assert "| Hangs at a private person's, without notification | yes |" in text
    for safeguard in SAFEGUARDS:
        if safeguard.where == "home":
            assert all(f"`{test}`" in text for test in safeguard.tests)
    assert "Notified on" not in text


def test_texts_of_a_record_are_no_markdown() -> None:
    text = written(
        "annex",
        "md",
        ('goal = "Veiliger oversteken"', 'goal = "<img src=x> [hier](https://x.example) \\n# kop `a`"'),
        ("https://www.voorbeeld.example/privacy", "https://www.voorbeeld.example/a> <b"),
    ).decode()
    assert "- \\<img src=x\\> \\[hier\\](https://x.example) \\# kop \\`a\\`\n" in text
    assert "Privacyverklaring: <https://www.voorbeeld.example/a%3E%20%3Cb>\n" in text


def test_what_counts_nobody_claims_no_noise() -> None:
    air = (
        'measures = "bicycle_towards"\nobserved_property = "bicycle_towards"',
        'measures = "humidity"\nobserved_property = "humidity"',
    )
    text = written("annex", "md", air, language="en").decode()
    assert "Protection of counts" not in text
    assert "Laplace" not in text
    assert "tests/gateway/test_open.py::test_a_bit_less_is_forged" in text
    inside = written("annex", "md", air, ("[location]", "[location]\nindoor = true"), language="en").decode()
    assert "What hangs indoors is neither shown nor published." in inside
