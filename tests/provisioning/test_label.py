"""The label: a password that nobody misreads, a code that a phone reads, a file that nobody else reads."""

from __future__ import annotations

import math
import os
import re
import stat
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import segno

from peilmerk_provisioning.label import ALPHABET, CHARACTERS, Label, LabelError, setup_password, write

MADE = Label("abcdefghijkl2345", "air", "k7pm-wq2x-9ftb")


def test_a_password_has_fifty_bits_and_no_letter_that_looks_like_another() -> None:
    assert math.log2(len(ALPHABET)) * CHARACTERS > 50
    assert not set("0O1lIio") & set(ALPHABET)
    made = {setup_password() for _ in range(500)}
    assert len(made) == 500
    for one in made:
        assert re.fullmatch(r"\w{4}-\w{4}-\w{4}", one)
        # What WPA2 takes.
        assert 8 <= len(one) <= 63
    assert set("".join(made)) == {*ALPHABET, "-"}


def test_the_label_says_all_that_a_host_needs() -> None:
    picture = ET.fromstring(MADE.svg())
    texts = [node.text or "" for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    for wanted in ("Peilmerk-abcd", "k7pm-wq2x-9ftb", "luchtsensor", "air sensor", "Wachtwoord / password"):
        assert any(wanted in text for text in texts), wanted
    assert MADE.code == "WIFI:T:WPA;S:Peilmerk-abcd;P:k7pm-wq2x-9ftb;;"
    # The modules drawn are those of that code.
    path = picture.find(".//{http://www.w3.org/2000/svg}path")
    assert path is not None
    drawn = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1", path.get("d") or "")}
    matrix = segno.make(MADE.code, error="m", micro=False).matrix
    assert drawn == {(x, y) for y, row in enumerate(matrix) for x, dark in enumerate(row) if dark}
    assert "k7pm" not in repr(MADE)


def test_characters_with_a_meaning_are_escaped_in_the_code() -> None:
    assert (
        Label("abcd", "air", 'a;b\\c"d,e:f').code == 'WIFI:T:WPA;S:Peilmerk-abcd;P:a\\;b\\\\c\\"d\\,e\\:f;;'
    )


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "label.svg"
    before = os.umask(0)
    try:
        write(MADE, file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o644)
        write(MADE, file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(LabelError, match="wanted a file to write the label to"):
        write(MADE, tmp_path / "none" / "label.svg")
