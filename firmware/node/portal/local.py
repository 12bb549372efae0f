"""The host's page on the home network: what was sent, pause, resume, forget. Loaded at the first request.

Who logs in proves to know the setup password: with scripts by the SHA-256 of a challenge and the password, so
that it never crosses the network; without scripts by the password itself, after a warning. A session lasts a
quarter of an hour and ends with the board's restart; every form carries a token of its session. Failed logins
make their source wait, twice as long each time. Figures come from the outbox: the very bytes that were sent,
decoded.
"""

import asyncio
import os
import time
from binascii import hexlify

from micropython import const

from node import uptime
from node.portal.http import Refused, fill, proof, same, sha256
from node.sensors import samples
from node.uplink.link import slot_s
from peilmerk_protocol import cose, quantities, report, topics
from peilmerk_protocol.error import ProtocolError

_SESSION_S = const(900)
_CHALLENGE_S = const(300)
_FREE_TRIES = const(3)
_LONGEST_WAIT_S = const(512)
_SOURCES = const(8)
_SHOWN = const(8)
_HOURS = ("1", "8", "24", "168")
_FOR_EVER = const(0xFFFFFFFF)
_EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0


async def serve(door, request, answer):
    """Answer one request from the home network."""
    issued = _session(door, request)
    page = request.method + " " + request.path
    more = ""
    if "lang" in request.query:
        more = "Set-Cookie: lang=%s; SameSite=Strict\r\n" % answer.code
    if page == "POST /login":
        await _login(door, request, answer)
    elif page == "GET /out":
        await answer.go("/", "Set-Cookie: s=; Max-Age=0\r\n")
    elif page == "GET /" and not issued:
        await _ask(door, answer, "", more)
    elif page == "GET /":
        await answer.begin(more=more)
        await answer.piece("top")
        await _status(door, answer, proof(door, "c" + issued))
        await answer.piece("end")
    elif page == "GET /forget" and issued:
        await answer.begin(more=more)
        await answer.piece("top")
        await answer.piece("forget", {"csrf": proof(door, "c" + issued)})
        await answer.piece("end")
    elif request.method == "POST" and not issued:
        await answer.go("/")
    elif request.method == "POST":
        if not same(request.form.get("c", ""), proof(door, "c" + issued)):
            raise Refused(403)
        await _act(door, request, answer)
    else:
        raise Refused(404)


def _session(door, request):
    """When the visitor's session began, as it stands in its token; an empty text without a session."""
    issued, _, token = request.cookie("s").partition(".")
    if issued.isdigit() and same(token, proof(door, "s" + issued)):
        if int(issued) + _SESSION_S > uptime.ms() // 1000:
            return issued
    return ""


