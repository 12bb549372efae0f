"""The host's page on the home network, on a virtual board: what it shows and does, and whom it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import socket
import time

import nats
import pytest
from house import DEVICE, HOME, KEY, PASSWORD, House
from mqtt_broker import Broker
from sntp_server import Sntp, serve

from peilmerk_protocol import cose, quantities, quantities_names, report, topics

PLAIN = PASSWORD.replace("-", "")


@pytest.fixture
async def street(tmp_path):
    """make(kind): a house on a home network with time and a broker; `sent` is what arrived there."""
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder, DEVICE, "secret")
    await broker.start()
    transport, port = await serve(Sntp())
    client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{broker.client_port}")
    made = []

    async def make(kind="counter", **options):
        place = House(tmp_path, kind, knows_wifi=True, broker=broker, ntp_port=port, **options)
        made.append(place)
        place.sent = []

        async def note(message):
            place.sent.append((message.subject.rsplit(".", 1)[1], message.data))

        await client.subscribe("peilmerk.>", cb=note)
        await client.flush()
        await place.at_home()
        return place

    yield make
    for place in made:
        await place.board.stop()
    await client.close()
    transport.close()
    await broker.stop()


def log_in(place, password=PLAIN):
    """Log in as a page with scripts does; the session's cookie, or an empty text."""
    challenge = place.ask("GET", "/").value("n")
    proof = hashlib.sha256(f"{challenge}:{password}".encode()).hexdigest()
    return place.ask("POST", "/login", f"n={challenge}&r={proof}&p=").cookie


def sent_reports(place):
    return [data for kind, data in place.sent if kind == "report"]


def shown(text):
    """[(state, {label: figure}, bytes)] of the page's list of what was sent, oldest first."""
    rows = []
    for row in text.split("<dt>")[1:]:
        state = re.search(r"\((\w[\w ]*)\)<dd>", row)[1]
        figures = dict(pair.split(": ", 1) for pair in re.findall(r"([^<>]+: [^<>]+)<br>", row))
        rows.append((state, figures, bytes.fromhex(re.search(r"<code>(\w+)</code>", row)[1])))
    return rows


async def test_what_was_sent_is_shown_byte_for_byte_and_figure_for_figure(street):
    place = await street("air")
    await place.until(lambda: len(sent_reports(place)) >= 2, "two reports")
    cookie = await asyncio.to_thread(log_in, place)
    assert re.fullmatch(r"s=\d+\.[0-9a-f]{16}", cookie)

    def looked():
        before = list(place.sent)
        rows = shown(place.ask("GET", "/?lang=en", cookie=cookie).text)
        return [row for row in rows if row[2] in [data for _, data in before]], before

    rows, before = await asyncio.to_thread(looked)
    # Nothing was sent that is not there, and the bytes are those that arrived.
    assert [row[2] for row in rows] == [data for _, data in before]
    reports = 0
    for state, figures, data in rows:
        assert state == "sent"
        if data not in sent_reports(place):
            assert figures == {}
            continue
        reports += 1
        wanted = {}
        told = report.decode(cose.open_sealed(KEY, topics.REPORT, DEVICE, data))
        for number, value in told.values.items():
            row = quantities_names.by_number(number)
            divisor = quantities.scale(number)[1]
            texts = [
                f"{part / divisor:.{len(str(divisor)) - 1}f}".replace("-", "\N{MINUS SIGN}") for part in value
            ]
            wanted[row.label] = f"{' ± '.join(texts)} {row.unit_label}".strip()
        assert figures == wanted
    assert reports >= 2


async def test_no_exact_count_is_on_the_page_and_the_latest_samples_are(street):
    counter = await street()
    cookie = await asyncio.to_thread(log_in, counter)
    beam = counter.board.sensors["beam_pair"]
    assert beam is not None
    for _ in range(3):
        counter.board.pass_by("beam_pair", "in")
        await asyncio.sleep(0.3)
    page = await asyncio.to_thread(counter.ask, "GET", "/", cookie=cookie)
    now = page.text.split("<h2>Nu</h2>")[1].split("<h2>")[0]
    assert "<li>" not in now
    assert "exact aantal" in now


