"""Put firmware and node.json onto a board: only what differs, checked on the board before and after it
counts.

A board has two slots for firmware: halves of its partition for a ROM file system, from which bytecode runs
in place and takes no memory, or folders on a board without one. What differs is sent into a staging folder
and read back there; then the slot that does not run is filled from it and from what the board has already,
proven whole, and one small write makes the board boot from it. A cable that is pulled at any moment leaves a
board that boots the old firmware or the new one. A second run removes what is left over; one more copies
nothing. A board that was deployed to before there were slots is brought to them in the same way.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from peilmerk_protocol import romfs as images
from peilmerk_provisioning.board import Board, Inspection, Reset, Script, Step
from peilmerk_provisioning.bundle import ENTRY_POINTS, Bundle
from peilmerk_provisioning.errors import BoardError, DeployError, ScriptFailed
from peilmerk_provisioning.kinds import KINDS, node_settings
from peilmerk_provisioning.power import check as check_power
from peilmerk_provisioning.sensing import profile_for

__all__ = ["Deployed", "deploy"]

# Of a file's bytes, what goes in one script: base64 makes a third more of it, and a board without PSRAM must
# still find that in one piece.
PIECE_BYTES = 3072
# How MicroPython says it depends on the port: by name, by number, or both.
_NO_SPACE = re.compile(r"OSError: .*(ENOSPC|\b28\b)")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What deploying did."""

    kind: str
    digest: str
    files: int
    copied: tuple[str, ...]
    removed: tuple[str, ...]
    bytes_copied: int
    wrote_node: bool
    battery: bool
    """Whether it sleeps between samples."""
    in_place: bool
    """Whether its bytecode runs in place, from a ROM file system."""
    device_id: str | None
    """The board's identity; None when it has yet to be enrolled."""
    micropython: str


def deploy(
    board: Board,
    kind: str,
    bundle: Bundle,
    *,
    link: dict[str, Any] | None = None,
    sensors: list[dict[str, Any]] | None = None,
    power: dict[str, Any] | None = None,
    panel: dict[str, Any] | None = None,
    romfs: bool | None = None,
    on_progress: Progress | None = None,
) -> Deployed:
    """Make the board run this bundle as this kind of node, and reset it.

    `link` is merged into node.json; `sensors` are its sensors in place of the kind's, and its profile then
    has what they sample; `power` is mains or battery (`power.battery`), without it the board keeps what it
    has, and on mains it does without what only batteries need; `panel` is what a host sees and presses
    (`panel.panel`); `romfs` is whether the firmware runs in place, from the partition for a ROM file system:
    without it, where two firmwares find room there; `on_progress(done, total)` counts bytes.
    Raises BundleError when the board cannot load the bundle, PowerError when it is on batteries and has a
    sensor that must not sleep, DeployError when it does not end up with the bundle, BoardError when it cannot
    be reached.
    """
    agreed = profile_for(KINDS[kind]["profile"], sensors) if sensors else None
    settings = node_settings(kind, sensors, agreed)
    if power is not None:
        settings["power"] = power
    settings |= panel or {}
    before = board.inspect()
    sleeps = before.battery if power is None else power["mode"] == "battery"
    if sleeps:
        check_power(kind, sensors, f"the board on {board.port}, which is on batteries (--mains if it is not)")
    else:
        bundle = bundle.on_mains()
    bundle.check(before, board.port)
    heads, image = _image(bundle)
    if romfs and image > before.romfs:
        raise DeployError(
            f"the board on {board.port} has {before.romfs} bytes of a ROM file system for each of two "
            f"firmwares, wanted {image}: flash a MicroPython with such a partition, or leave --romfs out"
        )
    in_place = image <= before.romfs if romfs is None else romfs
    if in_place:
        # The half is erased before it is filled: nothing there can be kept.
        before = replace(before, rival={})
    copied, removed = difference(bundle, before)
    size = sum(len(bundle.files[path]) for path in copied)
    done = 0

    def count(result: dict[str, Any]) -> None:
        nonlocal done
        done += result.get("staged", 0)
        if on_progress is not None:
            on_progress(done, size)

    steps = staging(bundle, copied)
    whole = before.slot and not before.stray and not before.trial and before.files == bundle.hashes
    whole = whole and in_place == before.in_place
    steps.append(
        Script(
            "install",
            {
                "files": None if whole else sources(bundle, before, copied),
                "heads": heads if in_place else None,
                "digest": bundle.digest,
                "node": settings | ({"link": link} if link else {}),
            },
        )
    )
    try:
        said = board.do([*steps, Reset()], count)[-1]
    except ScriptFailed as reason:
        _clear(board)
        if _NO_SPACE.search(str(reason)):
            raise DeployError(
                f"the flash of the board on {board.port} is full: {before.flash_free} bytes were free, "
                f"wanted room for {size} bytes beside the old firmware; the old firmware is still in place"
            ) from reason
        raise
    if said["digest"] != bundle.digest:
        raise DeployError(
            f"the board on {board.port} computes firmware digest {said['digest'][:16]}…, wanted "
            f"{bundle.digest[:16]}…; run this again"
        )
    return Deployed(
        kind=kind,
        digest=bundle.digest,
        files=len(bundle.files),
        copied=copied,
        removed=removed,
        bytes_copied=size,
        wrote_node=bool(said["wrote_node"]),
        battery=sleeps,
        in_place=in_place,
        device_id=before.device_id,
        micropython=before.micropython,
    )


