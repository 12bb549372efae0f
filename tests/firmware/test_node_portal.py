"""The portal's parsers on real MicroPython: Improv's frames, and whatever somebody may send to port 80."""

import random

import pytest

from peilmerk_provisioning import portal_pages
from peilmerk_provisioning.bundle import firmware_folder, protocol_folder


def frame(kind, data):
    """A frame as improv-wifi.com/serial describes it, with the line feed behind it."""
    body = b"IMPROV\x01" + bytes([kind, len(data)]) + data
    return body + bytes([sum(body) % 256]) + b"\n"


def test_frames_on_the_board_are_byte_for_byte_the_same(micropython):
    found = micropython(
        """
        import json
        from node.portal.improv import Frames, frame, result
        frames = Frames()
        got = []
        noise = b"IMPIMPROIMPROV\\x02hello "
        good = bytes.fromhex("494d50524f56010306010401000203")[:7] + bytes((3, 2, 4, 0))
        good += bytes((sum(good) & 255,))
        bad = good[:-1] + b"\\0"
        long = b"IMPROV\\x01\\x03\\xff"
        for byte in noise + good + bad + long + good[9:] + b"\\n" + good:
            one = frames.take(byte)
            if one:
                got.append([one[0], one[1].hex()])
        stopped = []
        for cut in range(len(good)):
            frames = Frames()
            try:
                for byte in good[:cut]:
                    frames.take(byte)
                frames.take(3)
            except KeyboardInterrupt:
                stopped.append(cut)
        print(json.dumps([frame(1, b"\\2").hex(), result(4, "Thuis", "-65", "YES").hex(), got, stopped]))
        """
    )
    # The published vector, and our line feed.
    assert found[0] == "494d50524f5601010102e2" + "0a"
    texts = b"\x05Thuis\x03-65\x03YES"
    assert found[1] == (frame(4, bytes([4, len(texts)]) + texts)).hex()
    assert found[2] == [[3, "0400"], [0, ""], [0, ""], [3, "0400"]]
    # Ctrl-C interrupts as long as what came before is no whole head of a frame.
    assert found[3] == list(range(7))


SERVE = """
import asyncio, gc, json, sys
from node.portal import http

class Wire:
    # What a visitor sends, in pieces; what the board answers is only counted.
    def __init__(self, pieces):
        self.pieces = pieces
        self.sent = b""

    def get_extra_info(self, name):
        return ("192.168.1.7", 40000)

    async def readinto(self, buffer):
        if not self.pieces:
            return 0
        piece = self.pieces[0][: len(buffer)]
        self.pieces[0] = self.pieces[0][len(buffer) :]
        if not self.pieces[0]:
            del self.pieces[0]
        buffer[: len(piece)] = piece
        return len(piece)

    def write(self, data):
        self.sent += data

    async def drain(self):
        pass

class Setup:
    def interface(self):
        return ("192.168.1.20", "255.255.255.0", "", "")

    async def serve(self, request, answer):
        await answer.begin(kind="json")
        heard = [request.method, request.path, request.query, request.form, request.host()]
        heard.append(request.language())
        await answer.send(json.dumps(heard).encode())

class Door:
    setup = Setup()
    secret = b""
    turn = asyncio.Lock()

    class wifi:
        def interface():
            return ("192.168.1.20", "255.255.255.0", "", "")

def answered(pieces):
    wire = Wire(pieces)
    asyncio.run(http.serve(Door(), wire))
    return wire.sent
"""


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """What answers a visitor, with the pages beside it that a bundle has there."""
    folder = tmp_path_factory.mktemp("portal")
    pages = portal_pages.read(firmware_folder() / "node" / "portal", protocol_folder())
    (folder / "pages").write_bytes(pages)
    return SERVE + f"\nhttp.__file__ = {str(folder / 'http.py')!r}\n"


def test_a_request_is_understood_in_whatever_pieces_it_comes(micropython, serve):
    request = (
        b"POST /join?a=1&b=%C3%A9+x HTTP/1.1\r\nHost: 192.168.1.20:80\r\nX-Long: " + b"y" * 900 + b"\r\n"
        b"Accept-Language: fr, en-GB;q=0.8\r\nContent-Length: 17\r\n\r\np=a%26b%3D%25+c&q="
    )
    request = request.replace(b"Content-Length: 17", b"Content-Length: %d" % len(b"p=a%26b%3D%25+c&q="))
    found = micropython(
        serve
        + f"""
request = {request!r}
found = []
for size in (1, 2, 3, 7, 64, 255, 256, 257, 5000):
    pieces = [request[at : at + size] for at in range(0, len(request), size)]
    found.append(answered(pieces).split(b"\\r\\n\\r\\n")[1].decode())
print(json.dumps(found))
"""
    )
    assert len(set(found)) == 1
    import json

    heard = json.loads(found[0])
    assert heard == ["POST", "/join", {"a": "1", "b": "é x"}, {"p": "a&b=% c", "q": ""}, "192.168.1.20", "en"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 200),
        (b"GET /\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET /?a=%zz HTTP/1.1\r\n\r\n", 400),
        (b"GET /?a=%ff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 513\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
        # Half a request: nobody is there to be answered.
        (b"GET / HTTP/1.1\r\nHos", None),
        (b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc", None),
        (b"", None),
    ],
)
def test_what_is_not_a_request_is_refused_with_its_status(micropython, serve, request_bytes, status):
    found = micropython(
        serve + f"print(json.dumps(answered([{request_bytes!r}])[9:12].decode()))", heap="768K"
    )
    assert found == ("" if status is None else str(status))


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nHost: ", b"GET / HTTP/1.1\r\n"])
def test_who_never_ends_is_ended(micropython, serve, begin):
    """A flood without end, in a heap that would hold little of it."""
    found = micropython(
        serve
        + f"""
class Flood(Wire):
    taken = 0

    async def readinto(self, buffer):
        if self.pieces:
            return await super().readinto(buffer)
        for at in range(len(buffer)):
            buffer[at] = 10 if {begin!r}.endswith(b"\\n") and at % 64 == 63 else 120
        self.taken += len(buffer)
        return len(buffer)

flood = Flood([{begin!r}])
asyncio.run(http.serve(Door(), flood))
print(json.dumps([flood.sent[9:12].decode(), flood.taken]))
""",
        heap="128K",
    )
    assert found[0] == "431"
    assert found[1] <= 8192


