"""Which language a visitor reads, and the texts and figures in it.

All texts come from the contract's texts.toml, where those of the boards' own pages lie too; it holds the same
keys for every language, and a key that one of them lacks is an error when the file is loaded, not a hole in
a page. Figures and times are written the way the language writes them; times are those of the Netherlands,
or UTC on a machine without a time-zone database.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import peilmerk_protocol
from peilmerk_gateway.errors import PeilmerkError

TEXTS = Path(peilmerk_protocol.__file__).with_name("texts.toml")
LANGUAGES = ("nl", "en")
DEFAULT = "nl"
# A browser sends a few languages; a header of a kilobyte is no browser's.
HEADER_LIMIT = 1000


class TextsError(PeilmerkError):
    """texts.toml is incomplete: names the keys and the language that lacks them."""


def place_time() -> tzinfo:
    """The time zone of the street: Europe/Amsterdam, or UTC where no time-zone database is installed."""
    try:
        return ZoneInfo("Europe/Amsterdam")
    except ZoneInfoNotFoundError:
        return UTC


ZONE = place_time()


class Language:
    """Texts, figures and times of one language."""

    def __init__(self, code: str, texts: Mapping[str, str], zone: tzinfo = ZONE) -> None:
        self.code = code
        self.zone = zone
        self._texts = texts

    def text(self, key: str, **values: object) -> str:
        """The text of `key`, filled in with `values`; with n given, the form for that number. KeyError if
        unknown.
        """
        text = self._texts[key]
        if "n" in values:
            one, _, many = text.partition("|")
            text = one if values["n"] == 1 or not many else many
            count = values["n"]
            values["n"] = self.number(count) if isinstance(count, int) else count
        return text.format(**values) if values else text

    def number(self, value: float, decimals: int = 0) -> str:
        """A number with the language's decimal mark and groups of three digits."""
        whole, _, part = f"{abs(value):.{decimals}f}".partition(".")
        groups = [whole[max(0, end - 3) : end] for end in range(len(whole), 0, -3)]
        whole = self._texts["thousands"].join(reversed(groups))
        sign = "\N{MINUS SIGN}" if value < 0 and any(digit in "123456789" for digit in whole + part) else ""
        return sign + whole + (self._texts["decimal"] + part if part else "")

    def amount(self, value: float) -> str:
        """A number with as few decimals as it needs, six at most: epsilons."""
        for decimals in range(6):
            if abs(value - round(value, decimals)) < 5e-7:
                return self.number(value, decimals)
        return self.number(value, 6)

    def clock(self, at: float) -> str:
        """The time of day, hours and minutes, of unix time `at` (s)."""
        return self._local(at).strftime("%H:%M")

    def day(self, at: float) -> str:
        """Weekday and date of unix time `at` (s)."""
        local = self._local(at)
        return self.text(
            "date",
            weekday=self._texts["weekday"].split()[local.weekday()],
            day=local.day,
            month=self._texts["month"].split()[local.month - 1],
            year=local.year,
        )

    def moment(self, at: float) -> str:
        """Date and time of day of unix time `at` (s), with the zone when it is UTC."""
        zone = " " + self._texts["zone.utc"] if self.zone is UTC else ""
        return f"{self.day(at)}, {self.clock(at)}{zone}"

    def machine(self, at: float) -> str:
        """Unix time `at` (s) for the datetime attribute of an HTML time element."""
        return self._local(at).isoformat(timespec="seconds")

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self.zone)


def load(source: str) -> dict[str, dict[str, str]]:
    """Parse a texts file: language -> key -> text. Raises TextsError when the languages' keys differ."""
    texts: dict[str, dict[str, str]] = tomllib.loads(source)
    for code in LANGUAGES:
        for other in LANGUAGES:
            missing = sorted(set(texts.get(other, {})) - set(texts.get(code, {})))
            if missing:
                raise TextsError(f"texts.toml: [{code}] lacks {', '.join(missing)}, which [{other}] has")
    return texts


@cache
def languages() -> dict[str, Language]:
    """Every language of the pages by its code."""
    texts = load(TEXTS.read_text("utf-8"))
    return {code: Language(code, texts[code]) for code in LANGUAGES}


def choose(query: str | None, accept: str | None) -> str:
    """The code of the language to answer in: an explicit ?lang= wins, then Accept-Language (RFC 9110),
    then Dutch.
    """
    if query in LANGUAGES:
        return query
    best, best_weight = DEFAULT, 0.0
    for item in (accept or "")[:HEADER_LIMIT].split(","):
        tag, _, parameter = item.strip().partition(";")
        name, _, number = parameter.strip().partition("=")
        try:
            weight = float(number) if name.strip() == "q" else 1.0
        except ValueError:
            continue
        code = tag.strip().lower().partition("-")[0]
        if code in LANGUAGES and weight > best_weight:
            best, best_weight = code, weight
    return best
