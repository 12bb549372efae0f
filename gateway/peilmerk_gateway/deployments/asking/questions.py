"""The questions of a new record, in the order in which they are asked.

Which ones there are depends on the answers so far: a private host is not asked about permits, and a DPIA is
asked about only where personal data is on the device. Keys are those of the record, as complaints name them;
a few ask for several keys at once (`boards`, `themes`, `profile`, …) and are taken apart by `compose`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from peilmerk_gateway.deployments import gates
from peilmerk_gateway.deployments.exports.dtpr import PURPOSES
from peilmerk_gateway.deployments.record import RETENTION_DAYS, Rathenau
from peilmerk_gateway.deployments.template import DTPR_PURPOSES, DTPR_WORDS, kind_of
from peilmerk_gateway.web.language import Language
from peilmerk_protocol import quantities
from peilmerk_protocol.quantities_names import ALL, Quantity, by_name

OPEN = "later"
"""An answer that leaves its question open."""
NOTHING = ""
"""An answer that leaves out what may be left out."""
MEASURED = tuple(quantity.name for quantity in ALL if quantity.kind != quantities.KIND_SAMPLES)
Answers = Mapping[str, Any]
MOST_BOARDS = 99
_HOUR_S = 3600


class Kind(StrEnum):
    """What is wanted; `ask.wanted.<kind>` of the texts says it."""

    YES_NO = "yes_no"
    LINE = "line"
    TEXT = "text"
    NAME = "name"
    DAY = "day"
    PLACE = "place"
    URL = "url"
    CHOICE = "choice"
    QUANTITIES = "quantities"
    WORDS = "words"
    BOARDS = "boards"
    WHOLE = "whole"
    WINDOW = "window"
    FRACTION = "fraction"
    DEVICE_ID = "device_id"
    DIGEST = "digest"


@dataclass(frozen=True)
class Question:
    """One question. `text` is its key among the texts, `values` are filled in there.

    `proposal` is taken for an empty answer; without one an `optional` question may stay empty. `needed`: no
    other question makes sense before, so it cannot be left open.
    """

    key: str
    text: str
    kind: Kind = Kind.LINE
    proposal: Any = None
    optional: bool = False
    needed: bool = False
    choices: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)


def answered(answers: Answers, key: str, otherwise: Any = None) -> Any:
    """Return an answer, or `otherwise` where there is none or it was left open or empty."""
    found = answers.get(key, OPEN)
    return otherwise if found in (OPEN, NOTHING) else found


def measured_by(answers: Answers, number: int) -> list[Quantity]:
    """Return what a board measures, as far as it is answered."""
    return [by_name(name) for name in answered(answers, f"devices[{number}].measures", [])]


def boards(answers: Answers) -> range:
    """Return the numbers of the boards, from 1."""
    return range(1, int(answered(answers, "boards", 1)) + 1)


def measured(answers: Answers) -> list[Quantity]:
    """Return what all boards together measure, by number."""
    found = {quantity for number in boards(answers) for quantity in measured_by(answers, number)}
    return sorted(found, key=lambda quantity: quantity.number)


def counts(answers: Answers) -> bool:
    """Whether anything is counted, so that there is noise and an epsilon."""
    return any(quantity.is_count for quantity in measured(answers))


def questions(answers: Answers, language: Language, today: date, name: str | None = None) -> list[Question]:
    """Return the questions that these answers lead to, in order. `name` is proposed as the record's id."""
    return list(_Asked(answers, language, today, name).all())


