"""Turns what the page shows into HTML in one language: whole pages, and the fragments that a page is made of.

Jinja2 escapes every value that enters a template; links from records become links only when their scheme
is one that is safe to follow. A fragment's version is a digest of its HTML, so the same content has the
same version in every process and after every restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from peilmerk_gateway.refusal import sentence
from peilmerk_gateway.web import chart
from peilmerk_gateway.web.events import View
from peilmerk_gateway.web.language import LANGUAGES, Language, languages
from peilmerk_gateway.web.street import Sensor, Series, Street
from peilmerk_protocol.quantities_names import Quantity

# Noon of a day in UTC is of the same date in the Netherlands.
HALF_A_DAY_S = 43_200
STATIC = Path(__file__).with_name("static")
TEMPLATES = Path(__file__).with_name("templates")
SAFE_SCHEMES = ("http", "https", "mailto", "tel")


@dataclass(frozen=True)
class Fragment:
    """A part of the page that can be put in place by itself."""

    html: str
    version: str


@dataclass(frozen=True)
class Bench:
    """A clock that runs at its own speed: its time, the wall's time (unix s) and the factor."""

    street: float
    here: float
    speed: float


@lru_cache(maxsize=32)
def static_link(name: str) -> str:
    """The address of a static file, with a digest of its content so that it may be kept for ever."""
    content = (STATIC / name).read_bytes()
    return f"/static/{name}?v={sha256(content).hexdigest()[:12]}"


def page_link(language: str, part: int = 1) -> str:
    """The address of the page in a language; relative to the host, so that it works behind any name."""
    return "/?" + urlencode({"lang": language} | ({"part": part} if part > 1 else {}))


def reachable(text: str) -> Markup:
    """A contact or document from a record: a link for a web, mail or telephone address, otherwise the
    text.
    """
    if "@" in text and ":" not in text and "/" not in text and " " not in text:
        return Markup('<a href="mailto:{0}">{0}</a>').format(text)
    try:
        parts = urlsplit(text)
    except ValueError:
        return escape(text)
    if parts.scheme not in SAFE_SCHEMES or not (parts.netloc or parts.path):
        return escape(text)
    if parts.scheme in ("mailto", "tel"):
        return Markup('<a href="{}">{}</a>').format(text, parts.path)
    shown = parts.netloc.rpartition("@")[2] + parts.path.rstrip("/")
    return Markup('<a href="{}" rel="noopener external">{}</a>').format(text, shown)


class Renderer:
    """Makes the HTML of the pages."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def fragments(self, street: Street, code: str) -> dict[str, Fragment]:
        """Every fragment of the page of `street` by name, in the order of the page."""
        words = _words(languages()[code])
        made = {
            "summary": self._fragment("summary.html", words, street=street),
            "records": self._fragment("records.html", words, street=street),
        }
        for sensor in street.sensors:
            made[sensor.fragment] = self._fragment("sensor.html", words, sensor=sensor)
        made["platforms"] = self._fragment("platforms.html", words, street=street)
        made["refusals"] = self._fragment("refusals.html", words, street=street)
        return made

    def page(
        self, street: Street, fragments: Mapping[str, Fragment], view: View, now: float, bench: Bench | None
    ) -> str:
        """The whole page; `now` is the street's time (unix s), `bench` is given when its clock is scaled."""

        def placed(name: str) -> Markup:
            fragment = fragments[name]
            # The fragment is a template's output: escaped where it was made.
            inner = Markup(fragment.html)
            return Markup('<div id="{}" data-fragment="{}">{}</div>').format(name, fragment.version, inner)

        language = languages()[view.language]
        return self._environment.get_template("page.html").render(
            **_words(language),
            **_links(view),
            placed=placed,
            sensor_fragments=[sensor.fragment for sensor in street.sensors],
            part=street.part,
            parts=street.parts,
            first=street.first,
            total=street.total,
            part_link=partial(page_link, view.language),
            bench=bench,
            street_now=now,
            zone=getattr(language.zone, "key", "UTC"),
        )

    def message(self, code: str, kind: str, status: int) -> str:
        """A page that says in words what went wrong; `kind` is "missing" or "failed"."""
        template = self._environment.get_template("message.html")
        return template.render(**_words(languages()[code]), **_links(View(code, 1)), kind=kind, status=status)

    def _fragment(self, template: str, words: Mapping[str, Any], **values: object) -> Fragment:
        html = self._environment.get_template(template).render(**words, **values)
        return Fragment(html, sha256(html.encode()).hexdigest()[:12])


def _links(view: View) -> dict[str, str]:
    other = next(code for code in LANGUAGES if code != view.language)
    return {
        "language": view.language,
        "other": other,
        "home": page_link(view.language),
        "here": page_link(view.language, view.part),
        "other_link": page_link(other, view.part),
    }


def _words(language: Language) -> dict[str, Callable[..., object]]:
    return {
        "static": static_link,
        "say": language.text,
        "number": language.number,
        "amount": lambda value: language.amount(float(value)),
        "clock": language.clock,
        "moment": language.moment,
        "day": lambda start: language.day(start + HALF_A_DAY_S),
        "machine": language.machine,
        "reachable": reachable,
        "explain": partial(_explain, language),
        "label": partial(_label, language),
        "chart": partial(_chart, language),
    }


def _explain(language: Language, reason: str) -> str:
    text = sentence(reason, language.code)
    return language.text("refused.unknown") if text == reason else text


def _label(language: Language, quantity: Quantity) -> str:
    return quantity.label_nl if language.code == "nl" else quantity.label


def _chart(language: Language, series: Series, sensor: Sensor) -> Markup:
    frame = chart.Frame(
        key=series.name,
        title=language.text("series.title", label=_label(language, series.quantity), n=len(series.slots)),
        description=_description(language, series, sensor.window_s),
        write_value=language.number,
        write_time=language.clock,
    )
    if not series.quantity.is_count:
        return chart.line(series.slots, frame)
    # One scale for all counts of a sensor, so that both directions can be compared at a glance.
    counts = [slot.value for other in sensor.series if other.quantity.is_count for slot in other.published]
    return chart.columns(
        series.slots, frame, max((value for value in counts if value is not None), default=0)
    )


def _description(language: Language, series: Series, window_s: int) -> str:
    values = [slot.value for slot in series.slots if slot.value is not None]
    parts = []
    if series.slots:
        first, last = series.slots[0].start, series.slots[-1].start + window_s
        parts.append(
            language.text("series.range", **{"from": language.clock(first), "to": language.clock(last)})
        )
    if values:
        written = partial(language.number, decimals=series.decimals)
        parts.append(
            language.text(
                "series.figures",
                last=written(values[-1]),
                low=written(min(values)),
                high=written(max(values)),
                unit=series.quantity.unit_label,
            ).replace(" .", ".")
        )
    else:
        parts.append(language.text("series.empty"))
    if series.withheld:
        parts.append(language.text("series.withheld", n=series.withheld))
    return " ".join(parts)
