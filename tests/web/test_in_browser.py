"""The page in a real Chromium, served by the real web server: live, without scripts, on a phone, in the dark.

The store is written to by the test's own loop while the browser waits in a thread, as visitors do.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from browser import Browser
from patience import DEADLINE_S
from street_of_test import NOON, NOW, WINDOW, TestStreet

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.free_port import free_port
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.web import WebServer, WebServerError, create_app

WIDE, PHONE = (1280, 900), (360, 780)


@pytest.fixture
async def serve(street: TestStreet) -> AsyncIterator[WebServer]:
    """The street's pages on a free port."""
    await street.fill()
    await street.publish()
    await street.refuse(Reason.FORGED, 2)
    app = create_app(street.store, street.catalogue, street.clock, street.settings)
    server = WebServer(app, "127.0.0.1", free_port())
    await server.start()
    yield server
    await server.stop()


def opened(browser: Browser, url: str, size: tuple[int, int] = WIDE, dark: bool = False) -> None:
    # The page of the test before looks for its server, which is gone, until it is left; only then is the
    # console ours.
    browser.open("about:blank")
    browser.complaints()
    browser.shape(*size, dark=dark)
    browser.open(url)


def is_live(browser: Browser) -> bool:
    return bool(browser.run("return document.getElementById('live-line').className === 'on'"))


def latest(browser: Browser) -> list[str]:
    return [
        str(text)
        for text in browser.run("return [...document.querySelectorAll('.latest b')].map(b => b.textContent)")
    ]


async def test_new_windows_appear_live_without_a_reload(street, serve, chromium):
    def before():
        opened(chromium, serve.url + "?lang=en")
        chromium.until(lambda: is_live(chromium), "the live line")
        chromium.run("window.marked = true")
        chromium.run("document.querySelector('details').open = true")
        chromium.run("document.querySelector('details summary').focus()")
        return latest(chromium)

    assert (await asyncio.to_thread(before))[0] != "91"
    street.clock.at += WINDOW
    await street.count("canal-north", NOON, 91, None)
    await asyncio.to_thread(chromium.until, lambda: latest(chromium)[0] == "91", "the new value")

    def waiting():
        return chromium.until(lambda: chromium.text(".of-waiting dd") == "1", "the waiting observation")

    await asyncio.to_thread(waiting)
    assert await street.publish() == 1
    await street.refuse(Reason.REPLAYED)

    def after():
        chromium.until(lambda: chromium.text(".of-waiting dd") == "0", "publication")
        chromium.until(lambda: chromium.text(".of-refused dd") == "3", "the refusal")
        assert "replayed" in chromium.text("#refusals")
        assert chromium.run("return window.marked")
        # What the reader had open and where she was stays as it was.
        assert chromium.run("return document.querySelector('details').open")
        assert chromium.run("return document.activeElement === document.querySelector('details summary')")
        assert chromium.complaints() == []

    await asyncio.to_thread(after)


async def test_pause_stops_changes_and_resume_catches_up(street, serve, chromium):
    def pause():
        opened(chromium, serve.url + "?lang=en")
        chromium.until(lambda: is_live(chromium), "the live line")
        chromium.run("document.getElementById('live-button').click()")
        assert chromium.text("#live-line").strip() == "Paused: the page stays as it is"
        assert chromium.text("#live-button") == "Resume"
        return latest(chromium)[0]

    old = await asyncio.to_thread(pause)
    await street.count("canal-north", NOON, 91, 22)

    def resume():
        time.sleep(2)  # the only way to see that nothing happens: two beats
        assert latest(chromium)[0] == old
        chromium.run("document.getElementById('live-button').click()")
        chromium.until(lambda: latest(chromium)[0] == "91", "the value missed while paused")

    await asyncio.to_thread(resume)


