"""What the detail of an acknowledged update offer means; for people, so no board carries it.

Below TRIED the board refused the update; from there on it tried and failed, and the same release may be
offered again.
"""

TRIED = 16

REASONS = {
    1: "what came is no signed manifest",
    2: "it is signed by a key that the board does not know",
    3: "the signature is not right: forged, or altered on the way",
    4: "it is for another chip",
    5: "its bytecode is for another MicroPython",
    6: "it wants a newer MicroPython than the board's",
    7: "it is for another kind of node",
    8: "its version is not newer than what ran here before",
    9: "there is no room for it on the flash",
    10: "it is shorter than it says: truncated",
    11: "its content is not what was signed or offered: altered",
    12: "it goes with another boot.py and main.py, which come by cable only: peilmerk device deploy",
    13: "the board has no release key: peilmerk device release-key put",
    14: "the board knows no server for updates (node.json: link.update)",
    15: "what runs on the board is on trial itself, or lies in no slot",
    16: "the server for updates could not be reached, or did not have it",
    17: "the flash failed",
}


def reason_text(reason: int) -> str:
    """What a reason means, in words."""
    return REASONS.get(reason, "a reason that this release does not know")
