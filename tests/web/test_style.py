"""The style sheet: contrast of every pair of text and ground in both schemes, from its own values."""

import re
from pathlib import Path

import pytest

import peilmerk_gateway.web.render as render

CSS = (render.STATIC / "peilmerk.css").read_text("utf-8")
LIVE = (render.STATIC / "live.js").read_text("utf-8")

# Text on what it stands on. WCAG 2.2, 1.4.3: 4.5 for text.
TEXT = [
    *((text, ground) for text in ("ink", "soft", "mark", "figure") for ground in ("ground", "card", "sunk")),
    ("good", "card"),
    ("bad", "card"),
    ("good", "ground"),
    ("ink", "mark-ground"),
    ("mark", "mark-ground"),
    ("card", "ink"),
]
# Drawing on its ground. WCAG 2.2, 1.4.11: 3 for what is needed to understand.
DRAWING = [("figure", "card"), ("mark", "card"), ("noise", "card"), ("soft", "card"), ("figure", "band")]


def schemes():
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in (light, dark)]
    assert colours[0].keys() == colours[1].keys()
    return {"light": colours[0], "dark": colours[1]}


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_formula():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT)
def test_text_can_be_read(scheme, text, ground):
    colours = schemes()[scheme]
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("drawing", "ground"), DRAWING)
def test_drawings_can_be_seen(scheme, drawing, ground):
    colours = schemes()[scheme]
    assert contrast(colours[drawing], colours[ground]) >= 3


def test_motion_only_for_those_who_did_not_ask_for_less():
    outside = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}", "", CSS, flags=re.DOTALL)
    assert not re.search(r"animation|transition|scroll-behavior", outside)


def test_nothing_is_loaded_from_elsewhere():
    for source in (CSS, LIVE, *(p.read_text("utf-8") for p in Path(render.TEMPLATES).iterdir())):
        assert not re.search(r"(src|href|url|import|fetch)\W{1,3}(https?:)?//", source)


def test_templates_need_no_exception_from_the_security_policy():
    for template in Path(render.TEMPLATES).iterdir():
        source = template.read_text("utf-8")
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?! src=)", source), template.name
