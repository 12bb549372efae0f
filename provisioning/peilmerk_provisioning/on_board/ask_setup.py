"""Ask the board to open its set-up at the next start: the file /setup."""

# mypy: ignore-errors

from .common import read_json, say


def main(root, params):
    ready = bool((read_json(root + "identity.json") or {}).get("setup_password"))
    if ready:
        with open(root + "setup", "w"):
            pass
    say({"ready": ready})
