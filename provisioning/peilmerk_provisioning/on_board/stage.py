"""Put pieces of files into the staging folder. params: {"fresh": bool, "pieces": [[name, is_first, base64],
...]}.
"""

# mypy: ignore-errors

import os
from binascii import a2b_base64

from .common import STAGE, remove_tree, say


def main(root, params):
    stage = root + STAGE
    if params["fresh"]:
        remove_tree(stage)
        os.mkdir(stage)
    size = 0
    for name, is_first, text in params["pieces"]:
        data = a2b_base64(text)
        with open(stage + "/" + name, "wb" if is_first else "ab") as file:
            file.write(data)
        size += len(data)
    say({"staged": size})