async def test_a_page_left_open_survives_a_restart_of_the_gateway(street, serve, chromium):
    port = int(serve.url.rsplit(":", 1)[1].strip("/"))

    def before():
        opened(chromium, serve.url + "?lang=en")
        chromium.until(lambda: is_live(chromium), "the live line")
        chromium.run("window.marked = true")

    await asyncio.to_thread(before)
    await serve.stop()
    await asyncio.to_thread(
        chromium.until, lambda: chromium.text("#live-line").strip().startswith("Connection lost"), "the loss"
    )
    assert chromium.run("return getComputedStyle(document.querySelector('.without-live')).display") != "none"
    await street.count("canal-north", NOON, 91, 22)
    again = WebServer(
        create_app(street.store, street.catalogue, street.clock, street.settings), "127.0.0.1", port
    )
    await again.start()
    try:
        await asyncio.to_thread(
            chromium.until, lambda: latest(chromium)[0] == "91", "what came meanwhile", 30
        )
        assert chromium.run("return window.marked")
    finally:
        await again.stop()


async def test_a_sensor_that_joins_the_street_appears(street, serve, chromium):
    record = street.catalogue.directory / "station-street.toml"
    text = record.read_text()
    record.unlink()
    street.catalogue.reload()

    def before():
        opened(chromium, serve.url + "?lang=en")
        chromium.until(lambda: is_live(chromium), "the live line")
        assert "Facade" not in chromium.text("main")

    await asyncio.to_thread(before)
    record.write_text(text)
    street.catalogue.reload()
    await asyncio.to_thread(chromium.until, lambda: "Facade" in chromium.text("main"), "the new sensor")


async def test_works_without_scripts(street, serve, chromium_without_scripts):
    browser = chromium_without_scripts

    def look():
        opened(browser, serve.url + "?lang=nl")
        assert browser.run("return document.getElementById('live-button').hidden")
        assert browser.run("return document.querySelectorAll('svg.chart').length") == 8
        assert (
            browser.run("return document.querySelector('svg.chart .column').getBoundingClientRect().height")
            > 1
        )
        browser.driver.find_element("css selector", "details summary").click()
        assert browser.driver.find_element("css selector", "details table").is_displayed()
        browser.driver.find_element("link text", "Ververs de pagina").click()
        browser.driver.find_element("link text", "English").click()
        assert browser.driver.find_element("css selector", "h1").text == "Sensors in the street"
        return latest(browser)[0]

    old = await asyncio.to_thread(look)
    await street.count("canal-north", NOON, 91, 22)

    def reload():
        assert latest(browser)[0] == old
        browser.driver.find_element("link text", "Reload the page").click()
        assert latest(browser)[0] == "91"

    await asyncio.to_thread(reload)


async def test_language_switch_and_skip_link(street, serve, chromium):
    def switch():
        opened(chromium, serve.url)
        chromium.driver.find_element("css selector", ".switch").click()
        first = chromium.run("return document.documentElement.lang")
        chromium.driver.find_element("css selector", ".switch").click()
        second = chromium.run("return document.documentElement.lang")
        assert {first, second} == {"nl", "en"}
        from selenium.webdriver.common.keys import Keys

        chromium.driver.find_element("css selector", "body").send_keys(Keys.TAB)
        assert chromium.run("return document.activeElement.className") == "skip"
        chromium.driver.switch_to.active_element.send_keys(Keys.ENTER)
        chromium.until(lambda: chromium.run("return location.hash") == "#content", "the skip")
        assert chromium.run("return document.activeElement.id") == "content"
        assert chromium.complaints() == []

    await asyncio.to_thread(switch)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, PHONE, (320, 600), (800, 600)])
async def test_no_sideways_scrolling_and_nothing_cut_off(serve, chromium, size, dark):
    def look():
        opened(chromium, serve.url + "?lang=nl", size, dark)
        chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert chromium.run("return document.documentElement.scrollWidth") <= size[0]
        # Whatever sticks out of the screen without a scroller of its own around it.
        cut = chromium.run(
            "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .unseen, svg')"
            " && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
            ".map(e => e.outerHTML.slice(0, 80))"
        )
        assert cut == []
        marks = chromium.run(
            "return [...document.querySelectorAll('svg.chart .mark')]"
            ".map(e => e.getBoundingClientRect().height)"
        )
        assert min(marks) >= 9
        assert chromium.complaints() == []

    await asyncio.to_thread(look)


