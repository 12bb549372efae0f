"""Give a board a signed release over the cable: the same checks on the board as over the network.

The board writes the release into the slot that does not run and tries it at its next start; it becomes the
firmware after a report of it was acknowledged, otherwise the board goes back. The release that came before it
stays whole until then.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from peilmerk_protocol.update_names import reason_text
from peilmerk_provisioning.board import Board, Inspection, Reset, Script, Step
from peilmerk_provisioning.errors import UpdateRefused
from peilmerk_provisioning.release import Release

__all__ = ["update"]

PIECE_BYTES = 3072
Progress = Callable[[int, int], None]


def update(board: Board, release: Release, on_progress: Progress | None = None) -> Inspection:
    """Make the board try this release at its next start, which is at once. Return what was on it before.

    Raises UpdateRefused with the board's own reason, BoardError when it cannot be reached.
    """
    before = board.inspect()
    if not before.slot:
        raise UpdateRefused(
            f"the board on {board.port} has no firmware in a slot: peilmerk device deploy first"
        )
    data = release.signed + release.content
    steps: list[Step] = []
    for start in range(0, len(data), PIECE_BYTES):
        piece = base64.b64encode(data[start : start + PIECE_BYTES]).decode()
        last = start + PIECE_BYTES >= len(data)
        steps.append(Script("update", {"first": not steps, "piece": piece, "last": last}))

    def count(result: dict[str, Any]) -> None:
        if on_progress is not None and "taken" in result:
            on_progress(result["taken"], len(data))

    said = board.do([*steps, Reset()], count)[-1]
    if "refused" in said:
        reason = int(said["refused"])
        raise UpdateRefused(
            f"the board on {board.port} refuses ({reason}): {reason_text(reason)} "
            f"({said['text'].rpartition(': ')[2]})"
        )
    return before
