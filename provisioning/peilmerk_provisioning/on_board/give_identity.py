"""Write trust, link and identity. params: {"identity": {...}, "trust": base64, "node": node.json to merge}.

The identity is the last to be written: with it the board is enrolled, without it the board is not. What the
board reads back from its flash is hashed and only the hashes are said.
"""

# mypy: ignore-errors

import json
from binascii import a2b_base64, hexlify

from .common import replace_file, say, sha256, write_node


def main(root, params):
    replace_file(root + "trust.der", a2b_base64(params["trust"]))
    write_node(root, params["node"])
    replace_file(root + "identity.json", params["identity"].encode())
    with open(root + "identity.json") as file:
        device_id = json.load(file)["device_id"]
    say(
        {
            "device_id": device_id,
            "identity": hexlify(sha256(root + "identity.json")).decode(),
            "trust": hexlify(sha256(root + "trust.der")).decode(),
        }
    )
