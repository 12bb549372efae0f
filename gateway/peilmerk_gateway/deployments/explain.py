"""Say in plain sentences what a record leads to: what is published, at what detail, and why.

For an officer or a council, so there is no device id and no point in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from peilmerk_gateway.deployments import gates
from peilmerk_gateway.deployments.catalogue import Declared, declared_in
from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_protocol import quantities, topics


def explain(deployment: Deployment) -> str:
    """Return the explanation of a deployment as lines of plain text."""
    return "\n".join(_lines(deployment))


def _lines(deployment: Deployment) -> Iterator[str]:
    record = deployment.record
    yield f"{record.id}, version {record.version}: {record.location.description}"
    first = [day for day in (record.active_from, gates.notice_is_over(record)) if day is not None]
    begin = f"From {max(first).isoformat()} until" if first else "Until"
    yield f"Responsible: {record.owner.organisation}. {begin} {record.active_until.isoformat()}."
    for purpose in record.purposes:
        yield f"Purpose: {purpose.goal}"
    yield f"Personal data: {'yes' if record.contains_personal_data else 'no'}."
    for device in record.devices:
        cell = deployment.cells[device.name]
        yield ""
        state = "" if device.active else ", not in use: nothing it reports is taken"
        yield f"{device.name} ({device.type}, {device.model}){state}"
        yield (
            f"  Place: the square {cell.id} of {cell.size_m} m, always the same one. "
            "The exact place is not published."
        )
        if record.private_host and record.location.addresses is not None:
            yield f"  It is somebody's home, one of {record.location.addresses} addresses in the square."
        for declared in declared_in(deployment):
            if declared.device is device:
                yield from (f"  {line}" for line in _datastream(declared))
    if any(mandate.epsilon_leaf for mandate in deployment.mandates.values()):
        yield ""
        yield from _privacy(deployment)


def _datastream(declared: Declared) -> Iterator[str]:
    mandate, quantity = declared.mandate, declared.stream.quantity
    minutes = f"{mandate.window_s / 60:g} minutes"
    if declared.deployment.record.location.indoor:
        fate = "kept, not published, because it hangs indoors"
    elif declared.stream.is_public:
        fate = "published" + (" as open data" if declared.datastream.is_open_data else "")
    else:
        fate = "kept, not published"
    if declared.kind == topics.DAY:
        yield f"{quantity.label}, total of the day: {fate}, one figure for every whole day (UTC)."
    else:
        yield f"{quantity.label}: {fate}, one figure for every {minutes}."
    if mandate.hold_s and declared.stream.is_public:
        yield f"  Nobody is told before {mandate.hold_s // 60} minutes after its end: it is of a home."
    stays = "; what was published stays published" if declared.stream.is_public else ""
    yield f"  Kept here for {declared.datastream.retention_days} days{stays}."
    if quantity.is_count:
        noise = mandate.noise_scale(declared.kind)
        yield (
            f"  The sensor adds random noise (standard deviation {noise:.1f}) "
            f"and forgets the exact count. A noisy figure below {mandate.k} is not kept."
        )
    elif quantity.kind == quantities.KIND_MEAN:
        yield f"  Mean and spread in {quantity.unit_label}, with the number of samples."
        if any(quantities.mean_of(number) == quantity.number for number in mandate.extremes):
            yield "  With the lowest and the highest sample, and the share of samples that were not missing."
    else:
        yield f"  A statistic of its window in {quantity.unit_label}."


def _privacy(deployment: Deployment) -> Iterator[str]:
    privacy = deployment.record.privacy
    passage = privacy.epsilon_leaf + privacy.epsilon_day
    person = privacy.m_assumed * passage
    yield (
        f"Privacy: one passage is protected with epsilon {privacy.epsilon_leaf} in its window "
        f"and {privacy.epsilon_day} in the day's total, {passage} together."
    )
    yield (
        f"Somebody who passes {privacy.m_assumed} times a day at one sensor is protected "
        f"with epsilon {person} a day. Passing several sensors adds up."
    )
