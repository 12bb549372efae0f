"""Which of what is kept an operator means: what they typed, read and held against what there is."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass

from peilmerk_gateway.commands import orders
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.quarantine.kept import Choice, QuarantineError
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store
from peilmerk_gateway.store.quarantine import KEPT

_MESSAGE = re.compile(r"([a-z2-7]{16})/(\d{1,10})")
_ROW = re.compile(r"([a-z][a-z0-9_-]{0,31}):(\d{1,18})")


@dataclass(frozen=True)
class Asked:
    """Items and options as they were typed."""

    items: tuple[str, ...] = ()
    device: str | None = None
    reason: str | None = None
    since: str | None = None
    sink: str | None = None

    def on_purpose(self, everything: bool) -> Asked:
        """Return this. Raises QuarantineError where nothing is chosen: that is not everything."""
        if everything or self != Asked():
            return self
        raise QuarantineError(
            "found nothing chosen, wanted items, --device, --reason, --since, --sink or --all"
        )

    def choice(self, settings: Settings) -> Choice:
        """Read it. Raises PeilmerkError, naming what is no such thing."""
        codes = {str(code) for code in KEPT}
        if self.reason is not None and self.reason not in codes | set(Reason):
            raise QuarantineError(
                f"--reason: found {self.reason!r}, wanted one of {', '.join(sorted(codes))}"
            )
        if self.sink is not None and self.reason is not None:
            raise QuarantineError(
                "found --sink and --reason, wanted one of them: platforms have words of their own"
            )
        keys, rows = [], []
        for item in self.items:
            if (found := _MESSAGE.fullmatch(item)) is not None:
                keys.append((found[1], int(found[2])))
            elif (found := _ROW.fullmatch(item)) is not None:
                rows.append((found[1], int(found[2])))
            else:
                raise QuarantineError(
                    f"found item {item!r}, wanted DEVICE/NUMBER or PLATFORM:NUMBER as 'list' shows it"
                )
        try:
            since = None if self.since is None else float(orders.moment(self.since))
        except PeilmerkError as error:
            raise QuarantineError(f"--since: {error}") from None
        return Choice(
            self._device_id(settings), self.reason, since, self.sink, frozenset(keys), frozenset(rows)
        )

    def _device_id(self, settings: Settings) -> str | None:
        if self.device is None:
            return None
        with Registry(settings.gateway.registry) as registry:
            known = registry.get(self.device)
            if known is None:
                known = orders.find_device(registry, Catalogue(settings.deployments.directory), self.device)
            return known.device_id


def sends_to(settings: Settings, choice: Choice) -> None:
    """Raise QuarantineError where a platform is named to which this gateway sends nothing."""
    wanted = {sink for sink, _ in choice.rows}
    if choice.sink is not None:
        wanted.add(choice.sink)
    for sink in sorted(wanted):
        _known(sink, {sink.name for sink in settings.sinks}, settings)


async def has_of(settings: Settings, store: Store, choice: Choice) -> None:
    """Raise QuarantineError where a platform is named that neither the settings nor what is kept know.

    One that the settings named before can have rejected something that is kept still.
    """
    if choice.sink is None or await store.rejected_by_platforms(choice.sink, limit=1):
        return
    kept = {row.sink for _, row in await store.rejected_by_platforms(limit=1_000_000)}
    _known(choice.sink, kept | {sink.name for sink in settings.sinks}, settings)


def _known(sink: str, names: Set[str], settings: Settings) -> None:
    if sink not in names:
        there = f"wanted one of {', '.join(sorted(names))}" if names else f"{settings.file} names none"
        raise QuarantineError(f"found platform {sink!r}, {there}")
