"""Which commands an operator can give, and how they are told to people.

An order is a verb, its argument as the contract has it, and for how long it is meant. Everything is checked
here, before it is queued: what the contract refuses never reaches the store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peilmerk_gateway.clock import Clock
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.registry import Device, Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import CommandRow
from peilmerk_gateway.updates.folder import Bundle, find, take_in
from peilmerk_protocol import cbor, command, update_names

HOUR_S = 3_600
DAY_S = 86_400
DIGEST = re.compile(r"[0-9a-f]{64}")
# What is done on the spot is not to be done days later, when nobody stands there any more; what changes how
# a device works waits for a device that is away.
VALID_S = {
    command.IDENTIFY: HOUR_S,
    command.SELF_TEST: DAY_S,
    command.REBOOT: DAY_S,
    command.PAUSE: 7 * DAY_S,
    command.RESUME: 7 * DAY_S,
    command.PROFILE: 30 * DAY_S,
    command.UPDATE: 30 * DAY_S,
    command.FORGET: 30 * DAY_S,
}


class OrderError(PeilmerkError):
    """A command cannot be given; the text says what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Order:
    """One command before it has a counter. `expiry` is unix seconds in the gateway's time."""

    verb: int
    argument: object
    expiry: int

    @property
    def body(self) -> bytes:
        """The argument as the store keeps it: CBOR."""
        return cbor.encode(self.argument)


def order(verb: int, argument: object, clock: Clock, valid_s: int | None = None) -> Order:
    """Make an order that is meant for `valid_s` seconds from now, or as long as is usual for the verb.

    Raises OrderError when the contract does not have it.
    """
    expiry = int(clock.now()) + (VALID_S[verb] if valid_s is None else valid_s)
    try:
        checked = command.Command(1, expiry, verb, argument)
    except command.CommandError as reason:
        raise OrderError(
            f"{command.VERB_NAMES[verb]}: found {argument!r}, which is no {reason.reason} of this command"
        ) from None
    return Order(verb, checked.argument, expiry)


def moment(text: str) -> int:
    """Read an ISO 8601 moment as unix seconds; one without an offset is in this machine's own time."""
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise OrderError(f"found {text!r}, wanted a moment such as 2026-05-01T08:00") from None


def find_device(registry: Registry, catalogue: Catalogue, text: str) -> Device:
    """Find a device by its id, its name in a deployment record, or its label.

    Raises OrderError when there is no such device, more than one, or its right to connect was taken away.
    """
    device = registry.get(text)
    if device is None:
        named = {
            mandate.device_id
            for deployment in catalogue.deployments.values()
            for mandate in deployment.mandates.values()
            if text in (mandate.thing, f"{mandate.deployment}/{mandate.thing}")
        }
        labelled = {known.device_id for known in registry.all() if known.label == text and not known.revoked}
        found = sorted(named or labelled)
        if len(found) > 1:
            raise OrderError(f"found {len(found)} devices called {text!r}, wanted one: give its id")
        device = registry.get(found[0]) if found else None
    if device is None:
        raise OrderError(
            f"found no device {text!r}, wanted an id, a name from a deployment record, or a label"
        )
    if device.revoked:
        raise OrderError(f"found device {device.device_id} revoked, wanted one that may connect")
    return device


def agreed_profile(catalogue: Catalogue, device: Device, revision: int) -> list[int]:
    """Return the profile that the device's deployment record asks for. Raises OrderError without a record."""
    mandate = catalogue.mandate(device.device_id)
    if mandate is None:
        raise OrderError(
            f"found no deployment record in force for {device.device_id}, wanted one: it says what a device "
            f"may measure ({catalogue.refusal(device.device_id)})"
        )
    return mandate.profile(revision).fields()


def told(row: CommandRow) -> dict[str, Any]:
    """Return a command as plain values for people and scripts."""
    told: dict[str, Any] = {
        "device": row.device_id,
        "counter": row.counter,
        "verb": command.VERB_NAMES[row.verb],
        "argument": _readable(cbor.decode(row.argument)),
        "state": row.state,
        "outcome": None if row.outcome is None else command.OUTCOME_NAMES[row.outcome],
        "detail": row.detail,
        "attempts": row.attempts,
        "expires": _iso(row.expiry),
        "created": _iso(row.created_at),
        "sent": _iso(row.sent_at),
        "answered": _iso(row.answered_at),
    }
    if row.verb == command.UPDATE and row.outcome not in (None, command.DONE) and row.detail:
        told["reason"] = update_names.reason_text(row.detail)
    if row.verb == command.IDENTIFY and row.outcome == command.REFUSED and row.detail == command.NO_LIGHT:
        told["reason"] = "the board has no light and no buzzer: peilmerk device deploy --light"
    return told


def _readable(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")


def offered(settings: Settings, device: Device, text: str) -> Bundle:
    """Return the bundle that FILE or DIGEST names, ready for a device to fetch. Raises PeilmerkError."""
    if settings.update is None:
        raise OrderError(
            f"{settings.file}: found no section [update], wanted one: it says where boards fetch firmware"
        )
    folder = settings.update.folder
    if DIGEST.fullmatch(text) and not Path(text).exists():
        bundle = find(bytes.fromhex(text), folder)
    else:
        bundle = take_in(Path(text), folder)
    if bundle.kind not in ("any", device.kind):
        raise OrderError(f"{text}: found firmware for a board of kind {bundle.kind}, wanted {device.kind}")
    return bundle
