"""Erase a host: everything that leads to the person goes; what was lawfully published stays.

In this order, so that whatever breaks in between, doing it again finishes it, and nothing is admitted of a
device while its host is being erased: the withdrawal; what the device sent and was never published; its right
to connect and its label; its deployment record, with every older text of it; last the host's own row, by
which it can be found again until then.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from peilmerk_gateway.deployments.history import FOLDER, Texts
from peilmerk_gateway.hosts.host import Host
from peilmerk_gateway.hosts.vault import Vault
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.halts import WITHDRAW
from peilmerk_gateway.store.removal import Removed

_DEVICE = re.compile(rb"""device_id\s*=\s*["']([a-z2-7]{16})["']""")


@dataclass(slots=True)
class Erased:
    """What erasing did; `left` are files that name other devices too, and that a person has to look at."""

    removed: Removed
    records: int = 0
    texts: int = 0
    left: list[Path] = field(default_factory=list)


async def erase(settings: Settings, vault: Vault, host: Host) -> Erased:
    """Erase a host. Raises PeilmerkError when a part of it cannot be used; then nothing was forgotten yet
    that would be needed to do it again.
    """
    now = settings.make_clock().now()
    async with await Store.look(settings.store_place) as store:
        await store.halt(host.device_id, WITHDRAW, now)
        erased = Erased(await store.erase(host.device_id, now))
        await store.rewrite()
        await store.forget_damaged(math.inf)
    with Registry(settings.gateway.registry) as registry:
        if registry.get(host.device_id) is not None:
            registry.revoke(host.device_id)
            registry.forget_label(host.device_id)
    _erase_records(settings, host.device_id, erased)
    if not erased.left:
        vault.remove(host.host_id)
    return erased


def _erase_records(settings: Settings, device_id: str, erased: Erased) -> None:
    """Delete the device's record, then its older texts: a running gateway keeps the text of what it reads."""
    for file in sorted(settings.deployments.directory.glob("*.toml")):
        if (devices := _devices(file)) == {device_id}:
            file.unlink()
            erased.records += 1
        elif device_id in devices:
            erased.left.append(file)
    if erased.left:
        return
    texts = Texts(settings.gateway.data_dir / FOLDER)
    for file in sorted(texts.folder.glob("*.toml")):
        # Also one that named others: what it said of this home is in it, and its digest stays in the trail.
        if device_id in _devices(file):
            texts.erase(file.stem)
            erased.texts += 1


def _devices(file: Path) -> set[str]:
    return {found.decode() for found in _DEVICE.findall(file.read_bytes())}
