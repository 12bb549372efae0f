"""A host joins: what is asked or read of them, where their home is on the map, what a record needs not.

What is told about a person comes from a file, stdin or questions, and no error repeats it.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from peilmerk_gateway.deployments import dwellings
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.grid import GridError
from peilmerk_gateway.hosts import host as hosts
from peilmerk_gateway.hosts.host import Host, HostError, Told
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.web.language import languages

_ASKED = ("name", "email", "address", "longitude", "latitude")


def read(file: Path) -> dict[str, Any]:
    """Return the answers of a TOML file, or of stdin for "-". Raises HostError."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return tomllib.loads(data.decode())
    except OSError as reason:
        raise HostError(f"{file}: cannot be read: {reason.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        # The reason repeats what stands there.
        raise HostError(f'{file}: found no TOML, wanted lines such as language = "nl"') from None


def ask(language: str) -> Told:
    """Show what a host agrees to, and ask for their answers; ends with 1 when they do not agree."""
    if language not in languages():
        raise HostError(f"--language: found {language!r}, wanted nl or en")
    say = languages()[language].text
    typer.echo(say("host.consent.text"))
    if not typer.confirm(say("host.ask.consent")):
        raise typer.Exit(1)
    answers: dict[str, Any] = {key: typer.prompt(say(f"host.ask.{key}")) for key in _ASKED}
    return hosts.told(
        answers | {"language": language, "consent": hosts.CONSENT_VERSION, "consented_at": datetime.now(UTC)}
    )


def located(
    settings: Settings, longitude: float, latitude: float, source: Path | None = None
) -> dwellings.Place:
    """Return the square of a home by the settings' source of addresses, or another. Raises PeilmerkError."""
    file = source or settings.hosts.dwellings
    try:
        known = None if file is None else dwellings.read(file)
        return dwellings.place(longitude, latitude, known, settings.hosts.addresses)
    except GridError as reason:
        raise HostError(str(reason)) from None


def too_much(catalogue: Catalogue, host: Host) -> Iterator[str]:
    """Say what the record of a home has and needs not: it goes into git, where nothing can be erased."""
    for deployment in catalogue.deployments.values():
        record = deployment.record
        if host.device_id not in deployment.mandates:
            continue
        if not record.private_host:
            yield f"{deployment.file}: private_host: found false, wanted true: it is somebody's home"
        kept = {"location.point": record.location.point}
        kept |= {f"owner.{key}": getattr(record.owner, key) for key in ("name", "email", "phone", "address")}
        kept |= {f"devices[{n}].point": device.point for n, device in enumerate(record.devices, 1)}
        for key, value in kept.items():
            if value is not None:
                yield f"{deployment.file}: {key}: found one, wanted none: the gateway does not need it"
        words = (record.id, record.location.description, *(device.name for device in record.devices))
        public = " ".join(words).lower()
        for key in ("name", "email", "address"):
            if getattr(host.told, key).lower() in public:
                yield f"{deployment.file}: found the host's {key} in words that are public, wanted others"
