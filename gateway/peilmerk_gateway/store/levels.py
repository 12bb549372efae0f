"""Which totals of days are weighed with their windows: those of which every window is kept as a figure.

Only what is, or will be, published goes in, so the weighed total tells nothing that the published windows and
the board's own total do not. Of a day with a withheld window, or one that is still missing, the board's total
goes out as it came; either says its own standard deviation. There is one total of a day and never both: with
the board's own beside it the sum of the windows could be told apart again.

A total is decided on once, when it is stored. A window that comes later than its day's total (a broker may
bring it so) does not change it.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, func, select

from peilmerk_gateway.store import device_streams, schema
from peilmerk_gateway.store.rows import Levels, ObservationRow
from peilmerk_gateway.two_levels import weigh
from peilmerk_protocol import topics
from peilmerk_protocol.profile import DAY_S

_observation = schema.observation.c
_ledger = schema.ledger.c


def weighed(connection: Connection, day: ObservationRow, levels: Levels) -> ObservationRow:
    """Return a day's total weighed with its windows, or as it is where not every one of them is kept."""
    if DAY_S % levels.window_s:
        return day
    # By the ledger, so that windows of another epsilon, from before a change of the record, do not count.
    paid = and_(
        _ledger.deployment == _observation.deployment,
        _ledger.device_id == _observation.device_id,
        _ledger.quantity == _observation.quantity,
        _ledger.window_start == _observation.window_start,
        _ledger.kind == topics.REPORT,
        _ledger.epsilon_micro == levels.window_micro,
    )
    windows, total = connection.execute(
        select(func.count(), func.coalesce(func.sum(_observation.result), 0))
        .select_from(schema.observation.join(schema.ledger, paid))
        .where(
            device_streams.is_of(levels.windows_of),
            _observation.window_start >= day.window_start,
            _observation.window_start < day.window_start + DAY_S,
            _observation.window_s == levels.window_s,
            _observation.device_id == day.device_id,
        )
    ).one()
    if windows != DAY_S // levels.window_s:
        return day
    found = weigh(day.result, int(total), windows, levels.epsilon_leaf, levels.epsilon_day)
    return day._replace(result=found.result, noise_scale=found.deviation)
