"""Read what happened: totals, the last windows of a datastream, the day's budget, when a device was last
heard.

Totals come from the table `tally`: received, redelivered, reports, days, statements, observations, withheld,
answers, refused:<reason>, published:<sink>, dropped:<sink>, barred:<device>, quarantine:<what>.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, case, exists, func, select

from peilmerk_gateway.refusal import Refusal
from peilmerk_gateway.store import commands, device_streams, quarantine, quota, schema
from peilmerk_gateway.store.rows import AttestationRow, BudgetLine, Figures, Seen, SinkFigures, Window
from peilmerk_protocol import topics

DAY_S = 86_400


def figures(connection: Connection, sinks: Sequence[str] = ()) -> Figures:
    """Return the totals; `sinks` are those to show even when nothing went there yet."""
    rows = connection.execute(select(schema.tally.c.name, schema.tally.c.n))
    tally: dict[str, int] = {row.name: row.n for row in rows}
    outbox = schema.publish_outbox.c
    states: dict[tuple[str, str], int] = {
        (sink, state): n
        for sink, state, n in connection.execute(
            select(outbox.sink, outbox.state, func.count())
            .where(schema.unfinished)
            .group_by(outbox.sink, outbox.state)
        )
    }
    published = _with_prefix(tally, "published:")
    dropped = _with_prefix(tally, "dropped:")
    names = sorted({*sinks, *published, *dropped, *(sink for sink, _ in states)})
    return Figures(
        received=tally.get("received", 0),
        redelivered=tally.get("redelivered", 0),
        reports=tally.get("reports", 0),
        days=tally.get("days", 0),
        statements=tally.get("statements", 0),
        observations=tally.get("observations", 0),
        withheld=tally.get("withheld", 0),
        parked=connection.execute(select(func.count()).select_from(schema.parked)).scalar_one(),
        answers=tally.get("answers", 0),
        commands=commands.by_state(connection),
        refused=_with_prefix(tally, "refused:"),
        quarantined=quarantine.by_reason(connection),
        quarantine=_with_prefix(tally, "quarantine:"),
        barred=_with_prefix(tally, "barred:"),
        sinks={
            sink: SinkFigures(
                published=published.get(sink, 0),
                waiting=states.get((sink, schema.WAITING), 0),
                sending=states.get((sink, schema.SENDING), 0),
                rejected=states.get((sink, schema.REJECTED), 0),
                dropped=dropped.get(sink, 0),
                oldest_waiting=quota.oldest(connection, sink),
            )
            for sink in names
        },
    )


def _with_prefix(tally: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(tally.items()) if name.startswith(prefix)}


def latest(connection: Connection, datastream: str, n: int) -> list[Window]:
    """Return the last `n` windows of a datastream, oldest first, withheld ones among them without figure."""
    observation, outbox, withheld = schema.observation.c, schema.publish_outbox.c, schema.withheld.c
    published = exists().where(outbox.observation_id == observation.id, outbox.state == schema.DONE)
    windows = [
        Window(*row)
        for row in connection.execute(
            select(
                observation.window_start,
                observation.window_s,
                observation.result,
                observation.spread,
                observation.samples,
                observation.noise_scale,
                published,
            )
            .where(device_streams.is_of(datastream))
            .order_by(observation.window_start.desc())
            .limit(n)
        )
    ]
    # Of a window that two boards tell of, one of them in the other's place, the figure stands.
    told = {window.window_start for window in windows}
    for start, reason in connection.execute(
        select(withheld.window_start, withheld.reason)
        .where(withheld.datastream == datastream)
        .order_by(withheld.window_start.desc(), withheld.device_id)
        .limit(2 * n)
    ):
        if start not in told:
            told.add(start)
            windows.append(Window(window_start=start, window_s=None, result=None, reason=reason))
    windows.sort(key=lambda window: window.window_start)
    return windows[-n:]


def budget_of_day(connection: Connection, now: float) -> list[BudgetLine]:
    """Return what was spent on windows that began on the day (UTC) of `now`."""
    start = int(now // DAY_S) * DAY_S
    ledger = schema.ledger.c
    keys = (ledger.deployment, ledger.device_id, ledger.quantity)
    of_window = case((ledger.kind == topics.REPORT, ledger.epsilon_micro), else_=0)
    statement = (
        select(
            *keys,
            func.sum(case((ledger.kind == topics.REPORT, 1), else_=0)),
            func.sum(of_window),
            func.max(of_window),
            func.sum(case((ledger.kind == topics.DAY, ledger.epsilon_micro), else_=0)),
        )
        .where(ledger.window_start >= start, ledger.window_start < start + DAY_S)
        .group_by(*keys)
        .order_by(*keys)
    )
    return [
        BudgetLine(deployment, device_id, quantity, int(windows), int(total), int(dearest), int(day))
        for deployment, device_id, quantity, windows, total, dearest, day in connection.execute(statement)
    ]


def seen(connection: Connection, device_ids: Sequence[str]) -> dict[str, Seen]:
    """Return the newest admitted window of each of these devices; a device never heard of is left out."""
    report = schema.report.c
    found = {}
    for device_id in device_ids:
        row = connection.execute(
            select(report.device_id, report.window_start, report.window_s, report.health, report.admitted_at)
            .where(report.device_id == device_id, report.kind == topics.REPORT)
            .order_by(report.window_start.desc())
            .limit(1)
        ).first()
        if row is not None:
            found[device_id] = Seen(*row)
    return found


def stated(connection: Connection, device_ids: Sequence[str]) -> dict[str, AttestationRow]:
    """Return the last statement of each of these devices; a device that made none is left out."""
    attestation = schema.attestation.c
    columns = [getattr(attestation, name) for name in AttestationRow._fields]
    found = {}
    for device_id in device_ids:
        row = connection.execute(
            select(*columns)
            .where(attestation.device_id == device_id)
            .order_by(attestation.seq.desc())
            .limit(1)
        ).first()
        if row is not None:
            found[device_id] = AttestationRow(*row)
    return found


def last_refusals(connection: Connection, n: int) -> list[Refusal]:
    """Return the last `n` refusals, newest first."""
    refusal = schema.refusal.c
    statement = (
        select(refusal.reason, refusal.device_id, refusal.size, refusal.at)
        .order_by(refusal.id.desc())
        .limit(n)
    )
    return [Refusal(*row) for row in connection.execute(statement)]
