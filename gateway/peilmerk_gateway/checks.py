"""What can be told about a gateway from outside: whether it could run, and what it has done so far."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from peilmerk_gateway import retention, secret_files
from peilmerk_gateway.broker import program_path
from peilmerk_gateway.broker_access import (
    cluster_access,
    ensure_broker_trust,
    ensure_cluster_trust,
    mqtt_access,
)
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.deployment import RecordError
from peilmerk_gateway.deployments.history import FOLDER as HISTORY
from peilmerk_gateway.deployments.history import History, Texts
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.operation import ports
from peilmerk_gateway.registry import Registry
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.store import Store, engine, mirror
from peilmerk_gateway.store.records import RecordsEntry
from peilmerk_gateway.store_place import Database
from peilmerk_gateway.trust import ensure_trust
from peilmerk_protocol.profile import DAY_S
from peilmerk_protocol.quantities_names import by_number


async def check_gateway(settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Return the report of a check and everything that speaks against running, as sentences.

    Makes what a first start would make: registry, certificates.
    """
    complaints: list[str] = []
    devices = actions = 0
    told: Sequence[RecordsEntry] = ()
    try:
        with Registry(settings.gateway.registry) as registry:
            devices = sum(not device.revoked for device in registry.all())
            actions = registry.trail_head()[0]
    except PeilmerkError as reason:
        complaints.append(str(reason))
    own = (program_path, lambda: ensure_trust(settings))
    others = (lambda: ensure_broker_trust(settings), lambda: mqtt_access(settings))
    cluster = (lambda: ensure_cluster_trust(settings), lambda: cluster_access(settings))
    for part in {"nats": own, "mqtt": others, "nats-cluster": cluster}[settings.broker.kind]:
        try:
            await asyncio.to_thread(part)
        except PeilmerkError as reason:
            complaints.append(str(reason))
    place = settings.store_place
    try:
        if await asyncio.to_thread(engine.is_there, place):
            async with await Store.look(place) as store:
                await store.ping()
                complaints += [f"{place}: malformed: {found}" for found in await store.damaged()]
                told = await store.records_told()
                if store.is_shared and actions < (wanted := await store.registry_told()):
                    complaints.append(
                        f"{settings.gateway.registry}: found a registry of {actions} actions, wanted at "
                        f"least {wanted}, as the store's audit trail tells: it is an older copy"
                    )
    except PeilmerkError as reason:
        complaints.append(str(reason))
    tokens = [("sinks", sink.token_file, f"{sink.name}'s token") for sink in settings.sinks]
    tokens.append(("web.metrics_token_file", settings.web.metrics_token_file, "the token for the metrics"))
    for key, file, what in tokens:
        if file is not None and not file.is_file():
            complaints.append(f"{settings.file}: {key}: found no file {file}, wanted {what}")
    complaints += ports.complaints(settings)
    complaints += secret_files.complaints(settings)
    catalogue = await asyncio.to_thread(_catalogue, settings, told)
    complaints += [line for error in catalogue.broken for line in str(error).splitlines()]
    figures = {
        "devices": devices,
        "deployments": len(catalogue.deployments),
        "datastreams": len(catalogue.datastreams),
        "broken_records": len(catalogue.broken),
        "sinks": len(settings.sinks),
        "complaints": len(complaints),
    }
    limits = {"broken_records": 0, "complaints": 0}
    return {"name": "gateway check", "ok": not complaints, "figures": figures, "limits": limits}, complaints


async def gateway_status(settings: Settings) -> dict[str, Any]:
    """Return the totals of the store, what yesterday and today cost, what boards last stated, how an SQLite
    store's mirror is, and which records are broken: file, key and reason. `ok` is false where a broken record
    stops its deployment.

    Raises StoreError when there is no store yet.
    """
    sinks = [sink.name for sink in settings.sinks]
    now = settings.make_clock().now()
    with Registry(settings.gateway.registry) as registry:
        devices = [device.device_id for device in registry.all() if not device.revoked]
    async with await Store.look(settings.store_place, sinks) as store:
        figures = asdict(await store.figures())
        # The total of a day is released when the day is over, so yesterday's budget is the whole one.
        for day, at in (("yesterday", now - DAY_S), ("today", now)):
            figures[f"spent_{day}"] = {
                f"{line.deployment} {line.device_id} {by_number(line.quantity).name}": {
                    "windows": line.windows,
                    "epsilon_of_windows": line.epsilon_sum_micro / 1_000_000,
                    "epsilon_of_day": line.epsilon_day_micro / 1_000_000,
                }
                for line in await store.budget_today(at)
            }
        figures["stated"] = {
            device_id: {"profile": row.revision, "boots": row.boot_count, "uptime_s": row.uptime}
            for device_id, row in (await store.stated(devices)).items()
        }
        told = await store.records_told()
    catalogue = await asyncio.to_thread(_catalogue, settings, told)
    figures["deployments"] = len(catalogue.deployments)
    figures["broken_records"] = len(catalogue.broken)
    figures["stopped"] = {str(error.file): _stopped(error, told) for error in catalogue.broken}
    if not isinstance(place := settings.store_place, Database):
        figures["mirror"] = mirror.told(place)
    limits = {"broken_records": 0}
    return {"name": "gateway status", "ok": not catalogue.broken, "figures": figures, "limits": limits}


def _catalogue(settings: Settings, told: Sequence[RecordsEntry]) -> Catalogue:
    """Return the records as a running gateway judges them, versions too; nothing is written."""
    history = History(Texts(settings.gateway.data_dir / HISTORY), told, is_kept=False)
    return Catalogue(settings.deployments.directory, history)


def _stopped(error: RecordError, told: Sequence[RecordsEntry]) -> dict[str, Any]:
    """Say what is wrong with a record, and which deployment its file was last when it could be used."""
    facts = (entry.records.get(error.file.name, {}) for entry in reversed(told))
    known = next((found["id"] for found in facts if found.get("usable")), None)
    return {
        "deployment": known,
        "reason": str(error.reason),
        "complaints": [
            {"reason": str(one.reason), "key": one.key, "text": one.text} for one in error.complaints
        ],
    }


async def retained(settings: Settings, *, dry_run: bool, rewrite: bool) -> dict[str, Any]:
    """Delete what is older than its record says, or only count it; return what was deleted.

    Raises StoreError when there is no store yet.
    """
    now = settings.make_clock().now()
    async with await Store.look(settings.store_place) as store:
        # With their history, as in a running gateway: a change that is not in force deletes nothing.
        history = History(Texts(settings.gateway.data_dir / HISTORY), await store.records_told())
        catalogue = await asyncio.to_thread(Catalogue, settings.deployments.directory, history)
        wanted = await retention.plan(store, catalogue, now)
        expired = (0, 0)
        if dry_run:
            removed = await retention.overdue(store, catalogue, now)
        else:
            removed = await retention.retain(store, catalogue, now)
            expired = await retention.expire(store, catalogue, settings.quarantine.days, now)
        if rewrite and not dry_run:
            await store.rewrite()
    figures = asdict(removed) | {"quarantined": expired[0], "rejected": expired[1]}
    figures |= {"dry_run": dry_run, "undecided": len(wanted.undecided)}
    return {"name": "gateway retain", "ok": True, "figures": figures, "limits": {}}
