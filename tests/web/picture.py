"""Take a picture of the page, for the README: of a gateway that runs, or of a street filled for the purpose.

python tests/web/picture.py docs/page.png                        a filled street, English, light
python tests/web/picture.py docs/page.png http://127.0.0.1:8080/?lang=nl    what a gateway shows now
python tests/web/picture.py --dark --phone docs/phone.png
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import browser
from street_of_test import NOW, TestStreet

PHONE, WIDE = (390, 844), (1200, 900)


def take(url: str, file: Path, *, dark: bool = False, phone: bool = False, whole: bool = False) -> None:
    """Save the page at `url` as a PNG once it is live: to the end of the first sensor, or the whole."""
    width, height = PHONE if phone else WIDE
    with browser.started() as window:
        # Full size would be megabytes; half again as sharp as a plain screen is enough for a page.
        window.shape(width, height, dark=dark, scale=2 if phone else 1.5)
        window.open(url)
        window.until(
            lambda: window.run("return document.getElementById('live-line').className === 'on'"), "live"
        )
        end = window.run("return document.querySelector('article')?.getBoundingClientRect().bottom ?? 0")
        window.picture(file, None if whole else int(max(height, end + 24)))


async def take_of_filled_street(file: Path, language: str, dark: bool, phone: bool, whole: bool) -> None:
    """Fill a street, serve its page and take its picture."""
    from peilmerk_gateway.clock import ScaledClock
    from peilmerk_gateway.refusal import Reason
    from peilmerk_gateway.web import WebServer, create_app

    with TemporaryDirectory() as folder:
        street = await TestStreet.make(Path(folder))
        street.clock = ScaledClock(NOW, time.time(), 60)
        await street.fill()
        await street.publish()
        await street.refuse(Reason.FORGED, 2)
        await street.refuse(Reason.G7)
        server = WebServer(
            create_app(street.store, street.catalogue, street.clock, street.settings), "127.0.0.1", 0
        )
        await server.start()
        try:
            url = f"{server.url}?lang={language}"
            await asyncio.to_thread(take, url, file, dark=dark, phone=phone, whole=whole)
        finally:
            await server.stop()
            await street.store.close()


def main() -> int:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--language", choices=("nl", "en"), default="en")
    for option in ("dark", "phone", "whole"):
        parser.add_argument(f"--{option}", action="store_true")
    given = parser.parse_args()
    if not browser.installed():
        print(f"error: {browser.MISSING}", file=sys.stderr)
        return 2
    if given.url:
        take(given.url, given.file, dark=given.dark, phone=given.phone, whole=given.whole)
    else:
        asyncio.run(take_of_filled_street(given.file, given.language, given.dark, given.phone, given.whole))
    return 0


if __name__ == "__main__":
    sys.exit(main())