def test_strangers_addresses_get_no_answer(micropython):
    """Private and link-local addresses, and whatever is in the board's own network, may ask; nobody else."""
    found = micropython(
        """
        import json
        from node.portal.http import nearby
        public = ("84.22.100.5", "255.255.255.0")
        home = ("192.168.1.20", "255.255.255.0")
        none = ("0.0.0.0", "0.0.0.0")
        ask = lambda one, where: nearby(one, where)
        near = ["10.0.0.1", "127.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.7.7", "169.254.1.1"]
        far = ["84.22.100.6", "8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "::1", "x", "1.2.3", ""]
        print(json.dumps([[ask(a, home) for a in near], [ask(a, home) for a in far],
                          ask("84.22.100.6", public), ask("84.22.101.6", public), ask("8.8.8.8", none)]))
        """
    )
    assert found == [[True] * 6, [False] * 9, True, False, False]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_that_is_sent_raises_or_takes_memory(micropython, serve, seed):
    """4,000 requests each: cut, glued, stuffed with random bytes; memory afterwards is what it was before."""
    draw = random.Random(seed)
    words = [
        *(
            b"GET",
            b"POST",
            b"PUT",
            b" ",
            b"/",
            b"/join",
            b"/login?lang=nl",
            b" HTTP/1.1",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
        ),
        *(b"Host: 192.168.1.20", b"Host:", b"Cookie: s=1.2; lang=en", b"Cookie: ;;==;", b"Content-Length: 5"),
        *(
            b"Content-Length: 512",
            b"Content-Length: 5x",
            b"Accept-Language: ,;q,en",
            b"%",
            b"%4",
            b"%41",
            b"%ff",
            b"&",
        ),
        *(b"=", b"a=b", b"?", b"\xff\xfe", b":", b";", b"~", b"#", b"\xc3"),
    ]
    requests = []
    for _ in range(200):
        text = b"".join(draw.choice(words) for _ in range(draw.randrange(1, 40)))
        if draw.random() < 0.3:
            at = draw.randrange(len(text))
            text = text[:at] + draw.randbytes(draw.randrange(1, 600)) + text[at:]
        requests.append(text)
    found = micropython(
        serve
        + f"""
requests = {requests!r}
grown = []
worst = 0
for turn in range(20):
    for text in requests:
        cut = 1 + (turn * 37) % max(1, len(text))
        gc.collect()
        sent = answered([part for part in (text[:cut], text[cut:]) if part])
        assert sent == b"" or sent[:9] == b"HTTP/1.1 ", sent
    gc.collect()
    grown.append(gc.mem_alloc())
print(json.dumps(grown))
""",
        heap="512K",
        timeout=120,
    )
    assert found[-1] <= found[1] + 512, found


def test_figures_and_moments_are_written_as_people_do(micropython):
    found = micropython(
        """
        import json
        from node.portal.local import figure, moment
        figures = [figure(*one) for one in (
            (0, 1, ","), (-7, 1, ","), (1234, 10, ","), (5, 10, "."), (-5, 10, "."), (5, 100, ","),
            (-1234, 100, ","),
        )]
        moments = [moment(at) for at in (
            1774745999, 1774746000, 1792889999, 1792890000, 1767225600 - 3600, 1782864000, 4102444800,
        )]
        print(json.dumps([figures, moments]))
        """
    )
    assert found[0] == ["0", "\u22127", "123,4", "0.5", "\u22120.5", "0,05", "\u221212,34"]
    from datetime import datetime
    from zoneinfo import ZoneInfo

    # The borders of summer time in 2026 to the second, the turn of a year, July, and 2100.
    at = (1774745999, 1774746000, 1792889999, 1792890000, 1767225600 - 3600, 1782864000, 4102444800)
    zone = ZoneInfo("Europe/Amsterdam")
    assert found[1] == [datetime.fromtimestamp(one, zone).strftime("%Y-%m-%d %H:%M") for one in at]


def test_the_newest_of_the_outbox_in_their_order_and_whether_they_are_done(tmp_path):
    from node.outbox import Outbox

    outbox = Outbox(str(tmp_path / "outbox"), segment_bytes=512)
    assert list(outbox.newest(8)) == []
    for seq in range(1, 31):
        outbox.append(2, seq, 0, bytes([seq]) * 40)
        found = list(outbox.newest(8))
        # At least what the newest segment holds, at most what was asked for.
        assert [entry.seq for entry, _ in found] == list(range(max(1, seq - 7), seq + 1))
    for seq in range(1, 28):
        assert outbox.acknowledge(seq)
    found = list(outbox.newest(8))
    assert [entry.seq for entry, _ in found][-3:] == [28, 29, 30]
    assert all(done is (entry.seq <= 27) for entry, done in found)
    assert all(entry.payload == bytes([entry.seq]) * 40 for entry, _ in found)
