"""The label of a board: what its host needs to set it up, as a picture to print.

The setup password is made at enrolment and lives on the board only. A label is made by asking the board for
it, and nothing is kept on this machine but the file of the label itself, which only this user can read.
"""

from __future__ import annotations

import html
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import segno

from peilmerk_provisioning.board import Board, Reset, Script
from peilmerk_provisioning.errors import PeilmerkError

__all__ = ["Label", "LabelError", "access_point", "read", "setup_password", "write"]

# Small letters and digits that nobody takes for another: no 0, 1, i, l and o. 31 of them, 12 times: 59 bits.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
CHARACTERS = 12
GROUP = 4
KIND_WORDS = {"counter": ("teller", "counter"), "air": ("luchtsensor", "air sensor")}
WIDTH_MM, HEIGHT_MM = 62, 29
# Characters with a meaning of their own in the code that phones read.
SPECIAL = '\\;,:"'


class LabelError(PeilmerkError):
    """There is no label for this board, or it cannot be written."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is on a label. The password is not shown when this is printed."""

    device_id: str
    kind: str
    password: str = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the board's access point."""
        return access_point(self.device_id)

    @property
    def code(self) -> str:
        """What a phone reads from the QR code to join the access point."""
        return f"WIFI:T:WPA;S:{_escaped(self.name)};P:{_escaped(self.password)};;"

    def svg(self) -> str:
        """The label as a picture, in Dutch and English."""
        words = KIND_WORDS.get(self.kind, ("sensor", "sensor"))
        lines = [
            (5.5, 3.6, "bold", f"Peilmerk {words[0]} / {words[1]}"),
            (10.5, 2.6, "normal", "Wifi / Wi-Fi"),
            (14.0, 3.4, "bold", self.name),
            (18.5, 2.6, "normal", "Wachtwoord / password"),
            (22.0, 3.4, "bold", self.password),
            (26.5, 2.0, "normal", f"model {self.kind} · {self.device_id}"),
        ]
        texts = "".join(
            f'<text x="30" y="{y}" font-size="{size}" font-weight="{weight}">{html.escape(text)}</text>'
            for y, size, weight, text in lines
        )
        modules = [list(row) for row in segno.make(self.code, error="m", micro=False).matrix]
        # Four modules of quiet around it, as the standard wants.
        scale = 27 / (len(modules) + 8)
        path = "".join(
            f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, dark in enumerate(row) if dark
        )
        title = f"{self.name}: {words[0]} / {words[1]}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_MM}mm" height="{HEIGHT_MM}mm" '
            f'viewBox="0 0 {WIDTH_MM} {HEIGHT_MM}" role="img" font-family="sans-serif">'
            f"<title>{html.escape(title)}</title>"
            f'<rect width="{WIDTH_MM}" height="{HEIGHT_MM}" fill="#fff"/>'
            f'<g transform="translate(1 1) scale({scale:.5f}) translate(4 4)"><path d="{path}"/></g>'
            f"{texts}</svg>\n"
        )


def setup_password() -> str:
    """Make a setup password, such as "k7pm-wq2x-9ftb"."""
    drawn = [secrets.choice(ALPHABET) for _ in range(CHARACTERS)]
    return "-".join("".join(drawn[at : at + GROUP]) for at in range(0, CHARACTERS, GROUP))


def access_point(device_id: str) -> str:
    """Return the name of a board's access point, as the board makes it itself."""
    return f"Peilmerk-{device_id[:4]}"


def read(board: Board) -> Label:
    """Ask a board what is on its label, and reset it. Raises LabelError, BoardError."""
    (said,) = board.do([Script("tell_label"), Reset()])
    device_id, password = said.get("device_id"), said.get("setup_password")
    if not device_id:
        raise LabelError(f"the board on {board.port} has no identity yet: peilmerk device enrol")
    if not password:
        raise LabelError(f"the board on {board.port} has no setup password: peilmerk device enrol --replace")
    return Label(str(device_id), str(said.get("kind") or "unset"), str(password))


def write(label: Label, file: Path) -> None:
    """Write the picture to a file that only this user can read. Raises LabelError."""
    try:
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(target, "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(label.svg())
    except OSError as reason:
        raise LabelError(f"{file}: {reason.strerror}, wanted a file to write the label to") from reason


def _escaped(text: str) -> str:
    return "".join("\\" + character if character in SPECIAL else character for character in text)
