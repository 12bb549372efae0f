"""Account: what an admitted report costs, and what of it may be kept.

A count arrives with its noise in it, and the device has spent its epsilon whatever becomes of the figure: so
every count has its line in the ledger, also one that is withheld. A count whose noisy figure is below the
threshold is withheld, which is processing of what is already noisy and costs nothing more; the figure itself
is forgotten here. Physical figures pass as they are.

The day's total of a count is a release of its own, with noise of its own and a ledger line of its own, and
it is a figure of a datastream of its own. One that does not cover the whole day is withheld: nobody could
compare it. The sum of the windows and the total of the day are weighed into one figure (by the inverse of
their variances, which costs nothing more) where both are, in the store; on what terms is said here, by
`Levels`, and see `peilmerk_gateway.two_levels`.

Extremes and completeness are not figures of their own: they say of a mean how it came about, like its spread
and its number of samples, and go along with it.
"""

from __future__ import annotations

from typing import Any

from peilmerk_gateway.admit import Admitted
from peilmerk_gateway.deployments.mandate import Stream
from peilmerk_gateway.store.rows import Entry, LedgerRow, Levels, ObservationRow, ReportRow, WithheldRow
from peilmerk_protocol import quantities, topics
from peilmerk_protocol.report import HEALTH_PARTIAL

BELOW_K = "below-k"
PARTIAL_DAY = "partial-day"


def account(admitted: Admitted) -> Entry:
    """Return everything that a report writes: the same report, the same rows."""
    report, mandate = admitted.report, admitted.mandate
    is_day = admitted.kind == topics.DAY
    observations: list[ObservationRow] = []
    withheld: list[WithheldRow] = []
    ledger: list[LedgerRow] = []
    levels: list[Levels] = []
    for number, value in report.values.items():
        stream = mandate.observed.get(number)
        if stream is None:
            continue  # what goes along with a mean
        if stream.quantity.is_count:
            ledger.append(_line(admitted, number))
            key = stream.day_key if is_day else stream.key
            reason = _against(admitted, value[0])
            if reason is not None:
                withheld.append(WithheldRow(key, admitted.window_start, reason))
                continue
            observations.append(_count(admitted, stream, key, value[0]))
            if is_day and mandate.epsilon_leaf:
                levels.append(_levels(admitted, stream))
        else:
            observations.append(_measurement(admitted, stream, value))
    row = ReportRow(
        device_id=admitted.device_id,
        seq=report.seq,
        window_start=admitted.window_start,
        window_s=admitted.window_s,
        revision=report.revision,
        health=report.health,
        digest=None if withheld else admitted.digest,
        kind=admitted.kind,
    )
    return Entry(row, tuple(observations), tuple(withheld), tuple(ledger), tuple(levels))


def _against(admitted: Admitted, noisy: int) -> str | None:
    """Say why a noisy count may not be kept, or None."""
    if admitted.kind == topics.DAY and admitted.report.health & HEALTH_PARTIAL:
        return PARTIAL_DAY
    return BELOW_K if noisy < admitted.mandate.k else None


def _line(admitted: Admitted, number: int) -> LedgerRow:
    mandate, kind = admitted.mandate, admitted.kind
    price = mandate.epsilon_micro(admitted.kind)
    return LedgerRow(mandate.deployment, admitted.device_id, number, admitted.window_start, price, kind)


def _count(admitted: Admitted, stream: Stream, key: str, noisy: int) -> ObservationRow:
    # By place and without `_observation`: a city's counters bring hundreds of millions of these.
    mandate = admitted.mandate
    return ObservationRow(
        key,
        mandate.deployment,
        mandate.thing,
        admitted.device_id,
        stream.quantity.number,
        admitted.window_start,
        admitted.window_s,
        noisy,
        None,
        None,
        mandate.noise_scale(admitted.kind),
        None,
        None,
        None,
        stream.is_public,
        _publish_after(admitted),
    )


def _levels(admitted: Admitted, stream: Stream) -> Levels:
    mandate = admitted.mandate
    return Levels(
        stream.day_key,
        stream.key,
        mandate.window_s,
        mandate.epsilon_micro(),
        mandate.epsilon_leaf,
        mandate.epsilon_day,
    )


def _measurement(admitted: Admitted, stream: Stream, value: tuple[int, ...]) -> ObservationRow:
    if stream.quantity.kind != quantities.KIND_MEAN:
        return _observation(admitted, stream, value[0], stream.key)
    values = admitted.report.values
    lowest, highest = next(
        (found for number, found in values.items() if _is_extremes_of(number, stream)), (None, None)
    )
    return _observation(
        admitted,
        stream,
        value[0],
        stream.key,
        spread=value[1],
        samples=values.get(quantities.SAMPLES, (None,))[0],
        minimum=lowest,
        maximum=highest,
        completeness=values.get(quantities.COMPLETENESS, (None,))[0],
    )


def _is_extremes_of(number: int, stream: Stream) -> bool:
    is_extremes = quantities.kind(number) == quantities.KIND_EXTREMES
    return is_extremes and quantities.mean_of(number) == stream.quantity.number


def _observation(admitted: Admitted, stream: Stream, result: int, key: str, **beside: Any) -> ObservationRow:
    mandate = admitted.mandate
    return ObservationRow(
        datastream=key,
        deployment=mandate.deployment,
        thing=mandate.thing,
        device_id=admitted.device_id,
        quantity=stream.quantity.number,
        window_start=admitted.window_start,
        window_s=admitted.window_s,
        result=result,
        is_public=stream.is_public,
        publish_after=_publish_after(admitted),
        **beside,
    )


def _publish_after(admitted: Admitted) -> float:
    """Return from when on anybody may be told, unix seconds; nought for at once."""
    hold_s = admitted.mandate.hold_s
    return float(admitted.window_start + admitted.window_s + hold_s) if hold_s else 0.0