async def _ask(door, answer, fault, more="", status=200, wait=0):
    text = hexlify(os.urandom(4)).decode() + "%x" % (uptime.ms() // 1000)
    await answer.begin(status, more=more)
    await answer.piece("top")
    if fault:
        await answer.piece(fault, {"seconds": wait})
    await answer.piece("login", {"challenge": text + proof(door, "n" + text)})
    await answer.piece("end")


def _fresh(door, challenge):
    """Whether a challenge is ours, young, and was never met before."""
    text = challenge[:-16]
    try:
        age = uptime.ms() // 1000 - int(text[8:], 16)
    except ValueError:
        return False
    return (
        age <= _CHALLENGE_S and challenge not in door.met and same(challenge[-16:], proof(door, "n" + text))
    )


async def _login(door, request, answer):
    now = uptime.ms() // 1000
    wait = _wait(door.failures, request.peer, now)
    if wait:
        await _ask(door, answer, "wait", "Retry-After: %d\r\n" % wait, 429, wait)
        return
    form = request.form
    challenge = form.get("n", "")
    password = _plain(door.config.setup_password)
    met = form.get("r")
    if met:
        good = same(met, sha256(challenge + ":" + password)) and _fresh(door, challenge)
    else:
        good = same(sha256(_plain(form.get("p", ""))), sha256(password))
    if not good:
        tries = door.failures.get(request.peer, (0, 0))[0]
        door.failures[request.peer] = (tries + 1, now)
        await _ask(door, answer, "refused", status=403)
        return
    door.failures.pop(request.peer, None)
    if met:
        door.met = door.met[-_SOURCES:] + [challenge]
    issued = "%d" % now
    await answer.go(
        "/", "Set-Cookie: s=%s.%s; HttpOnly; SameSite=Strict\r\n" % (issued, proof(door, "s" + issued))
    )


def _plain(password):
    """A password as it counts: without the label's dashes and capitals."""
    return password.replace("-", "").replace(" ", "").lower()


def _wait(failures, source, now):
    """Seconds that a source must wait. Sources that have waited long enough are forgotten, the rest is
    bounded.
    """
    for other in list(failures):
        if now - failures[other][1] > 2 * _LONGEST_WAIT_S:
            del failures[other]
    if source not in failures:
        # So many that fail at once are one: nobody new until one of them has gone.
        return _LONGEST_WAIT_S if len(failures) >= _SOURCES else 0
    tries, at = failures[source]
    if tries < _FREE_TRIES:
        return 0
    return max(0, at + min(1 << min(tries - _FREE_TRIES, 9), _LONGEST_WAIT_S) - now)


async def _act(door, request, answer):
    path = request.path
    control = door.control
    if path == "/pause":
        hours = request.form.get("h")
        until = 0
        if hours in _HOURS and door.clock.known:
            until = door.clock.unix_ms() // 1000 + int(hours) * 3600
        control.pause(until)
    elif path == "/resume":
        control.resume()
    elif path == "/forget" and request.form.get("sure"):
        await answer.begin()
        await answer.piece("top")
        await answer.piece("forgotten")
        await answer.piece("end")
        await answer.flush()
        # The page must reach the visitor first.
        await asyncio.sleep(2)
        control.forget()
    elif path != "/forget":
        raise Refused(404)
    await answer.go("/")


async def _status(door, answer, csrf):
    clock, profile = door.clock, door.config.profile
    now = clock.unix_ms() // 1000 if clock.known else 0
    until = door.control.paused_until()
    paused = door.control.paused(now)
    mark = answer.get("decimal").decode()
    values = {"csrf": csrf, "waiting": door.outbox.waiting(), "time": moment(until)}
    await answer.piece("paused" if paused and until < _FOR_EVER else "stopped" if paused else "works", values)
    if now and not paused:
        length = profile.window_s
        at = (now // length + 1) * length + slot_s(door.config.device_id, length)
        await answer.piece("next", {"time": moment(at), "minutes": profile.window_s // 60})
    await answer.piece("resume" if paused else "pause", values)
    await answer.piece("now")
    for number in sorted(door.latest):
        if not quantities.is_count(number):
            await answer.send(_said(answer, "<li>%s: %s", number, (door.latest[number],), mark))
    row = answer.get("sensor")
    for place in range(len(door.sensors.drivers)):
        driver = door.sensors.drivers[place]
        # Not of who counts: what went well there is how many passed.
        if driver is not None and samples(driver):
            values = {"driver": door.config.sensors[place]["driver"], "good": driver.good}
            values["faults"], values["damaged"] = driver.faults, driver.damaged
            values["resets"] = driver.resets
            await answer.send(fill(row, values))
    await answer.piece("sent")
    row = answer.get("row")
    states = answer.get("states").decode().split("|")
    for entry, done in door.outbox.newest(_SHOWN):
        body = _opened(door.config, entry)
        figures = b""
        if body:
            for number in sorted(body.values):
                figures += _said(answer, "%s: %s<br>", number, body.values[number], mark)
            length = 86400 if entry.kind != topics.REPORT else profile.window_s
            when = moment(body.window * length)
        else:
            when = states[2]
        values = {"when": when, "figures": figures, "state": states[done], "size": len(entry.payload)}
        values["bytes"] = hexlify(entry.payload).decode()
        await answer.send(fill(row, values))
    await answer.piece("farewell")


def _opened(config, entry):
    """The report in an entry, None for what is none."""
    if entry.kind == topics.STATEMENT:
        return None
    try:
        return report.decode(cose.open_sealed(config.key, entry.kind, config.device_id, entry.payload))
    except ProtocolError:
        return None


def _said(answer, form, number, value, mark):
    """One quantity in words and figures, as HTML."""
    label, _, unit = answer.get("q%d" % number).decode().partition("|")
    divisor = quantities.scale(number)[1]
    text = figure(value[0], divisor, mark)
    if len(value) == 2:
        text += (" ± " if quantities.kind(number) == quantities.KIND_MEAN else " – ") + figure(
            value[1], divisor, mark
        )
    return (form % (label, (text + " " + unit).rstrip())).encode()


def figure(value, divisor, mark):
    """A whole number divided by 1, 10, 100 …, in text."""
    text = "%d" % (abs(value) // divisor)
    if divisor > 1:
        text += mark + str(divisor + abs(value) % divisor)[1:]
    return "\u2212" + text if value < 0 else text


def moment(unix):
    """Unix seconds as date and time of day in the Netherlands."""
    t = time.gmtime(unix - _EPOCH)
    # Summer time: from the last Sunday of March to that of October, 01:00 UTC.
    sunday = t[2] - (t[6] + 1) % 7
    changed = sunday >= 25 and (t[2] != sunday or t[3] > 0)
    summer = 3 < t[1] < 10 or (t[1] == 3 and changed) or (t[1] == 10 and not changed)
    t = time.gmtime(unix - _EPOCH + (7200 if summer else 3600))
    return "%d-%02d-%02d %02d:%02d" % tuple(t[:5])