class _Asked:
    def __init__(self, answers: Answers, language: Language, today: date, name: str | None) -> None:
        self._answers, self._language, self._today, self._name = answers, language, today, name
        self._home = bool(answered(answers, "private_host", False))
        self._indoor = bool(answered(answers, "location.indoor", False))
        self._radio = any(
            answered(answers, f"devices[{number}].radio_capture", False) for number in boards(answers)
        )

    def all(self) -> Iterator[Question]:
        yield from self._who()
        yield from self._where()
        for number in boards(self._answers):
            yield from self._board(number)
        if self._radio:
            yield Question("location.observed_area", "location.observed_area", Kind.TEXT)
        yield from self._published()
        yield from self._ground()
        yield from self._days()
        yield from self._sign()
        yield Question("more", "more", Kind.YES_NO, False, needed=True)
        if self._get("more", False):
            yield from self._more()

    def _get(self, key: str, otherwise: Any = None) -> Any:
        return answered(self._answers, key, otherwise)

    def _words(self, key: str) -> str:
        return self._language.text(f"ask.words.{key}")

    def _who(self) -> Iterator[Question]:
        yield Question("private_host", "private_host", Kind.YES_NO, False, needed=True)
        yield Question("id", "id", Kind.NAME, self._name, needed=True)
        if self._home:
            yield Question("owner.organisation", "owner.organisation.home", proposal=self._words("host"))
        else:
            yield Question("owner.organisation", "owner.organisation")
        yield Question("public_contact", "public_contact", optional=self._home)
        yield Question("signed_by", f"signed_by{'.home' if self._home else ''}", optional=True)
        if not self._home:
            yield Question("project", "project", optional=True)
            yield Question("reference", "reference", optional=True)

    def _where(self) -> Iterator[Question]:
        yield Question("location.description", "location.description", Kind.TEXT)
        yield Question("location.point", f"location.point{'.home' if self._home else ''}", Kind.PLACE)
        yield Question("location.indoor", "location.indoor", Kind.YES_NO, False)

    def _board(self, number: int) -> Iterator[Question]:
        if number == 1:
            yield Question("boards", "boards", Kind.BOARDS, 1, needed=True)
        found = measured_by(self._answers, number)

        def ask(key: str, kind: Kind = Kind.LINE, proposal: Any = None, **more: Any) -> Question:
            return Question(
                f"devices[{number}].{key}", f"devices.{key}", kind, proposal, values={"n": number}, **more
            )

        name = self._get("id") if len(boards(self._answers)) == 1 else None
        yield ask("name", Kind.NAME, name or f"{self._get('id', 'sensor')}-{number}")
        # What the boards before measure: a street's are often alike.
        before = self._get(f"devices[{number - 1}].measures")
        yield ask("measures", Kind.QUANTITIES, before, needed=True, choices=MEASURED)
        yield ask("type", proposal=self._words(f"{kind_of(found)}.type"))
        yield ask("model", proposal=self._get(f"devices[{number - 1}].model"))
        yield ask("device_id", Kind.DEVICE_ID)
        yield ask("firmware_digest", Kind.DIGEST, self._get(f"devices[{number - 1}].firmware_digest"))
        if any(quantity.number == quantities.UNCLASSIFIED for quantity in found):
            yield ask("radio_capture", Kind.YES_NO)

    def _published(self) -> Iterator[Question]:
        kind = kind_of(measured(self._answers))
        yield Question("themes", "themes", Kind.WORDS, [self._words(f"{kind}.theme")])
        if not self._indoor:
            yield Question("is_public", "is_public", Kind.YES_NO, True)
            if self._get("is_public", True):
                yield Question("is_open_data", "is_open_data", Kind.YES_NO, True)
        yield Question("retention_days", "retention_days", Kind.WHOLE, RETENTION_DAYS)
        own = not counts(self._answers)
        if not own:
            proposal = "strict" if self._home else "standard"
            yield Question(
                "profile",
                "profile",
                Kind.CHOICE,
                proposal,
                choices=("standard", "strict", "own"),
                needed=True,
            )
            own = self._get("profile") == "own"
        if own:
            yield Question(
                "privacy.window_s", "privacy.window_s", Kind.WINDOW, _HOUR_S if self._home else 900
            )
        if own and counts(self._answers):
            yield Question("privacy.epsilon_leaf", "privacy.epsilon_leaf", Kind.FRACTION, "7/10")
            yield Question("privacy.epsilon_day", "privacy.epsilon_day", Kind.FRACTION, "3/10")
            yield Question("privacy.k", "privacy.k", Kind.WHOLE, 10)
            yield Question("privacy.m_assumed", "privacy.m_assumed", Kind.WHOLE, 4)

    def _ground(self) -> Iterator[Question]:
        kind = kind_of(measured(self._answers))
        yield Question("purposes[1].goal", "purposes.goal", Kind.TEXT, self._words(f"{kind}.purpose"))
        yield Question(
            "purposes[1].dtpr_purpose",
            "purposes.dtpr_purpose",
            Kind.CHOICE,
            DTPR_PURPOSES[kind],
            choices=sorted(PURPOSES),
        )
        yield Question("contains_personal_data", "contains_personal_data", Kind.YES_NO)
        # Addresses of radios are personal data; otherwise only the officer can tell.
        proposal = True if self._radio else None
        yield Question("on_device_personal_data", "on_device_personal_data", Kind.YES_NO, proposal)
        on_device = self._get("on_device_personal_data", self._radio)
        if on_device or self._get("contains_personal_data", False):
            yield Question("purposes[1].legal_ground", "purposes.legal_ground", Kind.TEXT)
            yield Question(
                "purposes[1].privacy_declaration_url", "purposes.privacy_declaration_url", Kind.URL
            )
        if on_device:
            yield Question("dpia.status", "dpia.status")
            yield Question("dpia.date", "dpia.date", Kind.DAY)
            yield Question("dpia.review_due", "dpia.review_due", Kind.DAY)
            yield Question("dpia.officer_advice", "dpia.officer_advice", Kind.TEXT, optional=True)

    def _days(self) -> Iterator[Question]:
        if not self._home:
            yield Question("notified_at", "notified_at", Kind.DAY)
            regimes = ("notification", "permit")
            yield Question("permit.regime", "permit.regime", Kind.CHOICE, regimes[0], choices=regimes)
            if self._get("permit.regime") == "permit":
                yield Question("permit.id", "permit.id")
        notified = self._get("notified_at") or self._today
        first = notified + timedelta(days=0 if self._home else gates.NOTICE_DAYS)
        yield Question("active_from", "active_from", Kind.DAY, max(first, self._today))
        yield Question("active_until", "active_until", Kind.DAY)
        if not self._home:
            yield Question("evaluate_on", "evaluate_on", Kind.DAY, optional=True)
            yield Question("objection_url", "objection_url", Kind.URL, optional=True)

    def _sign(self) -> Iterator[Question]:
        organisation = self._get("owner.organisation")
        public = not self._indoor and self._get("is_public", True) and self._get("is_open_data", True)
        kind = kind_of(measured(self._answers))
        yield Question("roles.controller", "roles.controller", proposal=organisation)
        yield Question("dtpr.accountable", "dtpr.accountable", Kind.TEXT, organisation)
        for key in DTPR_WORDS:
            words = self._get("purposes[1].goal") if key == "purpose" else self._words(f"{kind}.{key}")
            yield Question(f"dtpr.{key}", f"dtpr.{key}", Kind.TEXT, words)
        access = self._words("access" if public else "access.kept")
        yield Question("dtpr.access", "dtpr.access", Kind.TEXT, access)
        yield Question("dtpr.storage", "dtpr.storage", Kind.TEXT, self._words("storage"))
        days = self._get("retention_days", RETENTION_DAYS)
        kept = self._language.text(f"ask.words.retention.{'days' if public else 'kept'}", n=days)
        yield Question("dtpr.retention", "dtpr.retention", Kind.TEXT, kept)

    def _more(self) -> Iterator[Question]:
        for key in ("name", "email", "phone", "address", "kvk"):
            yield Question(f"owner.{key}", f"owner.{key}", optional=True)
        yield Question("owner.website", "owner.website", Kind.URL, optional=True)
        for key in ("processor", "supplier", "manufacturer"):
            yield Question(f"roles.{key}", f"roles.{key}", optional=True)
        if not self._radio:
            yield Question("location.observed_area", "location.observed_area", Kind.TEXT, optional=True)
        for number in boards(self._answers):
            key = "bgt_object_id"
            yield Question(f"devices[{number}].{key}", f"devices.{key}", optional=True, values={"n": number})
        for name in Rathenau.model_fields:
            values = {"value": self._language.text(f"annex.value.{name}")}
            key = f"rathenau.{name}"
            yield Question(f"{key}.risk", "rathenau.risk", Kind.TEXT, optional=True, values=values)
            if self._get(f"{key}.risk"):
                yield Question(f"{key}.measure", "rathenau.measure", Kind.TEXT, values=values)
                yield Question(f"{key}.owner", "rathenau.owner", values=values)
