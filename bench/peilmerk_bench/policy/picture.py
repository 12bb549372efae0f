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
HEAD, ROW = 46, 18  # a panel's title and note, above its plot; a row of its legend
PANEL_HEIGHT = PLOT_HEIGHT + HEAD + 92
INK, SOFT, PALE, ALARM = "#0e2e3a", "#4a5f68", "#c8d3d7", "#8f1d14"
# Letters of 13 are about this wide at most; a line of text must fit whatever font there is.
LETTER = 7.2
BOLDER = 130  # so much less wide a bold text may be
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


def draw(
    sentences: Sequence[str], panels: Sequence[Panel], language: Language, refusals: Sequence[str] = ()
) -> str:
    """Draw the panels, two a row; `sentences` are the title, what the picture is of (two), and what the
    record's own choice means; `refusals`, what stands in the way of a draft.
    """
    title, *about = sentences
    parts, y = [_text(MARGIN, 44, title, size=20, weight="bold")], 70
    for line in _wrapped(refusals, BOLDER):
        parts.append(_text(MARGIN, y, line, weight="bold", colour=ALARM))
        y += 19
    for line in _wrapped(about[:2]):
        parts.append(_text(MARGIN, y, line))
        y += 19
    parts.append(_ring(MARGIN + 7, y))
    parts.append(_text(MARGIN + 20, y + 5, language.text("policy.picture.chosen")))
    y += 34
    deep = PANEL_HEIGHT + ROW * max(len(_legend(panel)) - 1 for panel in panels)
    for number, panel in enumerate(panels):
        left = MARGIN + AXIS + number % 2 * (AXIS + PLOT_WIDTH + GAP)
        parts += _panel(left, y + number // 2 * deep, panel, language)
    y += (len(panels) + 1) // 2 * deep + 10
    parts.append(_text(MARGIN, y, language.text("policy.picture.means"), size=15, weight="bold"))
    for sentence in about[2:]:
        y += 4
        for number, line in enumerate(_wrapped([sentence], 16)):
            y += 19
            if not number:
                parts.append(_text(MARGIN, y, "•"))
            parts.append(_text(MARGIN + 16, y, line))
    height = y + 24
    told = " ".join([*refusals, *about, *(_told(panel, language) for panel in panels)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" lang="{language.code}" role="img" aria-labelledby="title about" fill="{INK}" '
        f'font-family="Helvetica, Arial, \'Liberation Sans\', sans-serif" font-size="13">\n'
        f'<title id="title">{html.escape(title)}</title>\n'
        f'<desc id="about">{html.escape(told)}</desc>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(left: float, top: float, panel: Panel, language: Language) -> list[str]:
    highest = max((value for line in panel.lines for value in line.values if value is not None), default=0.0)
    marks, decimals = (panel.marks, 0) if panel.marks else scale(0.0, max(1.0, highest))
    top += HEAD
    pitch = PLOT_WIDTH / max(1, len(panel.choices) - 1)

    def height(value: float) -> float:
        return top + PLOT_HEIGHT * (1 - (value - marks[0]) / (marks[-1] - marks[0]))

    parts = [_text(left - AXIS, top - 34, panel.title, size=14, weight="bold")]
    notes = "; ".join(note for note in (panel.note, panel.cap) if note is not None)
    parts.append(_text(left - AXIS, top - 16, notes, size=12, colour=SOFT))
    for mark in marks:
        parts.append(f'<path d="M{left:.1f} {height(mark):.1f}h{PLOT_WIDTH}" stroke="{PALE}"/>')
        written = language.number(mark, decimals) + " %"
        parts.append(_text(left - 7, height(mark) + 4, written, size=12, anchor="end"))
    for number, choice in enumerate(panel.choices):
        x = left + number * pitch
        last = number == len(panel.choices) - 1
        anchor = "end" if last and len(choice) > 4 else "middle"
        parts.append(
            _text(x + 10 * (anchor == "end"), top + PLOT_HEIGHT + 18, choice, size=12, anchor=anchor)
        )
    parts.append(_text(left, top + PLOT_HEIGHT + 37, panel.across, size=12, colour=SOFT))
    for number, line in enumerate(panel.lines):
        points = [
            None if value is None else (left + at * pitch, height(value))
            for at, value in enumerate(line.values)
        ]
        parts += _line(points, line, number, top)
    for row, lines in enumerate(_legend(panel)):
        y = top + PLOT_HEIGHT + 56 + ROW * row
        for right, number in lines:
            x = left + right
            colour, dashes, kind = STYLES[number % len(STYLES)]
            parts.append(_stroke([(x, y - 4), (x + 30, y - 4)], colour, dashes))
            parts.append(_mark(x + 15, y - 4, kind, colour))
            parts.append(_text(x + 36, y, panel.lines[number].name, size=12))
    return parts


def _legend(panel: Panel) -> list[list[tuple[float, int]]]:
    """Return the rows of a legend: how far right of the plot's edge each line's entry begins, and its
    number.
    """
    rows: list[list[tuple[float, int]]] = [[]]
    x = 0.0
    for number, line in enumerate(panel.lines):
        wide = 36 + len(line.name) * LETTER * 12 / 13
        if rows[-1] and x + wide > PLOT_WIDTH:
            rows.append([])
            x = 0.0
        rows[-1].append((x, number))
        x += wide + 10
    return rows


def _line(points: Sequence[tuple[float, float] | None], line: Line, number: int, top: float) -> list[str]:
    """Draw a line and its marks as far as the `top` of its plot; an arrow there for each that is above."""
    colour, dashes, mark = STYLES[number % len(STYLES)]
    parts = [_stroke(run, colour, dashes) for run in _runs(points, top)]
    for at, point in enumerate(points):
        if point is None:
            continue
        x, y = point
        if y < top:
            # Beside those of the other lines.
            x, y = x + 11 * number, top + 7
            parts.append(_arrow(x, y, colour))
        else:
            parts.append(_mark(x, y, mark, colour))
        if at == line.chosen:
            parts.append(_ring(x, y))
    return parts


def _runs(points: Sequence[tuple[float, float] | None], top: float) -> list[list[tuple[float, float]]]:
    """Cut a line where there is nothing, and where it leaves its plot at the top."""
    runs: list[list[tuple[float, float]]] = [[]]
    before: tuple[float, float] | None = None
    for point in points:
        if point is None:
            runs.append([])
        else:
            if before is not None and (before[1] < top) != (point[1] < top):
                share = (top - before[1]) / (point[1] - before[1])
                runs[-1].append((before[0] + share * (point[0] - before[0]), top))
            if point[1] >= top:
                runs[-1].append(point)
            else:
                runs.append([])
        before = point
    return [run for run in runs if len(run) > 1]


def _stroke(points: Sequence[tuple[float, float]], colour: str, dashes: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'


def _arrow(x: float, y: float, colour: str) -> str:
    path = f"M{x:.1f} {y + 5:.1f}v-10m-3.5 4l3.5 -4l3.5 4"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'


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
            f"{choice}: "
            + (language.text("policy.picture.none") if value is None else f"{language.number(value, 1)} %")
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
