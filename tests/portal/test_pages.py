"""What the board's pages are made of: every text in both languages, nothing said twice, small, and whole."""

from __future__ import annotations

import re
import tomllib
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

import peilmerk_protocol
from peilmerk_protocol import quantities
from peilmerk_provisioning import bundle, portal_pages
from peilmerk_provisioning.errors import BundleError

TEXTS = Path(peilmerk_protocol.__file__).with_name("texts.toml").read_text("utf-8")
PORTAL = bundle.firmware_folder() / portal_pages.FOLDER
TEMPLATE = (PORTAL / portal_pages.TEMPLATE).read_text("utf-8")
# 80 texts in two languages, twelve pages, style and script: what a board carries of it all.
LIMIT = 6000


def found():
    """{piece's name: its lines}."""
    pieces = portal_pages.pieces(TEMPLATE, TEXTS)
    return {one.partition("\n")[0]: one.partition("\n")[2] for one in re.split(r"(?m)^#", pieces)[1:]}


def test_every_text_of_the_board_is_said_and_every_said_text_is_there_in_both_languages():
    texts = tomllib.loads(TEXTS)
    keys = {key for key in texts["nl"] if key.startswith("board.")}
    assert keys == {key for key in texts["en"] if key.startswith("board.")}
    said = {"board." + key for key in portal_pages.KEY.findall(portal_pages.COMMENT.sub("", TEMPLATE))} - {
        "board.decimal"
    }
    assert said == keys
    pieces = found()
    names = {name.removesuffix(".nl") for name in pieces if name.endswith(".nl")}
    assert names == {name.removesuffix(".en") for name in pieces if name.endswith(".en")}
    for name in names:
        fields = [sorted(re.findall(r"~(\w+)~", pieces[f"{name}.{code}"])) for code in ("nl", "en")]
        assert fields[0] == fields[1], name


def test_the_board_says_every_piece_it_has_and_has_every_piece_it_says():
    code = "".join(path.read_text("utf-8") for path in PORTAL.glob("*.py"))
    said = set(re.findall(r'"([a-z]+)"', code))
    names = {name.split(".")[0] for name in found()}
    assert {f"q{number}" for number in range(quantities.NUMBER)} <= names
    assert {name for name in names if not re.fullmatch(r"q\d+", name)} <= said
    for name in re.findall(r'answer\.(?:piece|get)\("(\w+)"', code):
        assert name in names, name


def test_the_file_is_small_and_is_read_line_by_line():
    packed = portal_pages.render(TEMPLATE, TEXTS)
    assert len(packed) <= LIMIT
    whole = zlib.decompressobj(-portal_pages.WINDOW_BITS).decompress(packed).decode()
    assert whole == portal_pages.pieces(TEMPLATE, TEXTS)
    assert max(len(line.encode()) for line in whole.splitlines()) <= 512
    assert bundle.build(kind="counter").files["node/portal/pages"]


def test_a_board_speaks_of_the_quantities_it_may_have_only():
    assert "#q5.nl" in portal_pages.pieces(TEMPLATE, TEXTS, [5])
    assert "#q0.nl" not in portal_pages.pieces(TEMPLATE, TEXTS, [5])
    counts, others = portal_pages.quantities_of("counter"), portal_pages.quantities_of("air")
    assert counts == [number for number in range(quantities.NUMBER) if quantities.is_count(number)]
    assert sorted(counts + others) == list(range(quantities.NUMBER))
    made = [bundle.build(kind=kind).files["node/portal/pages"] for kind in ("counter", "air")]
    assert made == [portal_pages.render(TEMPLATE, TEXTS, shown) for shown in (counts, others)]


def test_a_missing_text_and_a_stray_mark_are_named():
    with pytest.raises(BundleError, match=r"found no text board\.nothing in \[nl\]"):
        portal_pages.pieces("#a\n{{nothing}}\n", TEXTS)
    with pytest.raises(BundleError, match="found a ~ in #a"):
        portal_pages.pieces("#a\nx=~y\n", TEXTS)


class Tags(HTMLParser):
    """Checks that what must be closed is closed, and that nothing is loaded from elsewhere."""

    MUST = ("html", "main", "header", "form", "fieldset", "h1", "h2", "ul", "dl", "label", "a", "b", "select")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag in self.MUST:
            self.open.append(tag)
        for name, value in attributes:
            assert name not in ("style", "onclick", "onsubmit"), tag
            if name in ("src", "href", "action"):
                assert value.startswith(("/", "?")), value

    def handle_endtag(self, tag):
        if tag in self.MUST:
            assert self.open.pop() == tag, tag


@pytest.mark.parametrize("code", ["nl", "en"])
@pytest.mark.parametrize(
    "page",
    [
        "top setup wrong networks network password about never end",
        "top joining about never end",
        "top joined about never end",
        "top refused wait login end",
        "top works next pause now sent row farewell end",
        "top paused resume now sent farewell end",
        "top forget end",
    ],
)
def test_each_page_is_whole_html(page, code):
    pieces = found()
    tags = Tags()
    tags.feed("".join(pieces.get(name) or pieces[f"{name}.{code}"] for name in page.split()))
    tags.close()
    assert tags.open == []
