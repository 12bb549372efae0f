"""One host: who has the sensor at home, where, and what they agreed to."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peilmerk_gateway import toml_words
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.web.language import Language, languages

CONSENT_VERSION = "2"
"""Of the text "host.consent.text": a change of it is a new version, and is agreed to anew. Earlier ones stay
among the texts, "host.consent.text.1" and so on, because who agreed to them may ask what it was.
"""

Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]*\S[^\n]*$")]


class HostError(PeilmerkError):
    """A host cannot be written down or found; the text never repeats what was given about a person."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(_Table):
    """What a host tells on joining. `consented_at` is with the offset of its time zone."""

    name: Line = Field(repr=False)
    email: Annotated[str, Field(max_length=200, pattern=r"^[^@\s]+@[^@\s]+$")] = Field(repr=False)
    address: Line = Field(repr=False)
    longitude: Annotated[float, Field(ge=-180, le=180)] = Field(repr=False)
    latitude: Annotated[float, Field(ge=-90, le=90)] = Field(repr=False)
    language: Literal["nl", "en"]
    consent: Line
    consented_at: datetime


class Host(_Table):
    """A host as kept: everything here is sealed, except `host_id`, which says nothing."""

    host_id: Annotated[str, Field(pattern=r"^[a-z2-7]{10}$")]
    device_id: Annotated[str, Field(pattern=r"^[a-z2-7]{16}$")] = Field(repr=False)
    told: Told = Field(repr=False)
    consent_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the text that was agreed to, in the host's language."""
    public_cell: Line = Field(repr=False)
    addresses: int | None = Field(default=None, repr=False)
    """How many lie in the square; None where nobody counted."""
    joined_at: float


def language_of(host: Host) -> Language:
    """Return the language that a host reads."""
    return languages()[host.told.language]


def consent_text(language: str, version: str = CONSENT_VERSION) -> str:
    """Return what a host agrees to, or agreed to when this was the version. Raises KeyError for none."""
    key = "host.consent.text" + ("" if version == CONSENT_VERSION else f".{version}")
    return languages()[language].text(key)


def consent_digest(language: str, version: str = CONSENT_VERSION) -> str:
    """Return the SHA-256 of what a host agrees to, hexadecimal. Raises KeyError as `consent_text` does."""
    return hashlib.sha256(consent_text(language, version).encode()).hexdigest()


def agreed_to(host: Host) -> str | None:
    """Return the text that a host agreed to; None where this version does not have it."""
    language, version = host.told.language, host.told.consent
    try:
        same = consent_digest(language, version) == host.consent_digest
    except KeyError:
        return None
    return consent_text(language, version) if same else None


def told(values: object) -> Told:
    """Check what a host told. Raises HostError that names the keys and not what stands there."""
    try:
        found = Told.model_validate(values)
    except ValidationError as reason:
        said = []
        for problem in reason.errors(include_url=False, include_input=False):
            key = toml_words.key(problem["loc"])
            wanted = f"found something else, wanted {_WANTED.get(key, 'an answer')}"
            said.append(f"{key}: {_SAID.get(problem['type'], wanted)}")
        # Not `from reason`: its text repeats what was found.
        raise HostError("\n".join(said)) from None
    if found.consent != CONSENT_VERSION:
        raise HostError(
            f"consent: found version {found.consent!r}, wanted {CONSENT_VERSION!r}, the text as it is now: "
            "'peilmerk host consent' prints it"
        )
    if found.consented_at.tzinfo is None:
        raise HostError("consented_at: found no offset, wanted a moment such as 2026-05-01T08:00:00+02:00")
    return found


_SAID = {"missing": "not found, wanted an answer", "extra_forbidden": "no such key"}
_WANTED = {
    "name": "one line",
    "email": "an e-mail address",
    "address": "one line",
    "longitude": "degrees, such as 5.1214",
    "latitude": "degrees, such as 52.0907",
    "language": "nl or en",
    "consent": "the version of the text that was agreed to",
    "consented_at": "a moment such as 2026-05-01T08:00:00+02:00",
}
