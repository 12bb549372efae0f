"""Charts: the figures end up at the right place of the drawing, and words for those who do not see it."""

import re
from xml.etree import ElementTree

import pytest

from peilmerk_gateway.web.chart import (
    HEIGHT,
    LEFT,
    PLOT_HEIGHT,
    TOP,
    WIDTH,
    Frame,
    Slot,
    columns,
    line,
    scale,
)

SVG = "{http://www.w3.org/2000/svg}"


def frame(title="Title", description="Description"):
    return Frame("k", title, description, lambda value, decimals: f"{value:.{decimals}f}", str)


def parsed(markup):
    return ElementTree.fromstring(str(markup).replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ', 1))


def of_class(root, name):
    return [element for element in root.iter() if name in element.get("class", "").split()]


@pytest.mark.parametrize(
    ("low", "high", "marks", "decimals"),
    [
        (0, 73, [0, 20, 40, 60, 80], 0),
        (0, 1, [0, 0.5, 1.0], 1),
        (0, 10, [0, 5, 10], 0),
        (-3.2, 4.1, [-4, -2, 0, 2, 4, 6], 0),
        (1002.1, 1003.2, [1002.0, 1002.5, 1003.0, 1003.5], 1),
        (5, 5, [0, 2, 4, 6], 0),
        (0, 0, [0, 0.5, 1], 1),
        (0, 65535, [0, 20000, 40000, 60000, 80000], 0),
    ],
)
def test_scale_has_round_marks_that_enclose_the_values(low, high, marks, decimals):
    found, places = scale(low, high)
    assert found == pytest.approx(marks)
    assert places == decimals


def test_columns_stand_on_zero_and_reach_their_value():
    slots = [Slot(0, "published", 40.0), Slot(900, "waiting", 20.0), Slot(1800, "published", 80.0)]
    found = of_class(parsed(columns(slots, frame())), "column")
    base = TOP + PLOT_HEIGHT
    assert [float(column.get("height")) for column in found] == pytest.approx([48, 24, 96], abs=0.1)
    for column in found:
        assert float(column.get("y")) + float(column.get("height")) == pytest.approx(base, abs=0.11)
    assert "waiting" in found[1].get("class")


def test_a_value_below_zero_hangs_from_zero():
    root = parsed(columns([Slot(0, "published", -4.0), Slot(900, "published", 4.0)], frame()))
    below, above = of_class(root, "column")
    assert float(below.get("y")) == pytest.approx(
        float(above.get("y")) + float(above.get("height")), abs=0.11
    )


def test_noise_is_drawn_around_the_top_of_its_column():
    root = parsed(columns([Slot(0, "published", 60.0, noise=10.0), Slot(900, "published", 80.0)], frame()))
    (noise,) = of_class(root, "noise")
    upper, lower = map(float, re.fullmatch(r"M[\d.]+ ([\d.]+)V([\d.]+)", noise.get("d")).groups())
    unit = PLOT_HEIGHT / 80
    assert (lower - upper) == pytest.approx(20 * unit, abs=0.2)


def test_withheld_and_missing_windows_have_no_column():
    slots = [Slot(0, "withheld"), Slot(900, "missing"), Slot(1800, "published", 12.0)]
    for draw in (columns, line):
        root = parsed(draw(slots, frame()))
        assert len(of_class(root, "withheld")) == 1
        assert len(of_class(root, "column")) == (draw is columns)


def test_line_breaks_where_a_window_is_missing():
    values = [1.0, 2.0, None, 4.0, 5.0, None, 7.0]
    slots = [Slot(i * 900, "missing" if v is None else "published", v) for i, v in enumerate(values)]
    root = parsed(line(slots, frame()))
    assert len(of_class(root, "line")) == 2
    assert len(of_class(root, "point")) == 1
    assert len(of_class(root, "last")) == 1


def test_line_starts_at_zero_unless_that_would_flatten_it():
    def lowest(*values):
        root = parsed(line([Slot(i, "published", v) for i, v in enumerate(values)], frame()))
        return of_class(root, "mark")[0].text

    assert lowest(4.0, 12.0) == "0"
    assert lowest(1002.0, 1003.0) == "1002.0"
    assert lowest(-3.0, 4.0) == "-4"


def test_band_is_as_high_as_the_spread_on_both_sides():
    root = parsed(line([Slot(0, "published", 10.0, 5.0), Slot(900, "published", 20.0, 5.0)], frame()))
    (band,) = of_class(root, "band")
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", band.get("d"))]
    assert heights[3] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert heights[3] > heights[0]


def test_everything_stays_inside_the_drawing():
    slots = [Slot(i * 900, "published", float(i * i), spread=30.0, noise=50.0) for i in range(24)]
    for draw in (columns, line):
        for rect in parsed(draw(slots, frame())).iter(f"{SVG}rect"):
            x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            assert x >= LEFT
            assert x + w <= WIDTH
            assert y >= 0
            assert y + h <= HEIGHT


@pytest.mark.parametrize("draw", [columns, line])
def test_no_windows_is_still_a_chart(draw):
    root = parsed(draw([], frame()))
    assert root.get("role") == "img"


def test_title_and_description_are_tied_to_the_drawing_and_escaped():
    hostile = '</title><script>alert("x")</script>'
    root = parsed(columns([], frame(title=hostile, description=hostile)))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == description.text == hostile
    assert not list(root.iter(f"{SVG}script"))
