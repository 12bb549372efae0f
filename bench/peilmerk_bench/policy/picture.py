"""A simulation as one SVG picture, for a council or a privacy officer: four panels and what they mean.

It stands alone (no style sheet, no script, no font of its own), can be read in grey, because each line has
dashes and marks of its own, and says everything that it shows in its description too.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from peilmerk_bench.policy.panels import Line, Panel
from peilmerk_gateway.web.chart import scale
from peilmerk_gateway.web.language import Language

WIDTH, MARGIN, GAP = 960, 30, 60
AXIS = 44  # what the marks of a scale take, left of a plot
PLOT_WIDTH, PLOT_HEIGHT = (WIDTH - 2 * MARGIN - GAP) // 2 - AXIS, 170
PANEL_HEIGHT = PLOT_HEIGHT + 118
INK, SOFT, PALE = "#0e2e3a", "#4a5f68", "#c8d3d7"
# Letters of 13 are about this wide at most; a line of text must fit whatever font there is.
LETTER = 7.2
# Colour, dashes, mark; the next with other windows.
STYLES = (
    ("#b3541e", "7 3", "circle"),
    ("#0e6f7c", "none", "square"),
    ("#6a4c93", "2 3", "triangle"),
    ("#4d7c2a", "10 3 2 3", "diamond"),
    ("#8c2f5b", "1 5", "circle"),
    ("#2b2b2b", "14 4", "square"),
    ("#9a7b00", "5 2 1 2", "triangle"),
)


def draw(sentences: Sequence[str], panels: Sequence[Panel], language: Language) -> str:
    """Draw the panels, two a row; `sentences` are the title, what the picture is of (two), and what the
    record's own choice means.
    """
    title, *about = sentences
    parts, y = [_text(MARGIN, 44, title, size=20, weight="bold")], 70
    for line in _wrapped(about[:2]):
        parts.append(_text(MARGIN, y, line))
        y += 19
    parts.append(_ring(MARGIN + 7, y))
    parts.append(_text(MARGIN + 20, y + 5, language.text("policy.picture.chosen")))
    y += 34
    for number, panel in enumerate(panels):
        left = MARGIN + AXIS + number % 2 * (AXIS + PLOT_WIDTH + GAP)
        parts += _panel(left, y + number // 2 * PANEL_HEIGHT, panel, language)
    y += (len(panels) + 1) // 2 * PANEL_HEIGHT + 10
    parts.append(_text(MARGIN, y, language.text("policy.picture.means"), size=15, weight="bold"))
    for sentence in about[2:]:
        y += 4
        for number, line in enumerate(_wrapped([sentence], 16)):
            y += 19
            if not number:
                parts.append(_text(MARGIN, y, "•"))
            parts.append(_text(MARGIN + 16, y, line))
    height = y + 24
    told = " ".join([*about, *(_told(panel, language) for panel in panels)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" lang="{language.code}" role="img" aria-labelledby="title about" fill="{INK}" '
        f'font-family="Helvetica, Arial, \'Liberation Sans\', sans-serif" font-size="13">\n'
        f'<title id="title">{html.escape(title)}</title>\n'
        f'<desc id="about">{html.escape(told)}</desc>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(left: float, top: float, panel: Panel, language: Language) -> list[str]:
    highest = max(value for line in panel.lines for value in line.values)
    marks, decimals = scale(panel.low, panel.high or max(1.0, highest))
    top += 26
    pitch = PLOT_WIDTH / max(1, len(panel.choices) - 1)

    def height(value: float) -> float:
        return top + PLOT_HEIGHT * (1 - (value - marks[0]) / (marks[-1] - marks[0]))

    parts = [_text(left - AXIS, top - 14, panel.title, size=14, weight="bold")]
    for mark in marks:
        parts.append(f'<path d="M{left:.1f} {height(mark):.1f}h{PLOT_WIDTH}" stroke="{PALE}"/>')
        written = language.number(mark, decimals) + " %"
        parts.append(_text(left - 7, height(mark) + 4, written, size=12, anchor="end"))
    if panel.note is not None:
        parts.append(_text(left + PLOT_WIDTH, height(marks[0]) - 6, panel.note, size=12, anchor="end"))
    for number, choice in enumerate(panel.choices):
        x = left + number * pitch
        last = number == len(panel.choices) - 1
        anchor = "end" if last and len(choice) > 4 else "middle"
        parts.append(
            _text(x + 10 * (anchor == "end"), top + PLOT_HEIGHT + 18, choice, size=12, anchor=anchor)
        )
    parts.append(_text(left, top + PLOT_HEIGHT + 37, panel.across, size=12, colour=SOFT))
    for number, line in enumerate(panel.lines):
        points = [(left + at * pitch, height(value)) for at, value in enumerate(line.values)]
        parts += _line(points, line, number)
    x = left
    for number, line in enumerate(panel.lines):
        y = top + PLOT_HEIGHT + 56
        parts += _line([(x, y - 4), (x + 15, y - 4), (x + 30, y - 4)], Line(line.name, ()), number, (1,))
        parts.append(_text(x + 36, y, line.name, size=12))
        x += 36 + len(line.name) * LETTER * 12 / 13 + 10
    return parts


def _line(
    points: Sequence[tuple[float, float]], line: Line, number: int, marked: Sequence[int] | None = None
) -> list[str]:
    colour, dashes, mark = STYLES[number % len(STYLES)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    ]
    parts += [_mark(*points[at], mark, colour) for at in (range(len(points)) if marked is None else marked)]
    if line.chosen is not None:
        parts.append(_ring(*points[line.chosen]))
    return parts


def _mark(x: float, y: float, kind: str, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    corners = {
        "square": ((-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)),
        "triangle": ((0, -4.4), (4.2, 3.2), (-4.2, 3.2)),
        "diamond": ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
    }[kind]
    path = "L".join(f"{x + right:.1f} {y + down:.1f}" for right, down in corners)
    return f'<path d="M{path}Z" fill="{colour}"/>'


def _ring(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="{INK}" stroke-width="1.8"/>'


def _told(panel: Panel, language: Language) -> str:
    """Say a panel, for who cannot see it."""
    lines = (
        f"{line.name}: "
        + ", ".join(
            f"{choice}: {language.number(value, 1)} %"
            for choice, value in zip(panel.choices, line.values, strict=True)
        )
        for line in panel.lines
    )
    return f"{panel.title} ({panel.across}). {'; '.join(lines)}."


def _wrapped(sentences: Sequence[str], indent: int = 0) -> list[str]:
    letters = int((WIDTH - 2 * MARGIN - indent) / LETTER)
    return [line for sentence in sentences for line in textwrap.wrap(sentence, letters)]


def _text(
    x: float,
    y: float,
    text: str,
    size: int = 13,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{html.escape(text)}</text>'
    )
