"""What the interpreter writes, made into what a board writes.

Lines end in CR LF. In between, the board's shims leave marks that only the supervisor understands: that the
flash is mounted (READY), that boot.py and main.py are over (BOOTED), and where bytes are data that must not
be touched (DATA to TEXT, `micropython.kbd_intr`).
"""

from __future__ import annotations

import secrets

READY, BOOTED, DATA, TEXT = "SBdt"
RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n"
FRIENDLY_BANNER = b'Type "help()" for more information.\r\n'


class Marks:
    """The marks of one run: each a control string of the terminal with an unguessable middle."""

    def __init__(self) -> None:
        self.prefix = b"\x1b_" + secrets.token_hex(6).encode()
        self.size = len(self.prefix) + 3

    def all(self) -> list[str]:
        """READY, BOOTED, DATA and TEXT in this order."""
        return [(self.prefix + code.encode() + b"\x1b\\").decode() for code in (READY, BOOTED, DATA, TEXT)]


class Console:
    """Takes the interpreter's output apart. raw: whether the REPL is the raw one, as its banner said last."""

    def __init__(self, marks: Marks, raw: bool) -> None:
        self._marks = marks
        self._rest = b""
        self._data = False
        self._cr = False
        self._tail = b""
        self.raw = raw

    def take(self, chunk: bytes) -> list[tuple[bytes, str]]:
        """(output, mark) in order; the mark after the output, "" if the output only ends here for now."""
        found = []
        rest = self._rest + chunk
        prefix = self._marks.prefix
        while (at := rest.find(prefix)) >= 0 and len(rest) - at >= self._marks.size:
            code = chr(rest[at + len(prefix)])
            found.append((self._cook(rest[:at]), code))
            if code in (DATA, TEXT):
                self._data = code == DATA
            rest = rest[at + self._marks.size :]
        if at < 0:
            # the beginning of a mark may have come
            at = len(rest)
            escape = rest.rfind(b"\x1b", max(0, len(rest) - self._marks.size))
            if escape >= 0 and prefix.startswith(rest[escape : escape + len(prefix)]):
                at = escape
        found.append((self._cook(rest[:at]), ""))
        self._rest = rest[at:]
        return found

    def end(self) -> bytes:
        """What was held back when the interpreter ended."""
        return self._cook(self._rest)

    def _cook(self, text: bytes) -> bytes:
        if not text:
            return b""
        if self._data:
            self._cr = False
            return text
        tail = self._tail + text
        raw, friendly = tail.rfind(RAW_BANNER), tail.rfind(FRIENDLY_BANNER)
        if max(raw, friendly) >= 0:
            self.raw = raw > friendly
        self._tail = tail[-64:]
        # a CR that ended the chunk before belongs to the LF that begins this one
        head, text = (b"\n", text[1:]) if self._cr and text[:1] == b"\n" else (b"", text)
        self._cr = text.endswith(b"\r")
        return head + text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