async def test_the_air_now(street):
    place = await street("air")
    cookie = await asyncio.to_thread(log_in, place)

    def now():
        text = place.ask("GET", "/?lang=en", cookie=cookie).text
        return re.findall(r"<li>([^<]+): [\d.]+ \S+", text.split("<h2>Now</h2>")[1].split("<h2>")[0])

    await place.until(lambda: "Air temperature" in now(), "the temperature now")
    # What the drivers have counted of their own work, which nobody else tells.
    form = r"<li><small>(\w+): since the start (\d+) samples, (\d+) failures, "
    form += r"(\d+) damaged answers, (\d+) restarts<"

    def told():
        found = re.findall(form, place.ask("GET", "/?lang=en", cookie=cookie).text)
        return {row[0]: [int(word) for word in row[1:]] for row in found}

    assert set(await asyncio.to_thread(told)) == {"sds011", "sht3x"}
    assert (await asyncio.to_thread(told))["sht3x"][0] > 0


@pytest.mark.parametrize(("scripts", "language"), [(True, "nl"), (False, "en")])
async def test_the_host_pauses_resumes_and_makes_it_forget_in_a_browser(street, phone, scripts, language):
    place = await street()
    await place.until(lambda: place.sent, "the statement")
    words = {
        "nl": (
            "Pauzeer",
            "Gepauzeerd tot",
            "Hervat",
            "De sensor meet",
            "Alles vergeten",
            "wist nu alles",
            "klopt niet",
        ),
        "en": (
            "Pause",
            "Paused until",
            "Resume",
            "The sensor measures",
            "Forget everything",
            "erases everything",
            "not right",
        ),
    }[language]

    def journey():
        with phone(place, scripts=scripts) as window:
            find = window.driver.find_element

            def press(text):
                find("xpath", f"//button[.='{text}']").click()

            window.open(f"http://127.0.0.1/?lang={language}")
            assert window.run("return document.querySelectorAll('h2').length") == 0
            warned = window.run("return document.querySelector('noscript p') !== null")
            assert warned is not scripts
            if scripts:
                # What is sent is the proof, never the password.
                challenge, typed, proof = window.run(
                    "const f = document.forms[0]; f.p.value = 'Abc-D'; f.onsubmit();"
                    "return [f.n.value, f.p.value, f.r.value]"
                )
                assert (typed, proof) == ("", hashlib.sha256(f"{challenge}:abcd".encode()).hexdigest())
            for password, seen in (("wrong", words[6]), (PASSWORD.upper(), words[3])):
                find("id", "p").send_keys(password)
                find("tag name", "button").click()
                window.until(lambda seen=seen: seen in window.text("main"), seen)
            assert window.run("return document.cookie").find("s=") < 0
            assert window.run("return document.documentElement.scrollWidth") <= 360
            press(words[0])
            window.until(lambda: words[1] in window.text("h1"), "the pause")
            press(words[2])
            window.until(lambda: words[3] in window.text("h1"), "the end of the pause")
            find("link text", words[4]).click()
            window.until(lambda: words[4] in window.text("h1"), "the question")
            # Not without the tick.
            press(words[4])
            assert not window.run("return document.querySelector('form').checkValidity()")
            find("name", "sure").click()
            press(words[4])
            window.until(lambda: words[5] in window.text("h1"), "the farewell")
            # The wrong password is answered with 403, which Chromium puts on its console.
            assert [line for line in window.complaints() if "403" not in line] == []

    await asyncio.to_thread(journey)
    await place.board.console_shows("node.json: not found")
    await place.board.power_cut()
    for name in ("identity.json", "node.json", "wifi.json", "trust.der"):
        assert place.file(name) is None
    image = place.flash.read_bytes()
    for secret in (PASSWORD, HOME.password):
        assert secret.encode() not in image


async def test_a_pause_is_sent_as_such_and_survives_a_reset(street):
    place = await street()
    cookie = await asyncio.to_thread(log_in, place)
    token = (await asyncio.to_thread(place.ask, "GET", "/", cookie=cookie)).value("c")
    assert (
        await asyncio.to_thread(place.ask, "POST", "/pause", f"c={token}&h=0", cookie=cookie)
    ).status == 303

    def paused():
        last = sent_reports(place)[-1:]
        told = [report.decode(cose.open_sealed(KEY, topics.REPORT, DEVICE, data)) for data in last]
        return told and told[0].health & report.HEALTH_PAUSED and not told[0].values

    await place.until(paused, "a report that says so")
    await place.board.hard_reset()
    await place.until(place.answers, "the page after the reset")
    # The session went with the restart; the pause did not.
    page = await asyncio.to_thread(place.ask, "GET", "/", cookie=cookie)
    assert page.value("n")
    cookie = await asyncio.to_thread(log_in, place)
    page = await asyncio.to_thread(place.ask, "GET", "/?lang=en", cookie=cookie)
    assert "Paused until you resume it" in page.text


