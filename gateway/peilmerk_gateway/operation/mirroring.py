"""A gateway's care for its store's mirror: before the store is opened, and while it runs.

See `store.mirror` for what it is, and `store.mend` for what it is for.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import structlog

from peilmerk_gateway.store import Store, StoreDamaged, StoreError, mend, mirror, salvage
from peilmerk_gateway.store.mirror import MirrorError
from peilmerk_gateway.store.salvage import SalvageError
from peilmerk_gateway.store_place import Place

LOOK_S = 5.0
# After it could not be made, for want of room perhaps.
AGAIN_S = 600.0
# When every page is held against the mirror: soon after the start, and then once a day. Not upon the hours of
# retention, which gives space back then and so writes into the store's file.
FIRST_LOOK_S, COMPARE_S = 5_400.0, 86_400.0

_log = structlog.get_logger(__name__)


def see_to(place: Place, wanted: bool, now: float) -> None:
    """Put a store whole that was found damaged, and see that it has the mirror that is wanted, or none.

    Nobody else may have the store open. Raises StoreError when the store is gone and its mirror is there,
    StoreDamaged when it is damaged and what is in the way of putting it right may pass, such as a full disk.
    """
    if not isinstance(place, Path):
        return
    try:
        if salvage.finish(place, now):
            _log.warning("the store is whole again, which was begun at an earlier start")
        # What an earlier start was killed over: it has figures in it, which are deleted elsewhere only.
        salvage.remove_drafts(place)
        mirror.remove_draft(place)
    except OSError as reason:
        raise StoreDamaged(f"{place}: cannot be put in order yet: {reason}") from reason
    if salvage.is_marked(place):
        _put_whole(place, now)
    try:
        if not wanted:
            mirror.remove(place)
            return
        mirror.folder_of(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        # A mirror of what is damaged would be none.
        if not salvage.is_in_vain(place):
            mend.settle(place)
    except StoreDamaged as reason:
        _log.error("the store is damaged", reason=str(reason))
        salvage.mark(place)
        _put_whole(place, now)
    except (MirrorError, OSError) as reason:
        # It runs without one meanwhile, and tries again.
        _log.error("the store has no mirror", reason=str(reason))


def _put_whole(file: Path, now: float) -> None:
    try:
        mended = mend.from_mirror(file, now)
    except SalvageError as reason:
        _log.warning("the store is not put whole from its mirror", reason=str(reason))
    except MirrorError as reason:
        _log.error("the store has no mirror", reason=str(reason))
        return
    except (StoreError, OSError) as reason:
        # What may pass: whoever supervises it starts it anew.
        raise StoreDamaged(f"{file}: is to be put whole, and cannot be yet: {reason}") from reason
    else:
        _log.warning(
            "the store is whole again, from its mirror", pages=mended.pages, damaged_one=str(mended.kept)
        )
        return
    _log.warning("reading the tables of the damaged store into a new file", file=str(file))
    try:
        done = salvage.salvage(file)
    except SalvageError as reason:
        _log.error(
            "the store cannot be made whole, it is held",
            reason=str(reason),
            what_to_do="stop the gateway, put store.db and mirror away, and the last backup in their place: "
            "peilmerk gateway restore",
        )
    except (StoreError, OSError) as reason:
        raise StoreDamaged(f"{file}: is to be made whole, and cannot be yet: {reason}") from reason
    else:
        _log.warning("the store is whole again", rows=done.rows, damaged_one=str(done.kept))
        with suppress(MirrorError, OSError):  # tried again by `keep_mirror`
            mirror.make(file)


async def keep_mirror(store: Store, stop: asyncio.Event) -> None:
    """Keep the mirror of a store that this gateway has opened, and make it anew where there is none."""
    ours = store.mirror
    if ours is None or not store.is_mirrored:
        await stop.wait()
        return
    # Comparing a large store takes minutes, and a gateway ends within seconds.
    reader = mirror.Reader()
    ending = asyncio.create_task(stop.wait())
    ending.add_done_callback(lambda _: reader.end())
    try:
        await _keep(store, ours, reader, stop)
    finally:
        ending.cancel()


async def _keep(store: Store, ours: mirror.Mirror, reader: mirror.Reader, stop: asyncio.Event) -> None:
    file = Path(store.url.database or "")
    ours.wanted |= mirror.told(file) != mirror.IN_STEP
    before = mirror.IN_STEP
    compare_at = time.monotonic() + FIRST_LOOK_S
    while not stop.is_set():
        pause = LOOK_S
        now = mirror.told(file)
        # Only at the second look: in the middle of a checkpoint it is in doubt for a moment.
        ours.wanted |= mirror.IN_STEP not in (now, before)
        before = now
        try:
            if not ours.keeps:
                ours.take()
            if ours.wanted and ours.keeps:
                await _renew(store, ours, reader)
            elif ours.keeps and time.monotonic() >= compare_at:
                if await compare(store, reader) is None:
                    pause = AGAIN_S
                else:
                    compare_at = time.monotonic() + COMPARE_S
        except (MirrorError, StoreError, OSError) as reason:
            if stop.is_set():
                return
            _log.error("the store's mirror: trying again", reason=str(reason))
            if mirror.state(file) is None:
                with suppress(OSError):
                    mirror.drop(file, str(reason))
            pause = AGAIN_S
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


async def compare(store: Store, reader: mirror.Reader | None = None) -> bool | None:
    """Hold every page of a store that is open against its mirror; return whether all are the same, None where
    that cannot be told: there is no mirror in step, or somebody wrote into either file meanwhile.

    SQLite finds a damaged page only when it reads it, and a changed byte in a row not even then. Where pages
    differ, the store is held against itself and its audit trail: if it is whole, its mirror is made anew;
    else the store is put right when the gateway is started anew. Raises MirrorError, StoreError.
    """
    ours, file = store.mirror, Path(store.url.database or "")
    reader = reader or mirror.Reader()
    if ours is None or mirror.told(file) != mirror.IN_STEP:
        return None
    ours.is_read = True
    try:
        pages = await asyncio.to_thread(mend.differing_in_use, file, reader)
    finally:
        ours.is_read = False
    if pages is None:
        return None
    if pages:
        fault = await asyncio.to_thread(mend.fault_in_use, file, reader, trail=True)
        which = "the mirror" if fault is None else "the store"
        _log.error("the store differs from its mirror", pages=len(pages), damaged=which, fault=fault)
        if fault is not None:
            store.damage.set()
        else:
            ours.wanted = True
    return not pages


async def _renew(store: Store, ours: mirror.Mirror, reader: mirror.Reader) -> None:
    file = Path(store.url.database or "")
    # What is damaged is not to take the place of what is whole.
    if (fault := await asyncio.to_thread(mend.fault_in_use, file, reader, trail=False)) is not None:
        store.damage.set()
        raise MirrorError(f"{file}: a page of the store is damaged: {fault}")
    ours.is_read = True
    try:
        made = await asyncio.to_thread(mirror.make, file, reader)
    finally:
        ours.is_read = False
    if made:
        ours.wanted = False
        await store.mirror_now()
        _log.info("the store has a mirror")
