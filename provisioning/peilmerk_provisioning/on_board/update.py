"""Take a signed update piece by piece, as the firmware itself does over the network.

params: {"first": bool, "piece": base64, "last": bool}. What is refused is said as {"refused": reason, "text":
what was found and wanted}; what follows then is passed over.
"""

# mypy: ignore-errors

from binascii import a2b_base64

from .common import exists, read_json, say

receiver = None
refusal = None


def begin(root):
    from node.update.receive import Receiver

    try:
        from node.app import Slots
    except ImportError:
        from node.update.slots import Slots

    if not exists(root + "data"):
        import os

        os.mkdir(root + "data")
    kind = (read_json(root + "node.json") or {}).get("kind")
    return Receiver(Slots(root, root + "data"), kind)


def main(root, params):
    global receiver, refusal
    from node.update.receive import UpdateError

    piece = a2b_base64(params["piece"])
    if refusal is None:
        try:
            if params["first"]:
                receiver = begin(root)
            receiver.write(piece)
            if params["last"]:
                receiver.finish()
        except UpdateError as fault:
            refusal = {"refused": fault.reason, "text": str(fault)}
            if receiver is not None:
                receiver.abandon()
    say(refusal or {"taken": receiver.taken})
