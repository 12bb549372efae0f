"""Forget failed boots, so that the next one is an ordinary one. params: {}."""

# mypy: ignore-errors

from .common import replace_file, say, slots


def main(root, params):
    good, trial, failed = slots(root)
    if failed:
        replace_file(root + "slots", bytes((ord(good), trial, 0)))
    say({"failed": failed})
