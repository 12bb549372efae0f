"""What the pages say: figures, texts, refusals, what must never be there, and the answers' headers."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from itertools import pairwise

import httpx
from street_of_test import DEVICES, LATITUDE, LONGITUDE, MIDNIGHT, NOON, NOW, WINDOW

from peilmerk_gateway.clock import ScaledClock
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.store import StoreError
from peilmerk_gateway.web import reading


class Page(HTMLParser):
    """Elements with their attributes and text, and whether tags were closed in order."""

    VOID = ("meta", "link", "br", "rect", "path", "circle")

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(html)
        assert not self._open, f"never closed: {self._open[-1][0]}"

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        assert self._open[-1][0] == tag, f"</{tag}> closes <{self._open[-1][0]}>"
        self._open.pop()

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_data(self, data):
        for _, _, text in self._open:
            text.append(data)

    def texts(self, tag, **wanted):
        return [
            " ".join("".join(text).split())
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]

    def tags(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


async def get(client, path="/?lang=en", **options):
    answer = await client.get(path, **options)
    assert answer.status_code == 200
    return Page(answer.text)


def table(page, caption):
    """Rows of the first table whose caption is this, as lists of cell texts."""
    index = next(
        i for i, (tag, _, text) in enumerate(page.elements) if tag == "caption" and "".join(text) == caption
    )
    rows = []
    for tag, _, text in page.elements[index + 1 :]:
        if tag == "table":
            break
        if tag == "tr":
            rows.append([])
        elif tag in ("td", "th"):
            rows[-1].append(" ".join("".join(text).split()))
    return rows


async def test_an_empty_street_says_so_in_words(street, visit):
    async with visit() as client:
        page = await get(client)
    assert page.texts("h1") == ["Sensors in the street"]
    assert page.texts("h3")[:3] == ["Canal north", "Canal south", "Facade"]
    assert page.texts("p", class_="state off") == ["Nothing received yet"] * 3
    assert "Not a single message was refused." in page.texts("p", class_="notice good")
    assert not [a for a in page.tags("svg") if a.get("role") == "img"]


async def test_figures_of_a_counter(street, visit):
    await street.count("canal-north", NOON - 2 * WINDOW, 31, None)
    await street.count("canal-north", NOON - WINDOW, 47, 12)
    async with visit() as client:
        page = await get(client)
    assert page.texts("span", class_="latest")[:2] == ["Latest value: 47", "Latest value: 12"]
    rows = table(page, "Bicycles, away, newest first")
    assert rows[0] == ["Window", "Value"]
    assert rows[1] == ["12:45", "12 waiting to be published"]
    assert rows[2] == ["12:30", "withheld"]
    assert rows[3] == ["12:15", "no measurement"]
    assert len(rows) == 1 + reading.WINDOWS
    assert "1 window withheld." in page.texts("p", class_="note")
    description = page.texts("desc")[0]
    assert description == "From 07:00 to 13:00. Latest 47, lowest 31, highest 47."
    assert "Last window 12:45–13:00" in " ".join(page.texts("p", class_="state ok"))


async def test_figures_of_the_air_are_in_their_units(street, visit):
    await street.breathe(NOON - WINDOW, ((142, 21), (221, 34), (-58, 3), (870, 12)), samples=5)
    async with visit() as client:
        english, dutch = await get(client), await get(client, "/?lang=nl")
    assert english.texts("span", class_="latest")[-4:] == [
        "Latest value: 14.2 µg/m³",
        "Latest value: 22.1 µg/m³",
        "Latest value: \N{MINUS SIGN}5.8 °C",
        "Latest value: 87.0 %",
    ]
    assert dutch.texts("span", class_="latest")[-4] == "Laatste waarde: 14,2 µg/m³"
    row = table(english, "Particles PM10, newest first")[1]
    assert row == ["12:45", "22.1 waiting to be published", "3.4", "5"]
    assert "This sensor counts no people; no privacy budget is needed." in english.texts("p")


async def test_waiting_becomes_published(street, visit):
    await street.count("canal-north", NOON - WINDOW, 47, 12)
    async with visit() as client:
        assert table(await get(client), "State by platform")[1][1:] == ["2", "0", "0", "waiting"]
        assert await street.publish() == 2
        page = await get(client)
    assert table(page, "State by platform")[1] == ["city sensorthings", "0", "2", "0", "up to date"]
    assert table(page, "Bicycles, away, newest first")[1] == ["12:45", "12"]
    assert page.texts("div", class_="of-published") == ["measurements published2"]


async def test_budget_counts_windows_of_today_only(street, visit):
    # Two windows of yesterday, three of today; two quantities in each share the window.
    for start in (MIDNIGHT - 2 * WINDOW, MIDNIGHT - WINDOW, MIDNIGHT, MIDNIGHT + WINDOW, NOON - WINDOW):
        await street.count("canal-north", start, 20, 20)
    async with visit() as client:
        page = await get(client)
        budgets = page.texts("section", class_="budget")
        assert budgets[0].startswith(
            "Privacy budget today since 01:00 windows accounted3 epsilon per passage1"
        )
        assert "epsilon per person, at 4 passages a day4 × 1 = 4" in budgets[0]
        assert "(epsilon 0.7)" in budgets[0]
        assert "below 10 with its noise is not published" in budgets[0]
        assert "windows accounted0" in budgets[1]
        street.clock.at += 86_400
        assert "windows accounted0" in (await get(client)).texts("section", class_="budget")[0]


async def test_refusals_by_reason_in_both_languages_most_frequent_first(street, visit):
    await street.refuse(Reason.FORGED)
    await street.refuse(Reason.G7, 12)
    async with visit() as client:
        english, dutch = await get(client), await get(client, "/?lang=nl")
    rows = table(english, "Refusals by reason")
    assert rows[1][0].startswith("G7 The sensor reports something")
    assert [row[-1] for row in rows[1:]] == ["12", "1"]
    assert table(dutch, "Weigeringen per reden")[2][0] == "forged Het zegel is niet van de sensor zelf."
    assert english.texts("div", class_="of-refused") == ["messages refused13"]


async def test_withheld_windows_are_told_apart_from_refusals(street, visit):
    await street.count("canal-north", NOON - WINDOW, None, None)
    async with visit() as client:
        page = await get(client)
    assert page.texts("div", class_="of-withheld") == ["counts withheld2"]
    assert (
        "Withheld as a precaution, not refused: 2 counts below the threshold or of an incomplete day."
        in page.texts("p")
    )


async def test_a_silent_sensor_is_called_silent(street, visit):
    await street.count("canal-north", NOON - WINDOW, 20, 20)
    async with visit() as client:
        street.clock.at = NOON + 3 * WINDOW
        assert not (await get(client)).texts("p", class_="state silent")
        street.clock.at = NOON + 3 * WINDOW + 1
        await street.refuse(Reason.FORGED)
        silent = (await get(client)).texts("p", class_="state silent")
    assert silent == ["Silent since Monday 26 February 2024, 13:00"]


async def test_a_paused_sensor_is_called_paused_until_it_measures_again(street, visit):
    await street.pause("canal-north", NOON - WINDOW)
    async with visit() as client:
        english = (await get(client)).texts("p", class_="state off")
        assert "Paused: nothing is measured Last window 12:45–13:00" in english
        dutch = (await get(client, "/?lang=nl")).texts("p", class_="state off")
        assert any(text.startswith("Gepauzeerd: er wordt niets gemeten") for text in dutch)
        street.clock.at = NOW + WINDOW
        await street.count("canal-north", NOON, 12, 12)
        assert not [text for text in (await get(client)).texts("p", class_="state off") if "Paused" in text]


async def test_totals_of_the_day_are_told_with_their_noise_or_why_they_are_withheld(street, visit):
    await street.count("canal-north", NOON - WINDOW, 12, 12)
    await street.total("canal-north", MIDNIGHT - 2 * 86_400, 1, 1)
    await street.total("canal-north", MIDNIGHT - 86_400, 4321, "below-k")
    await street.total("canal-south", MIDNIGHT - 86_400, "partial-day", "partial-day")
    async with visit() as client:
        page = await get(client)
        dutch = (await get(client, "/?lang=nl")).texts("p", class_="day")
    assert page.texts("p", class_="day") == [
        "Total of Sunday 25 February 2024 (UTC): 4,321, with noise of its own, usually off by less than 4.7",
        "Total of Sunday 25 February 2024 (UTC): withheld, below the threshold",
        *["Total of Sunday 25 February 2024 (UTC): withheld, because not the whole day was measured"] * 2,
    ]
    assert dutch[0].startswith("Dagtotaal van zondag 25 februari 2024 (UTC): 4.321, met eigen ruis")
    # Nor do they disturb the windows: not the budget of the day, not when a sensor was last heard.
    assert "window accounted1" in page.texts("section", class_="budget")[0]
    assert "Last window 12:45–13:00" in page.texts("p", class_="state ok")[0]


async def test_never_a_device_id_nor_the_point(street, visit):
    await street.fill()
    await street.refuse(Reason.FORGED)
    async with visit() as client:
        said = ""
        for code in ("nl", "en"):
            said += (await client.get(f"/?lang={code}")).text
            names = re.findall(r'id="([\w-]+)" data-fragment', said)
            said += (await client.get("/fragments", params={"names": ",".join(names), "lang": code})).text
        said += (await client.get("/healthz")).text
    cells = {
        cell.id for deployment in street.catalogue.deployments.values() for cell in deployment.cells.values()
    }
    assert all(cell in said for cell in cells)
    for secret in (*DEVICES, "66" * 32):
        assert secret not in said
    for degrees in (LONGITUDE, LATITUDE):
        assert f"{degrees:.3f}" not in said
    for x, y in street.catalogue.deployments["canal"].cells["canal-north"].outline:
        assert str(x) not in said
        assert str(y) not in said


async def test_what_is_not_public_is_named_but_not_shown(street, visit):
    file = street.catalogue.directory / "station-street.toml"
    file.write_text(file.read_text().replace("is_public = true", "is_public = false"))
    street.catalogue.reload()
    await street.breathe(NOON - WINDOW, ((142, 21), (221, 34), (58, 3), (870, 12)), is_public=False)
    async with visit() as client:
        page = await get(client)
    assert "Particles PM10 (not public)" in " ".join(page.texts("dd"))
    assert "22.1" not in " ".join(page.texts("main"))


async def test_what_hangs_indoors_is_not_shown_at_all(street, visit):
    file = street.catalogue.directory / "station-street.toml"
    file.write_text(file.read_text().replace("indoor = false", "indoor = true"))
    street.catalogue.reload()
    async with visit() as client:
        assert (await get(client)).texts("h3")[:3] == [
            "Canal north",
            "Canal south",
            "Noise inside the sensor",
        ]


async def test_a_broken_record_is_counted_and_its_text_is_not_repeated(street, visit):
    (street.catalogue.directory / "canal.toml").write_text("point = 52.0907891 <script>\n")
    street.catalogue.reload()
    async with visit() as client:
        answer = await client.get("/?lang=en")
    assert "1 deployment record is not in order" in answer.text
    assert "52.09" not in answer.text
    assert "Canal north" not in answer.text


HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(2)> & 'q' {{ 7*7 }}"


async def test_hostile_texts_of_a_record_stay_text(street, visit):
    file = street.catalogue.directory / "canal.toml"
    text = file.read_text()
    for key, value in (
        ("description", HOSTILE),
        ("goal", HOSTILE),
        ("model", HOSTILE),
        ("controller", HOSTILE),
        ("public_contact", "javascript:alert(3)"),
    ):
        text, found = re.subn(rf"(?m)^{key} = .*$", lambda _, k=key, v=value: f"{k} = {json.dumps(v)}", text)
        assert found, key
    file.write_text(text)
    street.catalogue.reload()
    assert not street.catalogue.broken
    await street.count("canal-north", NOON - WINDOW, 47, 12)
    async with visit() as client:
        page = await get(client)
    assert [a.get("src", "").partition("?")[0] for a in page.tags("script")] == ["/static/live.js"]
    assert not page.tags("img")
    assert page.texts("p", class_="description")[0] == HOSTILE
    assert "javascript:alert(3)" in page.texts("dd")
    for a in page.tags("a"):
        assert a["href"].startswith(("/", "#", "https://", "mailto:"))


async def test_language_of_the_page(street, visit):
    async with visit() as client:
        for headers, path, code, other in (
            ({"accept-language": "en-GB,en;q=0.8"}, "/", "en", "nl"),
            ({"accept-language": "fr"}, "/", "nl", "en"),
            ({"accept-language": "en"}, "/?lang=nl", "nl", "en"),
        ):
            answer = await client.get(path, headers=headers)
            page = Page(answer.text)
            assert page.tags("html")[0]["lang"] == code
            assert answer.headers["content-language"] == code
            assert "accept-language" in answer.headers["vary"].lower()
            (switch,) = [a for a in page.tags("a") if "hreflang" in a]
            assert (switch["hreflang"], switch["href"]) == (other, f"/?lang={other}")


async def test_structure_for_screen_readers(street, visit):
    await street.fill()
    async with visit() as client:
        page = await get(client)
    for landmark in ("header", "main", "footer", "nav"):
        assert page.tags(landmark)
    assert len(page.tags("main")) == 1
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in page.elements:
        for reference in attributes.get("aria-labelledby", "").split():
            assert reference in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    charts = [a for a in page.tags("svg") if a.get("role") == "img"]
    assert len(charts) == 8
    assert len(page.tags("details")) == 8
    assert all(a.get("scope") in ("row", "col") for a in page.tags("th"))


async def test_without_scripts_there_is_a_link_to_reload(street, visit):
    async with visit() as client:
        page = await get(client)
    assert page.texts("a", href="/?lang=en")[-1] == "Reload the page"
    assert not [a for a in page.tags("meta") if a.get("http-equiv")]


async def test_a_scaled_clock_is_told(street, visit):
    async with visit() as client:
        assert not (await get(client)).tags("aside")
    street.clock = ScaledClock(NOW, time.time(), 60)
    async with visit() as client:
        page = await get(client)
    (banner,) = page.texts("aside")
    assert banner.startswith("Fast clock. This is a bench where time runs 60 times as fast.")
    assert "Time in the street Monday 26 February 2024, 13:0" in banner
    clock = next(a for a in page.tags("time") if a.get("id") == "street-time")
    assert NOW <= float(clock["data-at"]) < NOW + 600


async def test_many_sensors_come_in_parts(street, visit, monkeypatch):
    monkeypatch.setattr(reading, "PART", 2)
    async with visit() as client:
        first, last = await get(client), await get(client, "/?lang=en&part=2")
        beyond = await get(client, "/?lang=en&part=99")
        for part in ("0", "-1", "x", "²", "9" * 40):
            assert (await get(client, f"/?lang=en&part={part}")).texts("h3")[0] == "Canal north"
    assert "Sensors 1 to 2 of 3" in first.texts("span")
    assert [a["href"] for a in first.tags("a") if a.get("rel") == "next"] == ["/?lang=en&part=2"]
    assert last.texts("h3")[0] == beyond.texts("h3")[0] == "Facade"
    assert [a["href"] for a in last.tags("a") if a.get("rel") == "prev"] == ["/?lang=en"]
    assert first.texts("div", class_="of-sensors") == ["sensors in this street3"]


async def test_the_page_is_read_once_for_each_change(street, visit, monkeypatch):
    asked = []
    latest_of = street.store.latest_of

    async def counted(*arguments):
        asked.append(arguments)
        return await latest_of(*arguments)

    monkeypatch.setattr(street.store, "latest_of", counted)
    async with visit() as client:
        for _ in range(5):
            await get(client)
            await get(client, "/?lang=nl")
        assert len(asked) == 1
        await street.count("canal-north", NOON - WINDOW, 47, 12)
        await get(client)
        assert len(asked) == 2


async def test_fragments_are_those_of_the_page_and_only_those_asked_for(street, visit):
    async with visit() as client:
        page = await get(client)
        shown = {a["id"]: a["data-fragment"] for a in page.tags("div") if "data-fragment" in a}
        answer = await client.get("/fragments", params={"names": "summary,platforms,nonsense", "lang": "en"})
        assert {name: part["version"] for name, part in answer.json().items()} == {
            name: shown[name] for name in ("summary", "platforms")
        }
        await street.refuse(Reason.FORGED)
        after = await get(client)
    changed = {
        a["id"] for a in after.tags("div") if shown.get(a.get("id", ""), "") != a.get("data-fragment", "")
    }
    assert changed == {"summary", "refusals"}


async def test_security_headers_on_every_answer(street, visit):
    async with visit() as client:
        for path in ("/", "/nothing", "/healthz", "/fragments", "/static/peilmerk.css", "/static/nothing"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in headers
            assert "server" not in headers


async def test_an_unknown_address_has_a_page_of_its_own(street, visit):
    async with visit() as client:
        answer = await client.get("/nothing?lang=en")
        assert answer.status_code == 404
        page = Page(answer.text)
        assert page.texts("h1") == ["This page does not exist"]
        assert (await client.post("/")).status_code == 405
        assert (await client.get("/static/../app.py")).status_code == 404
        assert (await client.get("/static/%2e%2e/app.py")).status_code == 404


async def test_head_and_etag(street, visit):
    async with visit() as client:
        for path in ("/", "/static/live.js", "/healthz", "/events"):
            answer = await client.head(path)
            assert answer.status_code == 200
            assert answer.content == b""
        assert answer.headers["content-type"].startswith("text/event-stream")
        page = await get(client)
        links = [a["href"] for a in page.tags("link")] + [a["src"] for a in page.tags("script")]
        assert len(links) == 3
        for link in links:
            answer = await client.get(link)
            assert "immutable" in answer.headers["cache-control"]
            again = await client.get(link, headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
        assert (await client.get("/static/live.js")).headers["cache-control"] == "no-cache"


async def test_pages_are_small_on_the_wire(street, visit):
    await street.fill()
    async with visit() as client:
        answer = await client.get("/", headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < 20_000


async def test_a_store_that_fails_gives_a_page_and_no_details(street, visit, monkeypatch):
    async def broken(*arguments):
        raise StoreError("sqlite:////secret/path: disk I/O error")

    monkeypatch.setattr(street.store, "figures", broken)
    async with visit() as client:
        answer = await client.get("/?lang=en")
        assert answer.status_code == 503
        assert Page(answer.text).texts("h1") == ["This does not work just now"]
        assert "secret" not in answer.text


async def test_a_fault_of_ours_gives_a_page_with_the_security_headers(street, visit, monkeypatch):
    async def broken(*arguments):
        raise RuntimeError("a fault")

    monkeypatch.setattr(street.store, "latest_of", broken)
    async with visit() as client:
        client._transport = httpx.ASGITransport(app=client._transport.app, raise_app_exceptions=False)
        answer = await client.get("/?lang=nl")
    assert answer.status_code == 503
    assert "a fault" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