async def test_targets_are_large_enough_for_a_thumb(serve, chromium):
    def look():
        opened(chromium, serve.url + "?lang=nl", PHONE)
        chromium.until(lambda: is_live(chromium), "the live line")
        small = chromium.run(
            "return [...document.querySelectorAll('button, summary, .switch, .jump a, .brand')]"
            ".map(e => [e.className || e.localName, e.getBoundingClientRect().height])"
            ".filter(([, height]) => height < 30)"
        )
        assert small == []

    await asyncio.to_thread(look)


async def test_dark_is_dark_and_light_is_light(serve, chromium):
    def ground(dark):
        opened(chromium, serve.url, WIDE, dark)
        colour = chromium.run("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour[4:-1].split(","))

    assert await asyncio.to_thread(ground, True) < 150
    assert await asyncio.to_thread(ground, False) > 600


async def test_the_accessibility_tree_names_every_chart(serve, chromium):
    def look():
        opened(chromium, serve.url + "?lang=en")
        nodes = chromium.command("Accessibility.getFullAXTree")["nodes"]
        images = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img")]
        named = [node for node in images if node["name"].get("value")]
        assert len(named) == 8
        assert named[0]["name"]["value"].startswith(
            "Bicycles, towards: the last 24 windows From 07:00 to 13:00."
        )
        roles = {node.get("role", {}).get("value") for node in nodes}
        assert {"banner", "main", "contentinfo", "navigation", "article", "status"} <= roles

    await asyncio.to_thread(look)


async def test_bench_clock_ticks(street, chromium):
    street.clock = ScaledClock(NOW, time.time(), 600)
    server = WebServer(
        create_app(street.store, street.catalogue, street.clock, street.settings), "127.0.0.1", 0
    )
    await server.start()

    def look():
        opened(chromium, server.url + "?lang=en")
        first = chromium.text("#street-time")
        assert first.startswith("Monday 26 February 2024, 13:")
        chromium.until(lambda: chromium.text("#street-time") != first, "the clock to tick")
        after = chromium.text("#street-time")
        assert after.startswith("Monday 26 February 2024, 1")
        assert chromium.complaints() == []

    try:
        await asyncio.to_thread(look)
    finally:
        await server.stop()


async def test_server_stops_at_once_with_pages_open(street, serve):
    async with (
        httpx.AsyncClient(base_url=serve.url, timeout=10) as client,
        client.stream("GET", "/events?lang=en") as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 3000"
        async for line in lines:
            if line.startswith("data: "):
                break
        assert "summary" in json.loads(line.removeprefix("data: "))["changed"]
        stopping = asyncio.create_task(serve.stop())
        rest = [line async for line in lines]
        await asyncio.wait_for(stopping, DEADLINE_S)
        assert not [line for line in rest if line.startswith("data")]
    # The streams held nothing of the store: it still answers.
    await street.store.ping()


async def test_a_taken_port_is_named(street, serve):
    port = int(serve.url.rsplit(":", 1)[1].strip("/"))
    app = create_app(street.store, street.catalogue, street.clock, street.settings)
    with pytest.raises(WebServerError, match=f"port {port} of 127.0.0.1 is taken"):
        await WebServer(app, "127.0.0.1", port).start()
    with pytest.raises(WebServerError, match=r"found host 'no\.such\.host\.invalid'"):
        await WebServer(app, "no.such.host.invalid", 0).start()


async def test_the_server_leaves_signals_and_ports_alone(street):
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    app = create_app(street.store, street.catalogue, street.clock, street.settings)
    server = WebServer(app, "127.0.0.1", 0)
    await server.start()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    port = int(server.url.rsplit(":", 1)[1].strip("/"))
    await server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
