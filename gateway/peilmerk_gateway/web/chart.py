"""Charts as SVG made on the server: columns for counts, a line with a band for means.

A chart shows a row of slots, one a window, oldest first. Colours come from the style sheet by class name,
so that a chart follows the reader's light or dark preference and needs no inline style (the content
security policy allows none). Every chart carries a title and a description for screen readers; the page
puts the same figures in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup

# The drawing's own units; the style sheet scales it to the column's width, where one unit is about one
# CSS pixel.
WIDTH, HEIGHT = 320, 124
LEFT, RIGHT, TOP, BOTTOM = 34, 4, 8, 20
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

State = Literal["published", "waiting", "withheld", "missing"]
"""waiting: has a value that no platform has yet."""


@dataclass(frozen=True)
class Slot:
    """One window of a chart. `value`, `spread` and `noise` (a standard deviation) are in the shown unit;
    `samples` is the smallest number of samples behind the value.
    """

    start: int
    state: State
    value: float | None = None
    spread: float | None = None
    noise: float | None = None
    samples: int | None = None


@dataclass(frozen=True)
class Frame:
    """What surrounds the plot: a document-wide unique id, both texts for readers, and how axis marks are
    written.
    """

    key: str
    title: str
    description: str
    write_value: Callable[[float, int], str]
    write_time: Callable[[int], str]


def scale(low: float, high: float) -> tuple[list[float], int]:
    """Up to six round axis marks that enclose [low, high], rising, and the decimals to write them with.

    The step is 1, 2 or 5 times a power of ten. Equal ends are spread apart, so that there is always a scale.
    """
    if high - low < 1e-9:
        low, high = (0.0, high) if low > 0 else (low, low + 1)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [index * step for index in range(first, last + 1)], decimals


def columns(slots: Sequence[Slot], frame: Frame, ceiling: float = 0.0) -> Markup:
    """A column for each published window from zero up, with its noise; `ceiling` makes charts share one
    scale.
    """
    tops = [slot.value for slot in slots if slot.value is not None]
    marks, decimals = scale(min([0.0, *tops]), max([ceiling, 1.0, *tops]))
    height = _height(marks)
    pitch = PLOT_WIDTH / max(1, len(slots))
    width = pitch * 0.72
    parts = _axis(marks, decimals, frame)
    for index, slot in enumerate(slots):
        left = LEFT + index * pitch + (pitch - width) / 2
        if slot.state == "withheld":
            parts.append(_withheld(left, width))
        if slot.value is None:
            continue
        top, base = sorted((height(slot.value), height(0)))
        parts.append(
            f'<rect class="column {slot.state}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{max(0.5, base - top):.1f}" rx="1.5"/>'
        )
        if slot.noise:
            middle = left + width / 2
            upper, lower = height(slot.value + slot.noise), height(slot.value - slot.noise)
            parts.append(
                f'<path class="noise" d="M{middle:.1f} {max(1, upper):.1f}V{min(lower, base):.1f}"/>'
            )
    return _svg(parts + _times(slots, pitch, frame), frame)


def line(slots: Sequence[Slot], frame: Frame) -> Markup:
    """A line through the means with a band of their spread; it breaks where a window is missing."""
    lows = [slot.value - (slot.spread or 0) for slot in slots if slot.value is not None]
    highs = [slot.value + (slot.spread or 0) for slot in slots if slot.value is not None]
    low, high = min(lows, default=0.0), max(highs, default=1.0)
    # A scale from zero tells most, unless it would flatten the line.
    if 0 <= low < (high - low) * 2 or (low < 0 and all((slot.value or 0) >= 0 for slot in slots)):
        low = 0.0
    marks, decimals = scale(low, high)
    height = _height(marks)
    pitch = PLOT_WIDTH / max(1, len(slots))
    parts = _axis(marks, decimals, frame)
    for index, slot in enumerate(slots):
        if slot.state == "withheld":
            parts.append(_withheld(LEFT + index * pitch + pitch * 0.14, pitch * 0.72))
    last: tuple[float, float] | None = None
    for run in _runs(slots):
        points = [(LEFT + (index + 0.5) * pitch, height(value)) for index, value, _ in run]
        last = points[-1]
        if any(spread for _, _, spread in run):
            upper = [(LEFT + (i + 0.5) * pitch, height(value + spread)) for i, value, spread in run]
            lower = [
                (LEFT + (i + 0.5) * pitch, height(max(marks[0], value - spread)))
                for i, value, spread in reversed(run)
            ]
            parts.append(f'<path class="band" d="{_path(upper + lower)}Z"/>')
        if len(points) == 1:
            parts.append(f'<circle class="point" cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="2"/>')
        else:
            parts.append(f'<path class="line" d="{_path(points)}"/>')
    if last is not None:
        parts.append(f'<circle class="last" cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="3.5"/>')
    return _svg(parts + _times(slots, pitch, frame), frame)


def _height(marks: Sequence[float]) -> Callable[[float], float]:
    low, span = marks[0], marks[-1] - marks[0]

    def height(value: float) -> float:
        clipped = min(max(value, low), low + span)
        return TOP + PLOT_HEIGHT * (1 - (clipped - low) / span)

    return height


def _axis(marks: Sequence[float], decimals: int, frame: Frame) -> list[str]:
    height = _height(marks)
    parts = []
    for index, mark in enumerate(marks):
        y = height(mark)
        kind = "base" if index == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        text = escape(frame.write_value(mark, decimals))
        parts.append(f'<text class="mark" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    return parts


def _times(slots: Sequence[Slot], pitch: float, frame: Frame) -> list[str]:
    if not slots:
        return []
    shown = sorted({0, len(slots) // 2, len(slots) - 1}) if len(slots) > 4 else [0]
    parts = []
    for index in shown:
        anchor = "start" if index == 0 else "end" if index == len(slots) - 1 else "middle"
        x = LEFT + (index + {"start": 0, "middle": 0.5, "end": 1}[anchor]) * pitch
        text = escape(frame.write_time(slots[index].start))
        parts.append(f'<text class="mark" x="{x:.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{text}</text>')
    return parts


def _withheld(left: float, width: float) -> str:
    base = TOP + PLOT_HEIGHT
    return (
        f'<rect class="withheld" x="{left:.1f}" y="{base - 7:.1f}" width="{width:.1f}" height="7" rx="1.5"/>'
    )


def _runs(slots: Sequence[Slot]) -> list[list[tuple[int, float, float]]]:
    runs: list[list[tuple[int, float, float]]] = []
    joined = False
    for index, slot in enumerate(slots):
        if slot.value is not None:
            if not joined:
                runs.append([])
            runs[-1].append((index, slot.value, slot.spread or 0.0))
        joined = slot.value is not None
    return runs


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _svg(parts: Sequence[str], frame: Frame) -> Markup:
    names = quoteattr(f"{frame.key}-title {frame.key}-desc")
    # Every text above and below is escaped; the rest are figures made here.
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby={names}>'
        f"<title id={quoteattr(frame.key + '-title')}>{escape(frame.title)}</title>"
        f"<desc id={quoteattr(frame.key + '-desc')}>{escape(frame.description)}</desc>"
        f"{''.join(parts)}</svg>"
    )
