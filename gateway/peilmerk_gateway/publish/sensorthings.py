"""Publishes to an OGC SensorThings 1.1 service (OGC 18-088), by CreateObservations with data arrays.

A datastream and `resultTime` tell an observation from every other of ours, so they are what a row is looked
up by: unlike an interval, an instant compares alike on every service. Whether a service takes an interval as
`phenomenonTime` is learnt from the first row and kept.

A service answers for each row of a data array by itself; some say no to a whole group because of one row.
What was refused without a cause is therefore sent again in halves, down to single rows, and up to three
times, before it counts as refused. A service that says no to everything is not asked forever: after `_DRY`
requests without one success, the rest waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from peilmerk_gateway.publish import Description, OutboxRow, Outcome, PublishError, Unavailable, Verdict
from peilmerk_gateway.publish.sensorthings_entities import Entities
from peilmerk_gateway.publish.sensorthings_http import Denied, Lost, Service, id_of, values
from peilmerk_gateway.publish.sensorthings_observations import (
    COMPONENTS,
    Style,
    cells,
    iso,
    outcome,
    times_and_id,
)
from peilmerk_gateway.settings import SinkSettings
from peilmerk_gateway.store import Store

BATCH_ROWS = 500
SETTLE_S = 5.0

_STYLE = "phenomenonTime"
_LEARN_FROM = 3
_LOOKUP_ROWS = 50
_PAGE = 100
_PAUSES_S = (0.0, 0.5, 2.0)
_DRY = 24


@dataclass
class _Run:
    """What is known while one batch is sent: the outcomes so far, the requests since anything was taken, and
    the rows that were sent alone."""

    style: Style
    book: dict[int, Outcome] = field(default_factory=dict)
    dry: int = 0
    alone: set[int] = field(default_factory=set)

    @property
    def cut_short(self) -> bool:
        """Whether a row has to wait or its fate is open."""
        return any(out.verdict in (Verdict.AGAIN, Verdict.DOUBT) for out in self.book.values())

    @property
    def in_trouble(self) -> bool:
        """Whether nothing more may be sent now."""
        return self.dry >= _DRY or self.cut_short

    def write(
        self,
        rows: Sequence[OutboxRow],
        verdict: Verdict,
        reason: str,
        *,
        certain: bool = True,
        retry_after_s: float = 0.0,
    ) -> None:
        """Write the same outcome for several rows."""
        for row in rows:
            self.book[row.observation_id] = Outcome(
                row.observation_id, verdict, reason=reason, certain=certain, retry_after_s=retry_after_s
            )

    def done(self, row: OutboxRow) -> bool:
        """Whether the service has the row."""
        known = self.book.get(row.observation_id)
        return known is not None and known.verdict is Verdict.DONE

    def refused(self, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Those of the rows that were refused without a cause."""
        found = []
        for row in rows:
            known = self.book.get(row.observation_id)
            if known is not None and known.verdict is Verdict.REFUSED and not known.certain:
                found.append(row)
        return found


def open_sink(settings: SinkSettings, store: Store) -> SensorThingsSink:
    """Make the sink that a `[[sinks]]` table asks for. Raises PublishError for a kind that there is not."""
    if settings.kind != "sensorthings":
        raise PublishError(f"found sink {settings.name!r} of kind {settings.kind!r}, wanted sensorthings")
    return SensorThingsSink(settings.name, Service(str(settings.url), settings.token_file), store)


