"""An annex for a tender or an impact assessment, in Markdown: what is measured, on what ground, with which
safeguards, and which tests prove them.

It tells what the record says and what this software holds, and claims no conformity with an ordinance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import quote

from peilmerk_gateway.deployments.catalogue import declared_in
from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.audits import Audit
from peilmerk_gateway.deployments.exports.dtpr import CATEGORIES
from peilmerk_gateway.deployments.exports.needs import Needs, Wish
from peilmerk_gateway.deployments.exports.safeguards import safeguards_of
from peilmerk_gateway.deployments.record import Rathenau, Record
from peilmerk_gateway.web.language import Language, languages
from peilmerk_protocol import topics


def make(deployment: Deployment, wish: Wish, needs: Needs) -> list[str]:
    """Return the lines of the document."""
    record = deployment.record
    _ask(record, needs)
    if needs.complaints:
        return []
    say = languages()[wish.language]
    return [
        *_head(record, say),
        *_measured(deployment, say),
        *_ground(record, say),
        *_privacy(deployment, say),
        *_proofs(record, say),
        *_audits(wish.audits, say),
        *_categories(record, say),
        *_values(record.rathenau, say),
        *_title(say, "limits"),
        say.text("annex.limits.text"),
    ]


def _ask(record: Record, needs: Needs) -> None:
    needs.day("active_from", record.active_from)
    needs.text("roles.controller", record.roles.controller if record.roles else None)
    if not record.purposes:
        needs.lack("purposes", "not found, wanted at least one with its goal")
    if record.contains_personal_data and record.dpia is None:
        needs.lack("dpia", "not found, wanted its status, because personal data leaves the device")


def _head(record: Record, say: Language) -> Iterator[str]:
    yield f"# {say.text('annex.title')}: {_plain(record.project or record.id)}"
    yield ""
    yield from _table(
        [
            (say.text("annex.record"), f"{record.id}, {say.text('annex.version')} {record.version}"),
            (say.text("annex.reference"), record.reference),
            (say.text("annex.software"), f"Peilmerk {_release()}"),
            (say.text("annex.where"), record.location.description),
            (say.text("annex.from"), _day(record.active_from, say)),
            (say.text("annex.until"), _day(record.active_until, say)),
            (say.text("annex.evaluate"), _day(record.evaluate_on, say)),
        ]
    )


def _measured(deployment: Deployment, say: Language) -> Iterator[str]:
    yield from _title(say, "measured")
    yield _row(say.text(f"annex.column.{key}") for key in ("sensor", "cell", "quantity", "window", "fate"))
    yield _row(["---"] * 5)
    for declared in declared_in(deployment):
        quantity, day = declared.stream.quantity, declared.kind == topics.DAY
        unit = f" ({quantity.unit_label})" if quantity.unit_label else ""
        fate = "kept"
        if declared.stream.is_public:
            fate = "open" if declared.datastream.is_open_data else "public"
        yield _row(
            [
                f"{declared.device.name}: {declared.device.type}, {declared.device.model}",
                declared.cell.id,
                (quantity.label_nl if say.code == "nl" else quantity.label) + unit,
                say.text("annex.day")
                if day
                else say.text("annex.minutes", n=declared.mandate.window_s // 60),
                say.text(f"annex.fate.{fate}"),
            ]
        )


def _ground(record: Record, say: Language) -> Iterator[str]:
    yield from _title(say, "ground")
    for purpose in record.purposes:
        yield f"- {_plain(purpose.goal)}"
        if purpose.legal_ground is not None:
            yield f"  - {say.text('annex.legal')}: {_plain(purpose.legal_ground)}"
        if purpose.privacy_declaration_url is not None:
            yield f"  - {say.text('annex.declaration')}: {_link(purpose.privacy_declaration_url)}"
    yield ""
    roles, dpia, permit = record.roles, record.dpia, record.permit
    yield from _table(
        [
            (say.text("annex.owner"), record.owner.organisation),
            *(
                (say.text(f"annex.role.{key}"), getattr(roles, key) if roles else None)
                for key in ("controller", "processor", "supplier", "manufacturer")
            ),
            (say.text("annex.contact"), record.public_contact),
            (say.text("annex.objection"), record.objection_url),
            (say.text("annex.personal"), _answer(record.contains_personal_data, say)),
            (say.text("annex.personal.device"), _answer(record.on_device_personal_data, say)),
            (say.text("annex.radio"), _answer(any(device.radio_capture for device in record.devices), say)),
            (say.text("annex.dpia"), dpia.status if dpia else say.text("annex.none")),
            (say.text("annex.dpia.date"), _day(dpia.date, say) if dpia else None),
            (say.text("annex.dpia.review"), _day(dpia.review_due, say) if dpia else None),
            (say.text("annex.dpia.advice"), dpia.officer_advice if dpia else None),
            (say.text("annex.dpia.url"), dpia.url if dpia else None),
            (say.text("annex.notified"), _day(record.notified_at, say)),
            (say.text("annex.private"), _answer(True, say) if record.private_host else None),
            (
                say.text("annex.permit"),
                " ".join(filter(None, (permit.regime, permit.id))) if permit else None,
            ),
        ]
    )


def _privacy(deployment: Deployment, say: Language) -> Iterator[str]:
    counts = [item for item in declared_in(deployment) if item.stream.quantity.is_count]
    if not counts:
        return
    privacy = deployment.record.privacy
    passage = privacy.epsilon_leaf + privacy.epsilon_day
    scales = {item.kind: item.mandate.noise_scale(item.kind) for item in counts}
    yield from _title(say, "privacy")
    yield from _table(
        [
            (say.text("annex.unit"), privacy.unit),
            (say.text("annex.epsilon.window"), str(privacy.epsilon_leaf)),
            (say.text("annex.epsilon.day"), str(privacy.epsilon_day)),
            (say.text("annex.epsilon.passage"), str(passage)),
            (say.text("annex.epsilon.person", m=privacy.m_assumed), str(privacy.m_assumed * passage)),
            (say.text("annex.noise.window"), say.number(scales[topics.REPORT], 1)),
            (
                say.text("annex.noise.day"),
                say.number(scales[topics.DAY], 1) if topics.DAY in scales else None,
            ),
            (say.text("annex.threshold"), str(privacy.k)),
        ]
    )
    yield ""
    yield say.text("annex.epsilon.adds")


def _proofs(record: Record, say: Language) -> Iterator[str]:
    yield from _title(say, "safeguards")
    yield say.text("annex.safeguards.lead")
    for safeguard in safeguards_of(record):
        yield ""
        yield f"- {say.text(f'annex.safeguard.{safeguard.key}')}"
        yield from (f"  - `{test}`" for test in safeguard.tests)


def _audits(audits: Sequence[Audit], say: Language) -> Iterator[str]:
    yield from _title(say, "audits")
    if not audits:
        yield say.text("annex.audit.none")
    for number, audit in enumerate(audits):
        if number:
            yield ""
        code = "annex.audit.code.same" if audit.is_of_the_code_here else "annex.audit.code.other"
        firmware = "annex.audit.firmware.shipped" if audit.shipped else "annex.audit.firmware.other"
        yield from _table(
            [
                (say.text("annex.audit"), f"peilmerk {audit.name}"),
                (say.text("annex.audit.at"), audit.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")),
                (say.text("annex.audit.of"), f"Peilmerk {audit.release}, {audit.code[:16]}"),
                (
                    say.text("annex.audit.firmware"),
                    f"{audit.firmware[:16]}, {say.text(firmware)}",
                ),
                (say.text("annex.audit.code"), say.text(code)),
                (say.text("annex.audit.verdict"), "; ".join(_verdict(audit, say))),
                (
                    say.text("annex.audit.divergence"),
                    None
                    if audit.largest is None or audit.limit is None
                    else f"{say.number(audit.largest, 4)} "
                    f"({say.text('annex.audit.limit')} {say.amount(audit.limit)})",
                ),
                (say.text("annex.audit.mutants"), _of(audit.killed, audit.mutants, say)),
                (say.text("annex.audit.lost"), _of(audit.lost, audit.attacks, say)),
                (say.text("annex.audit.won"), _of(audit.won, audit.weak, say)),
            ]
        )


def _verdict(audit: Audit, say: Language) -> Iterator[str]:
    if not audit.ok:
        yield say.text("annex.audit.failed")
    # What is well of a part says nothing of the whole.
    if not audit.complete:
        yield say.text("annex.audit.part")
    elif audit.ok:
        yield say.text("annex.audit.ok")


def _of(some: int | None, every: int | None, say: Language) -> str | None:
    return None if some is None else say.text("annex.audit.count", some=some, every=every)


def _categories(record: Record, say: Language) -> Iterator[str]:
    yield from _title(say, "dtpr")
    yield from _table([(say.text(f"dtpr.{key}"), getattr(record.dtpr, key)) for key in CATEGORIES])


def _values(rathenau: Rathenau | None, say: Language) -> Iterator[str]:
    weighed = [] if rathenau is None else [(key, value) for key, value in rathenau if value is not None]
    if not weighed:
        return
    yield from _title(say, "values")
    yield _row(say.text(f"annex.column.{key}") for key in ("value", "risk", "measure", "owner"))
    yield _row(["---"] * 4)
    for key, value in weighed:
        yield _row([say.text(f"annex.value.{key}"), value.risk, value.measure, value.owner])


def _title(say: Language, key: str) -> list[str]:
    return ["", f"## {say.text(f'annex.{key}')}", ""]


def _table(rows: list[tuple[str, str | None]]) -> Iterator[str]:
    yield _row(["", ""])
    yield _row(["---", "---"])
    yield from (_row([name, value]) for name, value in rows if value)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Write a text so that nothing in it is Markdown or HTML, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _link(address: str) -> str:
    """Write an address so that it is a link and ends where it ends."""
    return f"<{quote(address, safe=':/?#[]@!$&()*+,;=%~')}>"


def _day(day: date | None, say: Language) -> str | None:
    return (
        None if day is None else say.day(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
    )


def _answer(yes: bool, say: Language) -> str:
    return say.text("annex.yes" if yes else "annex.no")


def _release() -> str:
    try:
        return version("peilmerk")
    except PackageNotFoundError:
        return "?"


def as_markdown(lines: list[str]) -> bytes:
    """Write the document."""
    return ("\n".join(lines) + "\n").encode()
