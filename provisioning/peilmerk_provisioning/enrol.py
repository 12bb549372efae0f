"""Give a board its identity: device id, root key and MQTT password, made in the gateway's registry.

Nothing is left half done. The identity is the last file written to the board and what the board reads back
from its flash is compared, by hash, with what was meant. When that fails, the registry's new entry is
revoked, so that an identity that no board holds for certain can never speak. A board that has an identity
keeps it unless replacing is asked for; then the old one is revoked as soon as it may no longer be on the
board.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from peilmerk_gateway.registry import Device, Registry, RegistryError
from peilmerk_provisioning.board import Board, Inspection, Reset, Script
from peilmerk_provisioning.errors import BoardError, EnrolError
from peilmerk_provisioning.label import setup_password

__all__ = ["Enrolled", "enrol", "put_release_keys"]

KIND_NOT_SAID = "unset"
LABEL_NOT_SAID = "unnamed board"


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What enrolment did. Holds no secret."""

    device_id: str
    kind: str
    label: str
    replaced: str | None
    """The identity the board had before."""
    revoked: bool
    """Whether that one was found in this registry and revoked."""
    micropython: str


def enrol(
    board: Board,
    registry: Registry,
    link: dict[str, Any],
    trust: bytes,
    *,
    label: str = LABEL_NOT_SAID,
    kind: str | None = None,
    replace: bool = False,
    release_keys: bytes | None = None,
) -> Enrolled:
    """Make an identity, write it with trust and link to the board, prove that it is there, and reset the
    board.

    `kind` is "counter" or "air"; without it, what was deployed to the board. `link` is merged into the
    board's node.json; `release_keys` are those that may sign its updates (`release.public_keys`), the board
    keeps what it has without them. Raises EnrolError (the board has an identity, or did not take one),
    BoardError (it cannot be reached) and RegistryError.
    """
    before = board.inspect()
    if before.device_id and not replace:
        raise EnrolError(
            f"the board on {board.port} has an identity already ({before.device_id}): give --replace to "
            "revoke it and make a new one"
        )
    device = registry.enrol(kind or before.kind or KIND_NOT_SAID, label)
    try:
        _write(board, device, link, trust, release_keys)
    except BaseException as reason:
        kept = _settle(board, registry, device, before)
        if not isinstance(reason, (BoardError, EnrolError)):
            raise
        raise EnrolError(f"{reason}. {kept}") from reason
    revoked = before.device_id is not None and _revoke(registry, before.device_id)
    return Enrolled(
        device.device_id, device.kind, device.label, before.device_id, revoked, before.micropython
    )


def put_release_keys(board: Board, keys: bytes) -> None:
    """Let the board take updates signed by these keys and no others. Raises EnrolError, BoardError."""
    (said,) = board.do([_release_script(keys), Reset()])
    if said["release"] != hashlib.sha256(keys).hexdigest():
        raise EnrolError(f"the board on {board.port} gives back another release key than was written")


def _release_script(keys: bytes) -> Script:
    return Script("give_release_key", {"keys": base64.b64encode(keys).decode()})


def _write(
    board: Board, device: Device, link: dict[str, Any], trust: bytes, release_keys: bytes | None
) -> None:
    identity = json.dumps(
        {
            "device_id": device.device_id,
            "mqtt_password": device.mqtt_password,
            "root_key": device.root_key.hex(),
            # For the host, on the label; kept by the board alone.
            "setup_password": setup_password(),
        }
    )
    results = board.do(
        [
            *([_release_script(release_keys)] if release_keys else []),
            Script(
                "give_identity",
                {"identity": identity, "trust": base64.b64encode(trust).decode(), "node": {"link": link}},
            ),
            Reset(),
        ]
    )
    said = {key: value for result in results for key, value in result.items()}
    wanted = {
        "device_id": device.device_id,
        "identity": hashlib.sha256(identity.encode()).hexdigest(),
        "trust": hashlib.sha256(trust).hexdigest(),
    }
    if release_keys:
        wanted["release"] = hashlib.sha256(release_keys).hexdigest()
    wrong = [name for name, value in wanted.items() if said.get(name) != value]
    if wrong:
        raise EnrolError(
            f"the board on {board.port} gives back another {' and '.join(wrong)} than was written"
        )


def _settle(board: Board, registry: Registry, device: Device, before: Inspection) -> str:
    """Take the new identity back after a failure and say what holds now."""
    registry.revoke(device.device_id)
    if not before.device_id:
        return "The new identity was revoked again; run this again when the board answers"
    try:
        still_old = board.inspect(then=[Reset()]).device_id == before.device_id
    except BoardError:
        still_old = False
    if still_old:
        return f"The new identity was revoked again; the board keeps {before.device_id}"
    _revoke(registry, before.device_id)
    return (
        f"The new identity was revoked again, and {before.device_id} too, because the board may have lost "
        "it; run this again with --replace when the board answers"
    )


def _revoke(registry: Registry, device_id: str) -> bool:
    """Revoke an identity that a board carried; return False when it is of another gateway's registry."""
    try:
        registry.revoke(device_id)
    except RegistryError:
        return False
    return True