class SensorThingsSink:
    """One SensorThings service. `settle_s` and `batch_rows`: see `Sink`."""

    def __init__(
        self,
        name: str,
        service: Service,
        store: Store,
        *,
        settle_s: float = SETTLE_S,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._name = name
        self._batch_rows = batch_rows
        self._settle_s = settle_s
        self._service = service
        self._entities = Entities(service, store, name, settle_s)
        self._about: dict[str, Description] = {}

    @property
    def name(self) -> str:
        """See `Sink.name`."""
        return self._name

    @property
    def batch_rows(self) -> int:
        """See `Sink.batch_rows`."""
        return self._batch_rows

    @property
    def settle_s(self) -> float:
        """See `Sink.settle_s`."""
        return self._settle_s

    async def prepare(self, datastreams: Sequence[Description]) -> Mapping[str, str]:
        """See `Sink.prepare`."""
        barred = {}
        for about in datastreams:
            self._about[about.datastream] = about
            try:
                await self._entities.datastream(about)
            except Denied as no:
                # What it stands on may have been removed over there: ask for all of it the next time.
                await self._entities.forget(about)
                barred[about.datastream] = f"the platform does not take this datastream: {no.reason}"
        return barred

    async def send(self, rows: Sequence[OutboxRow]) -> Sequence[Outcome]:
        """See `Sink.send`."""
        style = await self._entities.note(_STYLE)
        rows = [row for group in _by_datastream(rows) for row in group]
        run = _Run(Style.INTERVAL if style is None else Style(style))
        await self._deliver(list(rows) if style else await self._learn(rows, run), run)
        for group in _by_datastream(run.refused(rows)):
            await self._check_datastream(group, rows, run)
        for pause in _PAUSES_S:
            refused = run.refused(rows)
            if not refused or run.in_trouble:
                break
            await asyncio.sleep(pause)
            for group in _by_datastream(refused):
                await self._narrow(group, run)
        if run.in_trouble:
            # Refused in company, or before the service went away: that is no verdict on the row.
            judged = set() if run.cut_short else run.alone
            for row in run.refused(rows):
                if row.observation_id not in judged:
                    run.write([row], Verdict.AGAIN, run.book[row.observation_id].reason)
        return [run.book[row.observation_id] for row in rows]

    async def find(self, rows: Sequence[OutboxRow]) -> Mapping[int, str]:
        """See `Sink.find`."""
        there: dict[int, str] = {}
        for group in _by_datastream(rows):
            datastream = await self._entities.current(group[0].datastream)
            if datastream is None:
                continue  # nothing can have been sent to what never was
            wanted = {
                (row.window_start, row.window_start + row.window_s): row.observation_id for row in group
            }
            ends = sorted(end for _, end in wanted)
            for i in range(0, len(ends), _LOOKUP_ROWS):
                chunk = ends[i : i + _LOOKUP_ROWS]
                async for times, literal in self._between(datastream, chunk[0], chunk[-1]):
                    if times in wanted:
                        there[wanted[times]] = literal
        return there

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._service.close()

    async def _learn(self, rows: Sequence[OutboxRow], run: _Run) -> list[OutboxRow]:
        """Find out with single rows whether the service takes intervals; return the rows not yet sent."""
        for i, row in enumerate(rows[:_LEARN_FROM]):
            for run.style in (Style.INTERVAL, Style.START):
                await self._deliver([row], run)
                if run.done(row):
                    await self._entities.take_note(_STYLE, run.style.value)
                if run.done(row) or run.in_trouble:
                    return list(rows[i + 1 :])
        run.style = Style.INTERVAL
        return list(rows[_LEARN_FROM:])

    async def _deliver(self, rows: Sequence[OutboxRow], run: _Run) -> None:
        """Send rows in one request and write down their outcomes; in trouble, send nothing."""
        if not rows:
            return
        if run.in_trouble:
            unsent = [row for row in rows if row.observation_id not in run.book]
            run.write(unsent, Verdict.AGAIN, "held back: what was sent before it has no certain fate yet")
            return
        run.dry += 1
        if len(rows) == 1:
            run.alone.add(rows[0].observation_id)
        try:
            _, answers = await self._service.post("CreateObservations", await self._body(rows, run.style))
        except Unavailable as away:
            run.write(rows, Verdict.AGAIN, away.reason, retry_after_s=away.retry_after_s)
        except Lost as lost:
            if lost.failed:
                await self._ask(rows, run, lost.reason)
            else:
                run.write(rows, Verdict.DOUBT, lost.reason, retry_after_s=lost.retry_after_s)
        except Denied as no:
            if no.status in (404, 405):
                run.write(rows, Verdict.AGAIN, f"the platform has no CreateObservations ({no.status})")
            elif len(rows) == 1:
                run.write(rows, Verdict.REFUSED, no.reason)
            else:
                await self._ask(rows, run, no.reason)
        else:
            if not isinstance(answers, list) or len(answers) != len(rows):
                found = len(answers) if isinstance(answers, list) else "no list of"
                run.write(rows, Verdict.DOUBT, f"found {found} answers, wanted {len(rows)}")
                return
            for row, answer in zip(rows, answers, strict=True):
                run.book[row.observation_id] = outcome(row, answer)
                if run.done(row):
                    run.dry = 0

    async def _ask(self, rows: Sequence[OutboxRow], run: _Run, reason: str) -> None:
        """After a no to the request as a whole: which of its rows are there all the same?"""
        run.write(rows, Verdict.REFUSED, reason, certain=False)
        try:
            there = await self.find(rows)
        except Unavailable as away:
            run.write(rows, Verdict.DOUBT, away.reason, retry_after_s=away.retry_after_s)
            return
        for observation_id, literal in there.items():
            run.book[observation_id] = Outcome(observation_id, Verdict.DONE, remote_id=literal)

    async def _narrow(self, rows: Sequence[OutboxRow], run: _Run) -> None:
        """Send refused rows of one datastream again: the whole, then the halves of what is still refused."""
        await self._deliver(rows, run)
        refused = run.refused(rows)
        if len(rows) > 1 and not run.in_trouble:
            middle = (len(refused) + 1) // 2
            for half in (refused[:middle], refused[middle:]):
                if half:
                    await self._narrow(half, run)

    async def _check_datastream(
        self, refused: Sequence[OutboxRow], rows: Sequence[OutboxRow], run: _Run
    ) -> None:
        """When nothing of a datastream was taken: is it still there? If not, it is made anew next time."""
        key = refused[0].datastream
        if any(run.done(row) for row in rows if row.datastream == key):
            return
        try:
            known = await self._entities.current(key)
            if known is None or await self._entities.exists("Datastreams", known):
                return
        except Unavailable as away:
            run.write(refused, Verdict.AGAIN, away.reason, retry_after_s=away.retry_after_s)
            return
        await self._entities.forget(self._about[key])
        run.write(refused, Verdict.AGAIN, "the datastream was removed on the platform")

    async def _body(self, rows: Sequence[OutboxRow], style: Style) -> list[dict[str, Any]]:
        body = []
        # The rows of a datastream lie together (see `send`); the answers come back in the order of the rows.
        for key, group in groupby(rows, key=lambda row: row.datastream):
            datastream = await self._entities.current(key)
            if datastream is None:
                raise Unavailable(f"datastream {key} was not prepared")
            body.append(
                {
                    "Datastream": {"@iot.id": id_of(datastream)},
                    "components": list(COMPONENTS),
                    "dataArray": [cells(row, style) for row in group],
                }
            )
        return body

    async def _between(
        self, datastream: str, first_end: int, last_end: int
    ) -> AsyncIterator[tuple[tuple[int, int], str]]:
        """Yield ((start, end), id) of a datastream's observations whose window ends within these bounds."""
        # Below the datastream's own path: a filter on its id silently finds nothing where ids are written
        # otherwise.
        path = f"Datastreams({datastream})/Observations"
        query = {
            "$filter": f"resultTime ge {iso(first_end)} and resultTime le {iso(last_end)}",
            "$orderby": "resultTime asc",
            "$top": str(_PAGE),
        }
        skip = 0
        while True:
            try:
                answer = await self._service.get(path, query | {"$skip": str(skip)})
            except Denied as no:
                if no.status == 404:
                    return
                raise Unavailable(f"cannot look up observations: {no.reason}") from no
            found = values(answer)
            for entity in found:
                yield times_and_id(entity)
            if not found or "@iot.nextLink" not in answer:
                return
            skip += len(found)


def _by_datastream(rows: Sequence[OutboxRow]) -> Iterator[list[OutboxRow]]:
    groups: dict[str, list[OutboxRow]] = {}
    for row in rows:
        groups.setdefault(row.datastream, []).append(row)
    yield from groups.values()
