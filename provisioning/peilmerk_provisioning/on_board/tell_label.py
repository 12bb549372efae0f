"""Say what is on the board's label. The answer holds the setup password: it goes over the cable and to nobody
else.
"""

# mypy: ignore-errors

from .common import read_json, say


def main(root, params):
    identity = read_json(root + "identity.json") or {}
    node = read_json(root + "node.json") or {}
    say(
        {
            "device_id": identity.get("device_id"),
            "kind": node.get("kind"),
            "setup_password": identity.get("setup_password"),
        }
    )
