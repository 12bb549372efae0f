"""Say in plain sentences what a record leads to: what is published, at what detail, and why.

For an officer or a council, in their language, so there is no device id and no point in it. The sentences are
`explain.*` of the texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

from peilmerk_gateway.deployments import gates
from peilmerk_gateway.deployments.catalogue import Declared, declared_in
from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.outlook import not_now
from peilmerk_gateway.web.language import Language
from peilmerk_protocol import quantities, topics


def explain(deployment: Deployment, language: Language, today: date | None = None) -> str:
    """Return the explanation of a deployment on a day (that of UTC, where none is given) as lines of plain
    text.
    """
    return "\n".join(_lines(deployment, language, today or datetime.now(UTC).date()))


def _lines(deployment: Deployment, say: Language, today: date) -> Iterator[str]:
    record = deployment.record
    yield say.text(
        "explain.title", id=record.id, version=record.version, description=record.location.description
    )
    responsible = say.text("explain.responsible", organisation=record.owner.organisation)
    first = [day for day in (record.active_from, gates.notice_is_over(record)) if day is not None]
    end = record.active_until.isoformat()
    if first:
        yield f"{responsible} {say.text('explain.from', begin=max(first).isoformat(), end=end)}"
    else:
        yield f"{responsible} {say.text('explain.until', end=end)}"
    yield from not_now(record, today, say)
    if record.signed_by is not None:
        yield say.text("explain.signed", by=record.signed_by)
    elif not record.private_host:
        yield say.text("explain.signed.nobody")
    for purpose in record.purposes:
        yield say.text("explain.purpose", goal=purpose.goal)
    yield say.text("explain.personal" if record.contains_personal_data else "explain.personal.none")
    for device in record.devices:
        cell = deployment.cells[device.name]
        yield ""
        state = "" if device.active else f", {say.text('explain.inactive')}"
        yield f"{device.name} ({device.type}, {device.model}){state}"
        yield f"  {say.text('explain.place', cell=cell.id, size=cell.size_m)}"
        if record.private_host and record.location.addresses is not None:
            yield f"  {say.text('explain.home', n=record.location.addresses)}"
        for declared in declared_in(deployment):
            if declared.device is device:
                yield from (f"  {line}" for line in _datastream(declared, say))
    if any(mandate.epsilon_leaf for mandate in deployment.mandates.values()):
        yield ""
        yield from _privacy(deployment, say)


def _datastream(declared: Declared, say: Language) -> Iterator[str]:
    mandate, quantity = declared.mandate, declared.stream.quantity
    label = quantity.label_nl if say.code == "nl" else quantity.label
    fate = say.text(_fate(declared))
    if declared.kind == topics.DAY:
        yield say.text("explain.day", label=label, fate=fate)
    else:
        yield say.text("explain.window", label=label, fate=fate, minutes=say.amount(mandate.window_s / 60))
    if mandate.hold_s and declared.stream.is_public:
        yield f"  {say.text('explain.late', n=mandate.hold_s // 60)}"
    kept = "explain.kept.published" if declared.stream.is_public else "explain.kept"
    yield f"  {say.text(kept, n=declared.datastream.retention_days)}"
    if quantity.is_count:
        noise = say.number(mandate.noise_scale(declared.kind), 1)
        yield f"  {say.text('explain.count', noise=noise, k=say.number(mandate.k))}"
    elif quantity.kind == quantities.KIND_MEAN:
        yield f"  {say.text('explain.mean', unit=quantity.unit_label)}"
        if any(quantities.mean_of(number) == quantity.number for number in mandate.extremes):
            yield f"  {say.text('explain.extremes')}"
    else:
        yield f"  {say.text('explain.statistic', unit=quantity.unit_label)}"


def _fate(declared: Declared) -> str:
    if declared.deployment.record.location.indoor:
        return "explain.fate.indoor"
    if not declared.stream.is_public:
        return "explain.fate.kept"
    return "explain.fate.open" if declared.datastream.is_open_data else "explain.fate.public"


def _privacy(deployment: Deployment, say: Language) -> Iterator[str]:
    privacy = deployment.record.privacy
    passage = privacy.epsilon_leaf + privacy.epsilon_day
    yield say.text(
        "explain.epsilon" if privacy.epsilon_day else "explain.epsilon.windows",
        leaf=say.amount(float(privacy.epsilon_leaf)),
        day=say.amount(float(privacy.epsilon_day)),
        passage=say.amount(float(passage)),
    )
    yield say.text(
        "explain.person", m=privacy.m_assumed, person=say.amount(float(privacy.m_assumed * passage))
    )
