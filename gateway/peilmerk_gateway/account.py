"""Account: what an admitted report costs, and what of it may be kept.

A count arrives with its noise in it, and the device has spent its epsilon whatever becomes of the figure: so
every count has its line in the ledger, also one that is withheld. A count whose noisy figure is below the
threshold is withheld, which is processing of what is already noisy and costs nothing more; the figure itself
is forgotten here. Physical figures pass as they are.

The day's total is a release of its own with an epsilon of its own; it is accounted when it is released.
"""

from __future__ import annotations

from peilmerk_gateway.admit import Admitted
from peilmerk_gateway.deployments.mandate import Stream
from peilmerk_gateway.store.rows import Entry, LedgerRow, ObservationRow, ReportRow, WithheldRow
from peilmerk_protocol import quantities

BELOW_K = "below-k"


def account(admitted: Admitted) -> Entry:
    """Return everything that a report writes: the same report, the same rows."""
    report, mandate = admitted.report, admitted.mandate
    samples = report.values.get(quantities.SAMPLES, (None,))[0]
    observations: list[ObservationRow] = []
    withheld: list[WithheldRow] = []
    ledger: list[LedgerRow] = []
    for number, value in report.values.items():
        stream = mandate.streams.get(number)
        if stream is None:
            continue  # the number of samples, which goes along with every mean
        if stream.quantity.is_count:
            ledger.append(_line(admitted, number))
            if value[0] < mandate.k:
                withheld.append(WithheldRow(stream.key, admitted.window_start, BELOW_K))
                continue
        observations.append(_observation(admitted, stream, value, samples))
    row = ReportRow(
        device_id=admitted.device_id,
        seq=report.seq,
        window_start=admitted.window_start,
        window_s=mandate.window_s,
        revision=report.revision,
        health=report.health,
        digest=None if withheld else admitted.digest,
    )
    return Entry(row, tuple(observations), tuple(withheld), tuple(ledger))


def _line(admitted: Admitted, number: int) -> LedgerRow:
    mandate = admitted.mandate
    return LedgerRow(
        mandate.deployment, admitted.device_id, number, admitted.window_start, mandate.epsilon_micro
    )


def _observation(
    admitted: Admitted, stream: Stream, value: tuple[int, ...], samples: int | None
) -> ObservationRow:
    mandate, quantity = admitted.mandate, stream.quantity
    is_mean = quantity.kind == quantities.KIND_MEAN
    return ObservationRow(
        datastream=stream.key,
        deployment=mandate.deployment,
        thing=mandate.thing,
        device_id=admitted.device_id,
        quantity=quantity.number,
        window_start=admitted.window_start,
        window_s=mandate.window_s,
        result=value[0],
        spread=value[1] if is_mean else None,
        samples=samples if is_mean else None,
        noise_scale=mandate.noise_scale if quantity.is_count else None,
        is_public=stream.is_public,
    )