async def test_who_is_not_the_host_gets_nothing(street):
    place = await street()

    def attack():
        good = log_in(place)
        token = place.ask("GET", "/", cookie=good).value("c")
        # A name that was made to point at the board (DNS rebinding), the wrong literal, none at all.
        for host in ("evil.example", "peilmerk.local", "192.168.1.1", "127.0.0.1.evil.example", "[::1]"):
            found = place.ask("GET", "/", host=host, cookie=good)
            assert found.status == 421, host
            assert "<" not in found.text
        assert b" 421 " in place.raw(b"GET / HTTP/1.0\r\n\r\n")
        # Without the session's token, with that of no session, with another's.
        other = log_in(place)
        if other == good:
            time.sleep(1.1)
            other = log_in(place)
        theirs = place.ask("GET", "/", cookie=other).value("c")
        for path in ("/pause", "/resume", "/forget"):
            for body in ("h=0&sure=1", "c=0123456789abcdef&h=0&sure=1", f"c={theirs}&h=0&sure=1"):
                assert place.ask("POST", path, body, cookie=good).status == 403, (path, body)
            assert place.ask("POST", path, f"c={token}&h=0&sure=1").heads["location"] == "/"
        # Not by a link either.
        assert place.ask("GET", "/pause?h=0", cookie=good).status == 404
        # A session made up, or stretched.
        issued, tag = good.removeprefix("s=").split(".")
        for made in (f"{int(issued) + 1}.{tag}", f"{issued}.{'0' * 16}", f"{issued}.", "x.y", f"-1.{tag}"):
            assert 'name="n"' in place.ask("GET", "/", cookie="s=" + made).text, made
        assert place.ask("GET", "/forget").status == 404
        headers = place.ask("GET", "/", cookie=good).heads
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "The sensor measures" in place.ask("GET", "/?lang=en", cookie=good).text

    await asyncio.to_thread(attack)
    assert "Traceback" not in place.board.console_tail


async def test_a_login_that_was_overheard_opens_nothing(street):
    place = await street()

    def overhear():
        page = place.ask("GET", "/")
        challenge = page.value("n")
        proof = hashlib.sha256(f"{challenge}:{PLAIN}".encode()).hexdigest()
        body = f"n={challenge}&r={proof}&p="
        first = place.ask("POST", "/login", body)
        assert first.status == 303
        assert "HttpOnly" in first.heads["set-cookie"]
        assert "SameSite=Strict" in first.heads["set-cookie"]
        again = place.ask("POST", "/login", body)
        assert again.status == 403
        assert not again.cookie
        # A challenge of one's own making.
        for made in ("", "00000000ff0123456789abcdef", challenge[:-1] + "0"):
            proof = hashlib.sha256(f"{made}:{PLAIN}".encode()).hexdigest()
            assert place.ask("POST", "/login", f"n={made}&r={proof}").status in (403, 429)

    await asyncio.to_thread(overhear)


async def test_failed_logins_wait_longer_each_time(street):
    place = await street()

    def guess():
        waits = []
        for number in range(12):
            found = place.ask("POST", "/login", f"p=guess{number}&n=x")
            if found.status == 429:
                waits.append(int(found.heads["retry-after"]))
                assert str(waits[-1]) in found.text
                # Not even the right password opens the door now; a short wait may be over already.
                if waits[-1] >= 4:
                    assert not place.ask("POST", "/login", f"p={PLAIN}&n=x").cookie
                time.sleep(waits[-1] + 0.2)
            if sum(waits) > 6:
                break
        assert max(waits) >= 4
        assert waits == sorted(waits)

    await asyncio.to_thread(guess)


async def test_lines_on_which_nobody_speaks_keep_nobody_out(street):
    """Browsers open some ahead of need; eight at a time are kept, and none of them for ever."""
    place = await street()

    def crowd():
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(socket.create_connection(("127.0.0.1", place.port), 60))
            for _ in range(3):
                assert place.ask("GET", "/").status == 200
            # Many at once: who is not answered is told by the end of the line, and the board goes on.
            for _ in range(30):
                stack.enter_context(socket.create_connection(("127.0.0.1", place.port), 60))

    await asyncio.to_thread(crowd)
    await place.until(place.answers, "an answer after the crowd")
    assert "Traceback" not in place.board.console_tail


async def test_it_can_be_switched_off(house):
    place = house(knows_wifi=True, node={"local_page": False})
    await place.board.start()
    await place.board.console_shows("heap in use")
    await asyncio.sleep(5)  # the only way to see that nothing comes
    assert place.board.http_url is None
    await place.board.power_cut()
    assert json.loads(place.file("node.json"))["local_page"] is False