def _image(bundle: Bundle) -> tuple[dict[str, str], int]:
    """Return {path: base64 of what comes before its bytes} in a ROM file system of it, and its size."""
    files = [(path, len(data)) for path, data in bundle.files.items() if path not in ENTRY_POINTS]
    heads, size = images.heads(files)
    said = (base64.b64encode(head).decode() for head in heads)
    return dict(zip((path for path, _ in files), said, strict=True)), size


def difference(bundle: Bundle, board: Inspection) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths to send, entry points last, and the paths that go away."""
    hashes = bundle.hashes
    copied = sorted(
        (path for path in hashes if hashes[path] not in (board.files.get(path), board.rival.get(path))),
        key=lambda path: (path in ENTRY_POINTS, path),
    )
    return tuple(copied), tuple(sorted(set(board.files) - set(hashes)))


def sources(bundle: Bundle, board: Inspection, sent: tuple[str, ...]) -> list[list[str]]:
    """Return, for the slot to fill, [path, SHA-256, staged name or "", path on the board to copy from or ""]
    of each file, entry points last.
    """
    names = {path: str(number) for number, path in enumerate(sent)}
    base = f"{board.slot}/" if board.slot else ""
    rows = []
    for path, wanted in bundle.hashes.items():
        there = path in names or path in ENTRY_POINTS or board.rival.get(path) == wanted
        rows.append([path, wanted, names.get(path, ""), "" if there else base + path])
    return sorted(rows, key=lambda row: (row[0] in ENTRY_POINTS, row[0]))


def staging(bundle: Bundle, paths: tuple[str, ...]) -> list[Step]:
    """Return the steps that put these files, by number, into the staging folder, small files together."""
    steps: list[Step] = []
    pieces: list[list[Any]] = []
    room = PIECE_BYTES

    def flush() -> None:
        nonlocal pieces, room
        if pieces:
            steps.append(Script("stage", {"fresh": not steps, "pieces": pieces}))
        pieces, room = [], PIECE_BYTES

    for number, path in enumerate(paths):
        data = bundle.files[path]
        start = 0
        while start < len(data) or start == 0:
            piece = data[start : start + room]
            pieces.append([str(number), start == 0, base64.b64encode(piece).decode()])
            start += max(1, len(piece))
            room -= len(piece)
            if room <= 0:
                flush()
    flush()
    return steps


def _clear(board: Board) -> None:
    """After a failure, give the flash back to the old firmware and let it run; the failure itself is
    reported.
    """
    try:
        board.do([Script("stage", {"fresh": True, "pieces": []}), Reset()])
    except BoardError:
        return
