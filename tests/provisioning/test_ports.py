"""Ports that are missing, held, forbidden, silent or something else: each has its own error that says what
to do.
"""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from peilmerk_provisioning import board as boards
from peilmerk_provisioning.board import Board, Script, ports
from peilmerk_provisioning.errors import BoardError, NoMicroPython, PortBusy, PortDenied, PortMissing

NOBODY = 65534


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: the end that a board would hold, and the path of the port."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_missing_port_is_named_with_those_that_are_here() -> None:
    with pytest.raises(PortMissing, match=r"found no port /dev/ttyUSB77; serial ports that are here: "):
        Board("/dev/ttyUSB77").inspect()


def test_a_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PortMissing, match=r"file is no serial port, wanted one such as /dev/ttyUSB0"):
        Board(str(tmp_path / "file")).inspect()


def test_held_port_says_so(line: tuple[int, str]) -> None:
    _, port = line
    with open(port, "r+b", buffering=0) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(PortBusy, match=f"another program holds {port}"):
            Board(port).inspect()


def test_forbidden_port_names_the_group_to_join(line: tuple[int, str]) -> None:
    _, port = line
    os.chmod(port, 0)
    code = (
        "import os, sys\n"
        "from peilmerk_provisioning.board import Board\n"
        f"os.geteuid() or (os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY}))\n"
        "try: Board(sys.argv[1])._check_port()\n"
        "except Exception as reason: print(type(reason).__name__, reason)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, port],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert said.startswith(f"{PortDenied.__name__} no permission to use {port}: ")
    assert "dialout" in said


def test_silence_is_no_micropython(line: tuple[int, str]) -> None:
    _, port = line
    with pytest.raises(NoMicroPython, match=f"nothing on {port} answered as MicroPython for 1 s"):
        Board(port, silence_s=1).inspect()


def test_chatter_is_no_micropython(line: tuple[int, str]) -> None:
    """A GPS receiver, say: it talks all the time and never gives a prompt."""
    ours, port = line
    enough = threading.Event()

    def chatter() -> None:
        while not enough.wait(0.05):
            os.write(ours, b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9\r\n")

    talker = threading.Thread(target=chatter)
    talker.start()
    try:
        with pytest.raises(NoMicroPython, match=port):
            Board(port, silence_s=4).inspect()
    finally:
        enough.set()
        talker.join()


def test_no_process_is_left_after_giving_up(line: tuple[int, str]) -> None:
    _, port = line
    with pytest.raises(NoMicroPython):
        Board(port, silence_s=1).inspect()
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert not [one for one in arguments if b"mpremote" in one and port.encode() in one.split(b"\0")]


def test_missing_mpremote_says_what_to_install(
    line: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "MPREMOTE", (sys.executable, "-m", "mpremote_that_is_not_there"))
    monkeypatch.setattr(boards, "NOT_INSTALLED", "No module named mpremote_that_is_not_there")
    with pytest.raises(BoardError, match=r"mpremote is not installed: pip install 'peilmerk\[device\]'"):
        Board(line[1]).inspect()
    with pytest.raises(BoardError, match="mpremote is not installed"):
        ports()


def test_scripts_lie_in_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    arguments = boards._arguments([Script("give_identity", {"identity": "SECRET"})], tmp_path)
    assert arguments[:1] == ["run"]
    assert "SECRET" in Path(arguments[1]).read_text()
    assert Path(arguments[1]).stat().st_mode & 0o777 == 0o600
    assert "SECRET" not in repr(Script("give_identity", {"identity": "SECRET"}))


def test_ports_can_be_listed() -> None:
    for port in ports():
        assert port.path.startswith(("/dev/", "COM"))


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
        return True
    except OSError:
        return False
