"""What officers answer to the questions of `deployment new`: about a street, a home, an assessment, radio."""

from __future__ import annotations

from datetime import date
from typing import Any

from peilmerk_gateway.deployments.asking import compose
from peilmerk_gateway.deployments.asking.interview import Terms, complete
from peilmerk_gateway.deployments.asking.questions import Question
from peilmerk_gateway.web.language import languages

TODAY = date(2026, 3, 2)
DEVICE, DIGEST = "abcdefghij234567", "ab" * 32
EN, NL = (Terms(languages()[code], TODAY, "kerkstraat") for code in ("en", "nl"))

STREET: dict[str, Any] = {
    "owner.organisation": "Gemeente Voorbeeld",
    "public_contact": "sensoren@voorbeeld.example",
    "location.description": "Kerkstraat, fietspad",
    "location.point": "52.0907, 5.1214",
    "devices[1].measures": "bicycle_towards, bicycle_away",
    "devices[1].model": "Peilmerk",
    "devices[1].device_id": DEVICE,
    "devices[1].firmware_digest": DIGEST,
    "contains_personal_data": "no",
    "on_device_personal_data": "no",
    "notified_at": "2026-03-01",
    "active_until": "2028-12-31",
}
HOME = {
    key: value
    for key, value in STREET.items()
    if key not in ("notified_at", "owner.organisation", "public_contact")
} | {"private_host": "yes", "devices[1].measures": "pm2_5, temperature"}
ASSESSED = STREET | {
    "on_device_personal_data": "yes",
    "purposes[1].legal_ground": "GDPR 6(1)(e)",
    "purposes[1].privacy_declaration_url": "https://voorbeeld.example/privacy",
    "dpia.status": "approved",
    "dpia.date": "2026-04-01",
    "dpia.review_due": "2027-04-01",
}
RADIO = ASSESSED | {
    "devices[1].measures": "unclassified",
    "devices[1].radio_capture": "yes",
    "location.observed_area": "The market square, north of the fountain",
}


def written(given: dict[str, Any], terms: Terms = EN) -> str:
    asked, known, wrong = complete(terms, given)
    assert wrong == []
    return compose.text_of(asked, known, terms.language, terms.today)


def question(key: str, given: dict[str, Any] = STREET, terms: Terms = EN) -> Question:
    asked, _, _ = complete(terms, given)
    return next(one for one in asked if one.key == key)
