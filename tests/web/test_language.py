"""Texts, figures and times in both languages."""

import string
import tomllib
from datetime import UTC
from pathlib import Path

import pytest

from peilmerk_gateway.web import language
from peilmerk_gateway.web.language import LANGUAGES, Language, TextsError, choose, languages

NL, EN = languages()["nl"], languages()["en"]
# Monday 26 February 2024, 12:50:00 UTC: 13:50 in the Netherlands, which keep winter time.
MOMENT = 1708951800


@pytest.mark.parametrize(
    ("query", "accept", "code"),
    [
        ("en", "nl", "en"),
        ("nl", "en", "nl"),
        ("de", "en", "en"),
        (None, None, "nl"),
        (None, "", "nl"),
        (None, "en-GB,en;q=0.9", "en"),
        (None, "nl-BE,en;q=0.9", "nl"),
        (None, "de,en;q=0.3,nl;q=0.2", "en"),
        (None, "de-DE,de;q=0.9", "nl"),
        (None, "en;q=0", "nl"),
        (None, "en;q=many,nl", "nl"),
        (None, ";;;,=,q=1;", "nl"),
    ],
)
def test_language_is_chosen_by_query_then_header_then_dutch(query, accept, code):
    assert choose(query, accept) == code


def test_every_text_is_there_in_both_languages_with_the_same_fields():
    texts = language.load(language.TEXTS.read_text("utf-8"))
    for key, dutch in texts["nl"].items():
        fields = [
            {field for _, field, _, _ in string.Formatter().parse(text) if field}
            for text in (dutch, texts["en"][key])
        ]
        assert fields[0] == fields[1], key
        assert ("|" in dutch) == ("|" in texts["en"][key]), key


def test_a_missing_text_is_named_when_the_file_is_loaded():
    with pytest.raises(TextsError, match=r"\[en\] lacks b, which \[nl\] has"):
        language.load('[nl]\na = "x"\nb = "y"\n[en]\na = "z"\n')
    with pytest.raises(tomllib.TOMLDecodeError):
        language.load("[nl")


def test_every_text_is_used_and_every_used_text_exists():
    folder = Path(language.__file__).parent
    sources = "".join(
        path.read_text("utf-8") for suffix in ("*.py", "templates/*.html") for path in folder.glob(suffix)
    )
    made = ("day.", "privacy.", "summary.", "sensor.", "publishing.state.", "table.", "missing.", "failed.")
    for key in language.load(language.TEXTS.read_text("utf-8"))["nl"]:
        # What boards say on their own pages, and what commands and exports say, is checked with those.
        elsewhere = (
            "board.",
            "sign.",
            "dtpr.",
            "annex.",
            "ask.",
            "gates.",
            "explain.",
            "diff.",
            "policy.",
            "spent.",
            "host.",
        )
        said = f'"{key}"' in sources or key.startswith((*made, *elsewhere))
        assert said, f"{key} is never said"


def test_one_and_many():
    assert NL.text("sensor.window", n=1) == "Eén waarde per 1 minuut"
    assert NL.text("sensor.window", n=15) == "Eén waarde per 15 minuten"
    assert EN.text("series.withheld", n=0) == "0 windows withheld."
    assert EN.text("series.withheld", n=1234) == "1,234 windows withheld."


@pytest.mark.parametrize(
    ("value", "decimals", "dutch", "english"),
    [
        (0, 0, "0", "0"),
        (999, 0, "999", "999"),
        (1000, 0, "1.000", "1,000"),
        (1234567, 0, "1.234.567", "1,234,567"),
        (3.14159, 1, "3,1", "3.1"),
        (-4.25, 1, "\N{MINUS SIGN}4,2", "\N{MINUS SIGN}4.2"),
        (-0.04, 1, "0,0", "0.0"),
    ],
)
def test_figures_are_written_as_the_language_writes_them(value, decimals, dutch, english):
    assert NL.number(value, decimals) == dutch
    assert EN.number(value, decimals) == english


@pytest.mark.parametrize(
    ("value", "written"), [(1.0, "1"), (0.7, "0.7"), (0.35, "0.35"), (1 / 3, "0.333333"), (4.0, "4")]
)
def test_epsilon_is_written_with_the_decimals_it_needs(value, written):
    assert EN.amount(value) == written


def test_times_are_those_of_the_street_and_follow_summer_time():
    if NL.zone is UTC:
        pytest.skip("no time-zone database here: apt-get install tzdata")
    assert NL.moment(MOMENT) == "maandag 26 februari 2024, 13:50"
    assert EN.moment(MOMENT) == "Monday 26 February 2024, 13:50"
    assert EN.machine(MOMENT) == "2024-02-26T13:50:00+01:00"
    assert EN.clock(MOMENT + 182 * 86400) == "14:50"


def test_without_a_time_zone_database_times_say_utc():
    texts = {code: language.load(language.TEXTS.read_text("utf-8"))[code] for code in LANGUAGES}
    assert Language("en", texts["en"], UTC).moment(MOMENT) == "Monday 26 February 2024, 12:50 UTC"
