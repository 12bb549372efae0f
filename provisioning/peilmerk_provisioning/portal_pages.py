"""The board's own pages, rendered for a bundle: pages.html with the contract's texts, all languages in one
file.

The file is a raw deflate stream (RFC 1951) with a window of 1 KB, which a board reads forwards. Within are
pieces, each a line "#name" and the lines up to the next one; a piece with texts is there once a language,
"#name.nl" and "#name.en" side by side, so that what they share is stored once. Texts are escaped for HTML
here, values on the board.
"""

from __future__ import annotations

import html
import re
import tomllib
import zlib
from collections.abc import Iterable
from pathlib import Path

from peilmerk_protocol import quantities_names
from peilmerk_provisioning.errors import BundleError

__all__ = ["FOLDER", "LANGUAGES", "TEMPLATE", "pieces", "quantities_of", "read", "render"]

LANGUAGES = ("nl", "en")
FOLDER = "node/portal"
TEMPLATE = "pages.html"
WINDOW_BITS = 10
PIECE = re.compile(r"^#", re.MULTILINE)
KEY = re.compile(r"\{\{([^{}]+)\}\}")
FIELD = re.compile(r"\{(\w+)\}")
VALUE = re.compile(r"~[a-z]+~")
COMMENT = re.compile(r"\A<!--.*?-->\n", re.DOTALL)


def render(template: str, texts: str, shown: Iterable[int] | None = None) -> bytes:
    """Return the file of the template and the contract's texts.toml.

    `shown` are the numbers of the quantities that the board may speak of, all by default. Raises BundleError
    naming a text that is missing.
    """
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -WINDOW_BITS)
    return squeeze.compress(pieces(template, texts, shown).encode()) + squeeze.flush()


def pieces(template: str, texts: str, shown: Iterable[int] | None = None) -> str:
    """Return the pieces as text."""
    by_language = tomllib.loads(texts)
    found = []
    for piece in PIECE.split(COMMENT.sub("", template))[1:]:
        name, _, lines = piece.partition("\n")
        if "~" in VALUE.sub("", lines):
            raise BundleError(f"{TEMPLATE}: found a ~ in #{name} that begins no value, wanted none")
        if name == "quantities":
            found += _quantities(shown)
        elif KEY.search(lines):
            found += [f"#{name}.{code}\n{_said(lines, by_language[code], code)}" for code in LANGUAGES]
        else:
            found.append(f"#{name}\n{lines}")
    return "".join(found)


def _said(lines: str, texts: dict[str, str], code: str) -> str:
    """Fill in the texts of one language."""

    def text(match: re.Match[str]) -> str:
        key = "decimal" if match[1] == "decimal" else f"board.{match[1]}"
        if key not in texts:
            raise BundleError(f"{TEMPLATE}: found no text {key} in [{code}] of texts.toml, wanted it")
        return FIELD.sub(r"~\1~", html.escape(texts[key]))

    return KEY.sub(text, lines)


def _quantities(shown: Iterable[int] | None) -> list[str]:
    """Return a piece a quantity and language: label and unit."""
    numbers = range(len(quantities_names.ALL)) if shown is None else sorted(shown)
    rows = [quantities_names.by_number(number) for number in numbers]
    return [
        f"#q{row.number}.{code}\n{html.escape(label)}|{row.unit_label}\n"
        for row in rows
        for code, label in (("nl", row.label_nl), ("en", row.label))
    ]


def quantities_of(kind: str) -> list[int]:
    """Return the numbers of what a kind of node can measure: counts for a counter, or all others."""
    return [row.number for row in quantities_names.ALL if row.is_count is (kind == "counter")]


def read(folder: Path, protocol: Path, shown: Iterable[int] | None = None) -> bytes:
    """Render the template in `folder` (firmware's node/portal) with the texts in `protocol`."""
    try:
        template = (folder / TEMPLATE).read_text("utf-8")
        texts = (protocol / "texts.toml").read_text("utf-8")
    except OSError as reason:
        raise BundleError(f"{reason.filename}: {reason.strerror}, wanted the board's pages") from reason
    return render(template, texts, shown)
