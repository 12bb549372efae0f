"""The sign at a sensor, A4: what it measures and why, in DTPR's eight categories, with a QR code to its
page.

What the sign says by itself is in the language of the sign (texts.toml); the record's words stand as they
were written, so a Dutch sign wants a record in Dutch. It tells the public cell and not the place, though
it hangs there: the file travels.

Lines are broken by the widths of Helvetica, which Arial and Liberation Sans share; where a record has much
to say, the letters become smaller, down to 7 points. Lengths in mm from the upper left corner, sizes in
points.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import segno
from fpdf import FPDF

from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.dtpr import CATEGORIES
from peilmerk_gateway.deployments.exports.measured import labels, streams_of
from peilmerk_gateway.deployments.exports.needs import Needs, Wish
from peilmerk_gateway.deployments.record import Device, Record
from peilmerk_gateway.web.language import languages
from peilmerk_gateway.web.street import fragment_name

WIDTH, HEIGHT = 210.0, 297.0
MARGIN = 15.0
BAND = 44.0
CODE = 48.0
GAP = 8.0
SIZES = tuple(size / 2 for size in range(30, 13, -1))
"""From 15 points down to 7."""
POINT_MM = 25.4 / 72
LEADING = 1.3
# The letters of the standard PDF fonts; Dutch and its neighbours write with these.
ENCODING = "windows-1252"
Lines = list[tuple[str, bool]]


@dataclass(frozen=True)
class Text:
    """A line of text; `y` is its baseline."""

    x: float
    y: float
    size: float
    bold: bool
    text: str
    white: bool = False


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Sign:
    """What a sign says (unbroken, in `said`) and how it is drawn."""

    language: str
    title: str
    said: tuple[str, ...]
    boxes: tuple[Box, ...]
    texts: tuple[Text, ...]


def make(deployment: Deployment, wish: Wish, needs: Needs) -> Sign:
    """Return the sign of one sensor."""
    record, say = deployment.record, languages()[wish.language]
    device = _device(record, wish, needs)
    contact = needs.text("public_contact", record.public_contact)
    if not record.purposes:
        needs.lack("purposes", "not found, wanted at least one with its goal")
    if wish.page is None:
        needs.lack("--page", "not given, wanted the address of the gateway's public page, for the QR code")
    if device is None or needs.complaints:
        return Sign(say.code, "", (), (), ())
    link = f"{wish.page}?lang={say.code}#{fragment_name(record.id, device.name)}-name"
    streams = streams_of(record, device)
    cell = deployment.cells[device.name]
    counts = any(stream.measures.is_count for _, stream in streams)
    title = say.text("sign.title.counts" if counts else "sign.title.measures")
    subtitle = labels(streams, say.code)
    # As on the page that the code leads to.
    responsible = (record.roles.controller if record.roles else None) or record.owner.organisation
    lead = [
        (say.text("sign.counts" if counts else "sign.measures"), False),
        *([(say.text("sign.radio"), True)] if device.radio_capture else []),
        (say.text("sign.published" if _is_public(record, device) else "sign.kept"), False),
        (f"{say.text('sensor.responsible')}: {responsible}", True),
        (f"{say.text('sensor.contact')}: {contact}", False),
    ]
    if record.objection_url is not None:
        lead.append((f"{say.text('sensor.objection')}: {record.objection_url}", False))
    categories = [(say.text(f"dtpr.{key}"), getattr(record.dtpr, key)) for key in CATEGORIES]
    until = say.day(
        datetime.combine(record.active_until, datetime.min.time(), UTC).replace(hour=12).timestamp()
    )
    foot = (
        f"{say.text('sensor.cell', cell=cell.id, size=cell.size_m)}. {say.text('sensor.cell.why')} "
        f"{say.text('sign.until', day=until)} "
        f"{record.id}/{device.name}, {say.text('annex.version')} {record.version}"
    )
    said = (
        title,
        subtitle,
        *(text for text, _ in lead),
        *(text for pair in categories for text in pair),
        foot,
        link,
    )
    for size in SIZES:
        drawn = _lay_out(title, subtitle, lead, say.text("sign.scan"), categories, foot, size)
        if drawn is not None:
            boxes = (Box(0, 0, WIDTH, BAND), *_code(link))
            return Sign(say.code, title, said, boxes, tuple(drawn))
    longest = max(CATEGORIES, key=lambda key: len(getattr(record.dtpr, key)))
    needs.lack(
        f"dtpr.{longest}",
        f"found {len(getattr(record.dtpr, longest))} characters, wanted fewer: "
        f"the sign is full at {SIZES[-1]:g} points",
    )
    return Sign(say.code, title, said, (), ())


def _device(record: Record, wish: Wish, needs: Needs) -> Device | None:
    names = [device.name for device in record.devices]
    if wish.device is None and len(names) == 1:
        return record.devices[0]
    if wish.device not in names:
        found = "not given" if wish.device is None else f"found {wish.device!r}"
        needs.lack("--device", f"{found}, wanted one of {', '.join(names)}")
        return None
    return record.devices[names.index(wish.device)]


def _is_public(record: Record, device: Device) -> bool:
    return not record.location.indoor and any(stream.is_public for _, stream in streams_of(record, device))


def _lay_out(
    title: str,
    subtitle: str,
    lead: Lines,
    scan: str,
    categories: list[tuple[str, str]],
    foot: str,
    size: float,
) -> list[Text] | None:
    """Return the lines of text, or None when they do not fit at this size."""
    page = _Page()
    page.paragraph(MARGIN, 22, WIDTH - 2 * MARGIN, 26, title, bold=True, white=True)
    low = page.paragraph(MARGIN, 33, WIDTH - 2 * MARGIN, 13, subtitle, white=True)
    if low > BAND + 3:
        return None
    left = WIDTH - 2 * MARGIN - CODE - GAP
    y = BAND + 10
    for text, bold in lead:
        y = page.paragraph(MARGIN, y, left, size + 2, text, bold) + 1.5
    below = page.paragraph(WIDTH - MARGIN - CODE, BAND + 10 + CODE + 2, CODE, 9, scan)
    top = max(y, below) + 3
    column = (WIDTH - 2 * MARGIN - GAP) / 2
    for at in range(0, len(categories), 2):
        lows = []
        for side, (name, text) in enumerate(categories[at : at + 2]):
            x = MARGIN + side * (column + GAP)
            under = page.paragraph(x, top, column, size + 1, name, bold=True)
            lows.append(page.paragraph(x, under, column, size, text))
        top = max(lows) + 3
    bottom = page.paragraph(MARGIN, top + 1, WIDTH - 2 * MARGIN, 8, foot)
    return page.texts if bottom <= HEIGHT - MARGIN / 2 else None


class _Page:
    """Breaks paragraphs into lines and collects them."""

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self._ruler = FPDF(unit="mm")
        self._ruler.core_fonts_encoding = ENCODING

    def paragraph(
        self,
        x: float,
        y: float,
        width: float,
        size: float,
        text: str,
        bold: bool = False,
        white: bool = False,
    ) -> float:
        """Set a text from baseline `y` on; return the baseline after it."""
        self._ruler.set_font("Helvetica", "B" if bold else "", size)
        for line in self._lines(text, width):
            self.texts.append(Text(x, round(y, 3), size, bold, line, white))
            y += size * POINT_MM * LEADING
        return y

    def _lines(self, text: str, width: float) -> list[str]:
        lines: list[str] = []
        line = ""
        for word in text.split():
            longer = f"{line} {word}" if line else word
            if self._width(longer) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            # An address may be wider than a column.
            while self._width(word) > width:
                cut = next(at for at in range(len(word) - 1, 0, -1) if self._width(word[:at]) <= width)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        return [*lines, line] if line else lines

    def _width(self, text: str) -> float:
        # A letter that the standard fonts lack is taken for a wide one.
        known = text.encode(ENCODING, "replace").decode(ENCODING).replace("?", "m")
        return float(self._ruler.get_string_width(known))


def _code(link: str) -> list[Box]:
    """Return the dark modules of the QR code, each run of a row as one box."""
    rows = [list(row) for row in segno.make(link, error="q", micro=False).matrix]
    # Four modules of quiet around it, as the standard wants.
    module = CODE / (len(rows) + 8)
    left, top = WIDTH - MARGIN - CODE + 4 * module, BAND + 6 + 4 * module
    boxes = []
    for y, row in enumerate(rows):
        start = None
        for x, dark in enumerate([*row, 0]):
            if dark and start is None:
                start = x
            elif not dark and start is not None:
                boxes.append(Box(left + start * module, top + y * module, (x - start) * module, module))
                start = None
    return boxes
