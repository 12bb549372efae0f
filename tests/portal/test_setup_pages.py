"""Set-up with a phone: a real browser at a virtual board's access point, in both languages, with and without
scripts.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from house import HOME, NEXT_DOOR, PASSWORD
from patience import DEADLINE_S


def fill(window, name, password):
    """Choose a network of the list and type a password."""
    find = window.driver.find_element
    find("xpath", f"//label[b[.='{name}']]").click()
    find("id", "p").send_keys(password)
    find("tag name", "button").click()


def heading(window):
    return window.text("h1")


@pytest.mark.parametrize(
    ("scripts", "language", "words"),
    [
        (
            True,
            "nl",
            ("Verbind deze sensor met uw wifi", "Klopt het wachtwoord?", "Verbonden met", "Fietsers, heen"),
        ),
        (
            False,
            "en",
            (
                "Connect this sensor to your Wi-Fi",
                "Is the password right?",
                "Connected to",
                "Bicycles, towards",
            ),
        ),
    ],
)
async def test_a_citizen_joins_the_sensor_to_the_home_network(house, phone, scripts, language, words):
    place = house()
    await place.at_the_door()
    assert place.board.access_point == ("Peilmerk-dbcd", PASSWORD, 3)
    place.board.phones = 1

    def journey():
        with phone(place, scripts=scripts) as window:
            # What a phone asks by itself to find out whether there is internet.
            window.open("http://captive.apple.com/hotspot-detect.html")
            assert window.run("return location.href") == "http://127.0.0.1/"
            if window.run("return document.documentElement.lang") != language:
                window.driver.find_element("css selector", "header a").click()
            assert window.run("return document.documentElement.lang") == language
            assert heading(window) == words[0]
            # The choice is kept, without a word of it in the address.
            window.open("http://127.0.0.1/")
            assert heading(window) == words[0]
            assert words[3] in window.text("ul")
            assert window.run("return document.querySelectorAll('fieldset label b').length") == 2
            assert NEXT_DOOR.ssid in window.text("fieldset")
            look_after_everybody(window)
            fill(window, HOME.ssid, "not the password")
            window.until(lambda: words[1] in window.text("[role=alert]"), "the refusal", 60)
            assert HOME.ssid in window.text("[role=alert]")
            # What did not let the board in is not kept.
            assert place.file("wifi.json") is None
            fill(window, HOME.ssid, HOME.password)
            window.until(lambda: words[2] in heading(window), "the success", 60)
            assert HOME.ssid in heading(window)
            assert "http://127.0.0.1/" in window.text("main")
            assert window.complaints() == []

    await asyncio.to_thread(journey)
    await place.board.power_cut()
    assert json.loads(place.file("wifi.json")) == [[HOME.ssid, HOME.password]]
    assert place.file("wifi.json.new") is None
    for secret in (HOME.password, PASSWORD, "not the password"):
        assert secret not in place.board.console_tail


def look_after_everybody(window):
    """Labels, large targets, contrast, no sideways scrolling."""
    assert window.run("return document.documentElement.scrollWidth") <= 360
    unnamed = window.run(
        "return [...document.querySelectorAll('input:not([type=hidden]),select')]"
        ".filter(e => !e.labels.length && !e.getAttribute('aria-label')).map(e => e.outerHTML)"
    )
    assert unnamed == []
    small = window.run(
        "return [...document.querySelectorAll('button, label, input[type=password], header')]"
        ".map(e => [e.outerHTML, e.offsetHeight]).filter(([, height]) => height < 40)"
    )
    assert small == []
    assert (
        window.run("return getComputedStyle(document.querySelector('button')).backgroundColor")
        == "rgb(20, 80, 122)"
    )
    for element in ("h1", "h2", "button"):
        assert window.run(f"return document.querySelectorAll('{element}').length") >= 1


async def test_the_access_point_goes_after_success(house):
    place = house()
    await place.at_the_door()

    def join():
        page = place.ask("GET", "/")
        found = place.ask(
            "POST", "/join", f"c={page.value('c')}&s={HOME.ssid.encode().hex()}&p=kamerplant+12"
        )
        assert (found.status, found.heads["location"]) == (303, "/")

    await asyncio.to_thread(join)
    await place.board.console_shows("portal: joining ended with 0")
    await place.board.console_shows("portal: set-up is closed")
    assert place.board.access_point is None
    # On the home network it now asks who is there.
    page = await asyncio.to_thread(place.ask, "GET", "/")
    assert 'name="p"' in page.text
    assert "wifi" not in page.text.lower()


async def test_a_network_that_is_gone_is_told_apart_from_a_wrong_password(house):
    place = house()
    await place.at_the_door()

    def join():
        page = place.ask("GET", "/?lang=en")
        place.ask("POST", "/join", f"c={page.value('c')}&s=&o=Nowhere&p=12345678")
        assert "Connecting to Nowhere" in place.ask("GET", "/?lang=en").text
        assert 'http-equiv="refresh"' in place.ask("GET", "/?lang=en").text

    await asyncio.to_thread(join)
    await place.board.console_shows("portal: joining ended with 201")
    page = await asyncio.to_thread(place.ask, "GET", "/?lang=en")
    assert "The sensor cannot find Nowhere" in page.text
    # The portal stands as before.
    assert page.value("c")
    assert place.board.access_point is not None


async def test_every_system_is_led_to_the_page_and_forms_are_accepted_from_it_only(house):
    place = house()
    await place.at_the_door()

    def try_all():
        for host, path in (
            ("connectivitycheck.gstatic.com", "/generate_204"),
            ("captive.apple.com", "/hotspot-detect.html"),
            ("www.msftconnecttest.com", "/connecttest.txt"),
            ("www.msftconnecttest.com", "/redirect"),
            ("detectportal.firefox.com", "/canonical.html"),
        ):
            found = place.ask("GET", path, host=host)
            assert (found.status, found.heads["location"]) == (303, "http://127.0.0.1/"), host
            assert "no-store" in found.heads["cache-control"]
        body = f"s={HOME.ssid.encode().hex()}&p=kamerplant+12"
        assert place.ask("POST", "/join", body).status == 403
        assert place.ask("POST", "/join", "c=0123456789abcdef&" + body).status == 403
        page = place.ask("GET", "/?lang=en")
        token = page.value("c")
        for bad in ("s=zz", "s=ff&p=12345678"):
            assert place.ask("POST", "/join", f"c={token}&{bad}").status == 400
        for unfit in ("o=", "o=x&p=short", "o=" + "x" * 33):
            assert place.ask("POST", "/join", f"c={token}&{unfit}").status == 303
            assert "Choose a network" in place.ask("GET", "/?lang=en").text
        assert place.ask("GET", "/wifi.json").status == 404
        assert place.ask("GET", "/../identity.json").status == 404
        assert place.ask("PUT", "/").status == 405

    await asyncio.to_thread(try_all)
    assert "joining" not in place.board.console_tail


async def test_set_up_is_offered_when_the_network_is_lost_and_closes_when_it_comes_back(house):
    place = house(knows_wifi=True, speed=60)
    await place.board.start()
    await place.until(lambda: place.board.http_url, "the home network")
    place.board.wifi_up = False
    await place.board.console_shows("portal: set-up is open")
    assert place.board.access_point == ("Peilmerk-dbcd", PASSWORD, 3)
    # The known network is still tried, and the console is still MicroPython's own.
    tried = place.board.console_tail.count("no ap found")
    await place.until(lambda: place.board.console_tail.count("no ap found") > tried, "another attempt")
    place.board.wifi_up = True
    await place.board.console_shows("portal: set-up is closed")
    assert place.board.access_point is None
    place.board.type(b"\x03")
    await place.board.console_shows("stopped; reset the board to start again")


async def test_a_technician_opens_set_up_once(house):
    from peilmerk_provisioning.board import Board, Reset, Script

    place = house(knows_wifi=True)
    await place.at_home()
    assert "set-up is open" not in place.board.console_tail
    (said,) = await asyncio.to_thread(Board(place.board.port).do, [Script("ask_setup"), Reset()])
    assert said == {"ready": True}
    await place.board.console_shows("portal: set-up is open")
    await place.board.power_cut()
    # Asked for once, opened once.
    assert place.file("setup") is None


async def test_a_power_cut_while_a_network_is_kept_leaves_the_old_list_or_the_new_one(house):
    place = house(knows_wifi=True, run_main=False)
    await place.board.start()
    old = [[HOME.ssid, HOME.password]]
    seen = []
    for writes in range(1, 40):
        await place.board.console_shows(">>> ")
        code = place.program.guest(
            "from node.portal.setup import save_network\n"
            f"save_network('/', 'new', 'password {writes}')\nprint('kept', {writes} * 1000)"
        )
        place.board.type("import sys; sys.path.insert(0, '/a')\r\n" + code.replace("\n", "\r\n") + "\r\n")
        place.board.cut_power_after_writes(writes)
        kept = asyncio.ensure_future(place.board.console_shows(f"kept {writes * 1000}"))
        off = asyncio.ensure_future(place.board.until_off())
        await asyncio.wait({kept, off}, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
        whole = not off.done()
        for task in (kept, off):
            task.cancel()
        place.board.cut_power_after_writes(0)
        await place.board.power_cut()
        found = json.loads(place.file("wifi.json"))
        new = [["new", f"password {writes}"], *[pair for pair in old if pair[0] != "new"]]
        assert found in (old, new), writes
        assert found == new or not whole
        seen.append(found == new)
        old = found
        if whole:
            break
        await place.board.power_on()
    assert whole
    assert seen[0] is False
