"""Brings a gateway's store and registry to this version's tables, or tells that it is due.

A start does the same. Apart from it, it can be done when there is time for it, and be asked for before.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from peilmerk_gateway import registry as registry_file
from peilmerk_gateway.child import Lease
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import engine


@dataclass(frozen=True, slots=True)
class Versions:
    """The store's revision and the registry's version: found, and wanted by this peilmerk."""

    store: str | None
    store_wanted: str | None
    registry: int
    registry_wanted: int

    @property
    def due(self) -> bool:
        """Whether something is to be brought along."""
        return (self.store, self.registry) != (self.store_wanted, self.registry_wanted)


def versions(settings: Settings) -> Versions:
    """Return what there is, changing nothing. Raises StoreError when there is no store."""
    engine.check_there(settings.store_place)
    opened = engine.open_engine(settings.store_place, writer=False)
    try:
        found, wanted = engine.revisions(opened)
    finally:
        opened.dispose()
    version = registry_file.SCHEMA_VERSION
    if settings.gateway.registry.is_file():
        with closing(sqlite3.connect(f"file:{settings.gateway.registry}?mode=ro", uri=True)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
    return Versions(found, wanted, version, registry_file.SCHEMA_VERSION)


def migrate(settings: Settings) -> tuple[Versions, Versions]:
    """Bring store and registry along; return what there was and what there is.

    Raises PeilmerkError: no store, a newer one, or a gateway that runs on it.
    """
    before = versions(settings)
    # Held against a gateway of the version before, which would go on with the tables it knows.
    lease = Lease(settings.gateway.data_dir / "broker")
    try:
        opened = engine.open_engine(settings.store_place, writer=True)
        try:
            engine.migrate(opened)
        finally:
            opened.dispose()
        Registry(settings.gateway.registry).close()
    finally:
        lease.release()
    return before, versions(settings)
