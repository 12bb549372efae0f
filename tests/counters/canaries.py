"""Looking for addresses where none may be: in a board's memory, on its flash, in what it sent."""

from __future__ import annotations

import re
from collections import Counter

from peilmerk_bench.board import VirtualBoard

WORD = 0xFFFFFF


def expand(words: list[int]) -> list[int]:
    """Round keys of Speck48/96, key words lowest first."""
    low, *rest = words
    keys = []
    for turn in range(23):
        keys.append(low)
        high = ((rest[turn % 3] >> 8 | rest[turn % 3] << 16) + low & WORD) ^ turn
        rest[turn % 3] = high
        low = (low << 3 & WORD | low >> 21) ^ high
    return keys


def encrypt(x: int, y: int, keys: list[int]) -> tuple[int, int]:
    for key in keys:
        x = ((x >> 8 | x << 16) + y & WORD) ^ key
        y = (y << 3 & WORD | y >> 21) ^ x
    return x, y


def tag(address: bytes, salt: bytes) -> tuple[int, int]:
    """What the driver's set holds of an address."""
    keys = expand([int.from_bytes(salt[i : i + 3], "little") for i in range(0, 12, 3)])
    x, y = int.from_bytes(address[:3], "little"), int.from_bytes(address[3:], "little")
    one, other = encrypt(x, y, keys)
    return one ^ x, other ^ y


def memory(board: VirtualBoard) -> bytes:
    """All that the board's process has written or may write."""
    parts = []
    with open(f"/proc/{board.pid}/maps") as maps, open(f"/proc/{board.pid}/mem", "rb", 0) as file:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                since, until = (int(part, 16) for part in span.split("-"))
                file.seek(since)
                try:
                    parts.append(file.read(until - since))
                except OSError:
                    pass  # the kernel's own pages
    return bytes(16).join(parts)


def forms(address: bytes, salts: list[bytes]) -> dict[str, bytes]:
    """What an address may look like: as it is, in writing, and hashed with any salt of the run."""
    text = address.hex()
    found = {
        "raw": address,
        "reversed": address[::-1],
        "hex": text.encode(),
        "HEX": text.upper().encode(),
        "colons": address.hex(":").encode(),
        "decimal": str(int(text, 16)).encode(),
    }
    for nth, salt in enumerate(salts):
        x, y = tag(address, salt)
        found[f"hashed {nth}"] = x.to_bytes(4, "little") + y.to_bytes(4, "little")
        found[f"packed {nth}"] = x.to_bytes(3, "little") + y.to_bytes(3, "little")
    return found


def search(data: bytes, addresses: list[bytes], salts: list[bytes]) -> Counter[str]:
    """How often which form of an address is in some bytes."""
    wanted: dict[bytes, list[tuple[str, bytes]]] = {}
    for address in addresses:
        for form, pattern in forms(address, salts).items():
            wanted.setdefault(pattern[:6], []).append((form, pattern))
    hits: Counter[str] = Counter()
    for part in re.finditer(rb"(?:(?!\0{16}).)+(?:\0{0,15})?", data, re.DOTALL):
        piece = part.group() + bytes(6)
        for at in range(len(piece) - 5):
            for form, pattern in wanted.get(piece[at : at + 6], ()):
                if data.startswith(pattern, part.start() + at):
                    hits[form.split()[0]] += 1
    return hits
