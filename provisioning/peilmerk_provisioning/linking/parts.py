"""Which modules of the firmware become one: what is always loaded, and what is loaded now and then."""

from __future__ import annotations

__all__ = ["CORE", "OUTSIDE", "OUTSIDE_ATTRIBUTES", "PARTS"]

CORE = "node.app"
"""Where everything goes that is loaded from boot on and has no other place."""

PARTS: dict[str, tuple[str, ...]] = {
    "node": (),
    # What takes an update, with what only that needs.
    "node.update.receive": (
        "node.update.fetch",
        "node.update.rom",
        "peilmerk_protocol.manifest",
        "peilmerk_protocol.romfs",
    ),
    "node.portal.http": ("node.portal.local", "node.portal.setup", "node.portal.improv"),
    # A board on batteries has it, others do without.
    "node.power": (),
}
"""{the module that is loaded: what else goes into it}. Drivers are never joined: node.json names them."""


OUTSIDE = frozenset(
    {
        ("node", "VERSION"),
        ("node.app", "main"),
        ("node.update.receive", "UpdateError"),
        ("node.update.receive", "Receiver"),
        ("node.update.slots", "Slots"),
    }
)
"""(module, name): what main.py, the technician's tools and guides ask for on a board of any version."""

OUTSIDE_ATTRIBUTES = frozenset({"abandon", "finish", "reason", "retry", "taken", "write"})
