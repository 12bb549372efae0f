"""What the ledger says was spent in a stretch of days: by deployment, board, class and day (UTC)."""

from __future__ import annotations

from sqlalchemy import Connection, case, func, select

from peilmerk_gateway.store import schema
from peilmerk_gateway.store.rows import SpentLine
from peilmerk_protocol import topics
from peilmerk_protocol.profile import DAY_S


def spent(
    connection: Connection, first_day: int, last_day: int, deployment: str | None = None
) -> list[SpentLine]:
    """Return what was spent from one day to another, both included (days since 1970-01-01), of one
    deployment or of all, in the order of deployment, class, day and board.
    """
    ledger = schema.ledger.c
    day = (ledger.window_start // DAY_S).label("day")
    keys = (ledger.deployment, ledger.quantity, day, ledger.device_id)
    of_window = case((ledger.kind == topics.REPORT, ledger.epsilon_micro), else_=0)
    statement = (
        select(
            *keys,
            func.sum(case((ledger.kind == topics.REPORT, 1), else_=0)),
            func.sum(of_window),
            func.max(of_window),
            func.sum(case((ledger.kind == topics.DAY, ledger.epsilon_micro), else_=0)),
        )
        .where(ledger.window_start >= first_day * DAY_S, ledger.window_start < (last_day + 1) * DAY_S)
        .group_by(*keys)
        .order_by(*keys)
    )
    if deployment is not None:
        statement = statement.where(ledger.deployment == deployment)
    return [
        SpentLine(name, device_id, quantity, int(number), int(windows), int(total), int(dearest), int(of_day))
        for name, quantity, number, device_id, windows, total, dearest, of_day in connection.execute(
            statement
        )
    ]
