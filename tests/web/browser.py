"""A headless Chromium for tests and pictures: Debian's browser and driver, with a fresh profile."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
# How long to wait for what has to happen, as in `patience`, which a script of this folder does not find.
DEADLINE_S = 120.0
MISSING = "no Chromium to test pages with: apt-get install chromium chromium-driver"

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Small shared memory, as containers have it, crashes a page otherwise.
    "--disable-dev-shm-usage",
)


def installed() -> bool:
    """Whether both programs are there."""
    return all(shutil.which(program) for program in (CHROMIUM, CHROMEDRIVER))


def required() -> bool:
    """Whether a missing browser is a failure: nothing is skipped in continuous integration."""
    return os.environ.get("CI", "").lower() == "true"


class Browser:
    """One browser window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and return its value; works with the page's own scripts disabled too."""
        return self.driver.execute_script(script, *arguments)

    def command(self, name: str, **parameters: object) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def text(self, selector: str) -> str:
        """The text of the first element that the CSS selector finds; empty when there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def until(self, ask: Callable[[], object], what: str, seconds: float = DEADLINE_S) -> Any:
        """Ask until the answer is true and return it; AssertionError after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (answer := ask()):
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
            time.sleep(0.05)
        return answer

    def shape(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Take the form of a screen, in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def picture(self, file: Path, height: int | None = None) -> None:
        """Save the page as a PNG: the whole of it, or its first `height` CSS pixels."""
        width, whole = self.run("const e = document.documentElement; return [e.clientWidth, e.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height or whole, "scale": 1}
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """What the browser's console said since the last time: warnings, errors, violations of the policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def started(*, scripts: bool = True, more: tuple[str, ...] = ()) -> Iterator[Browser]:
    """Start a browser, with or without scripts in pages, and end it; `more` are further options."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not scripts:
        prefs = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", prefs)
    with TemporaryDirectory(prefix="peilmerk-browser-", ignore_cleanup_errors=True) as profile:
        for option in (*OPTIONS, *more, f"--user-data-dir={profile}"):
            options.add_argument(option)
        driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            driver.set_page_load_timeout(DEADLINE_S)
            yield Browser(driver)
        finally:
            driver.quit()
