"""A sign drawn: as SVG, to change in any drawing program, and as PDF, to print. Both draw the same lines."""

from __future__ import annotations

import html
from datetime import UTC, datetime

from fpdf import FPDF

from peilmerk_gateway.deployments.exports.needs import Needs
from peilmerk_gateway.deployments.exports.sign import ENCODING, HEIGHT, POINT_MM, WIDTH, Sign

DARK = (14, 46, 58)


def as_svg(sign: Sign) -> bytes:
    """Draw the sign as SVG, one unit a mm."""
    dark = "#{:02x}{:02x}{:02x}".format(*DARK)
    boxes = "".join(
        f"M{box.x:.3f} {box.y:.3f}h{box.width:.3f}v{box.height:.3f}h-{box.width:.3f}z" for box in sign.boxes
    )
    weights, colours = ("normal", "bold"), (dark, "#fff")
    texts = "".join(
        f'<text x="{text.x:g}" y="{text.y:g}" font-size="{text.size * POINT_MM:.3f}" '
        f'font-weight="{weights[text.bold]}" fill="{colours[text.white]}">'
        f"{html.escape(text.text)}</text>\n"
        for text in sign.texts
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}mm" height="{HEIGHT:g}mm" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" lang="{sign.language}" role="img" '
        f"font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\">\n"
        f"<title>{html.escape(sign.title)}</title>\n"
        f'<rect width="{WIDTH:g}" height="{HEIGHT:g}" fill="#fff"/>\n'
        f'<path fill="{dark}" shape-rendering="crispEdges" d="{boxes}"/>\n{texts}</svg>\n'
    ).encode()


def as_pdf(sign: Sign) -> bytes:
    """Draw the sign as one page of PDF. The same sign gives the same bytes."""
    pdf = FPDF(unit="mm", format="A4")
    pdf.core_fonts_encoding = ENCODING
    pdf.set_auto_page_break(False)
    pdf.set_title(sign.title)
    pdf.set_lang(sign.language)
    pdf.set_creation_date(datetime(2000, 1, 1, tzinfo=UTC))
    pdf.add_page()
    pdf.set_fill_color(*DARK)
    for box in sign.boxes:
        pdf.rect(box.x, box.y, box.width, box.height, style="F")
    for text in sign.texts:
        pdf.set_font("Helvetica", "B" if text.bold else "", text.size)
        pdf.set_text_color(*((255, 255, 255) if text.white else DARK))
        pdf.text(text.x, text.y, text.text)
    return bytes(pdf.output())


def check_letters(sign: Sign, needs: Needs) -> None:
    """Note what a PDF cannot show: its standard fonts have the letters of western Europe only."""
    for text in sign.said:
        for letter in text:
            try:
                letter.encode(ENCODING)
            except UnicodeEncodeError:
                needs.lack(
                    "--out",
                    f"found {letter!r} in {text[:40]!r}, wanted letters of western Europe for PDF: take SVG",
                )
                return
