"""Everything that is held of a host, as one file that a person can read: a ZIP of texts.

`about-you.json` has what they told, what they agreed to and what their sensor is; `figures.csv` the released
figures in their units; `published.csv` what went to which platform, and when; `held.json` every other row. A
word on each is in the file, in the host's language.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peilmerk_gateway.hosts.host import Host, HostError, agreed_to, language_of
from peilmerk_gateway.registry import Device
from peilmerk_protocol.quantities_names import by_number

Held = Mapping[str, Sequence[Mapping[str, Any]]]


def write(file: Path, host: Host, device: Device | None, held: Held) -> dict[str, int]:
    """Write the file, readable by its owner only; return how many rows of what. Raises HostError."""
    data = pack(host, device, held)
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(data)
    except OSError as reason:
        raise HostError(f"{file}: {reason.strerror}, wanted a new file to write the export to") from None
    return {name: len(rows) for name, rows in held.items()}


def pack(host: Host, device: Device | None, held: Held) -> bytes:
    """Return the export as the bytes of a ZIP file."""
    say = language_of(host)
    rest = {name: rows for name, rows in held.items() if name not in ("figures", "publications")}
    texts = {
        say.text("host.export.readme"): say.text("host.export.text"),
        "about-you.json": _json(_about(host, device)),
        "figures.csv": _csv(_FIGURES, map(_figure, held["figures"])),
        "published.csv": _csv(_PUBLISHED, map(_published, held["publications"])),
        "held.json": _json(rest),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return packed.getvalue()


def _about(host: Host, device: Device | None) -> dict[str, Any]:
    told = host.told
    return {
        "host": host.host_id,
        **told.model_dump(mode="json", exclude={"consent", "consented_at"}),
        "joined_at": _iso(host.joined_at),
        "consent": {
            "version": told.consent,
            "at": told.consented_at.isoformat(),
            "sha256": host.consent_digest,
            "text": agreed_to(host),
        },
        "public_square": host.public_cell,
        "addresses_in_square": host.addresses,
        "device": {"id": host.device_id}
        | (
            {}
            if device is None
            else {
                "kind": device.kind,
                "label": device.label,
                "enrolled_at": _iso(device.enrolled_at),
                "revoked_at": None if device.revoked_at is None else _iso(device.revoked_at),
            }
        ),
    }


_FIGURES = ("datastream", "from", "to", "quantity", "value", "unit", "spread", "samples", "noise", "stored")
_PUBLISHED = ("platform", "state", "datastream", "from", "to", "value", "unit", "published", "id_there")


def _figure(row: Mapping[str, Any]) -> tuple[Any, ...]:
    quantity = by_number(row["quantity"])
    return (
        row["datastream"],
        _iso(row["window_start"]),
        _iso(row["window_start"] + row["window_s"]),
        quantity.name,
        _value(row["result"], quantity.scale),
        quantity.unit,
        _value(row["spread"], quantity.scale),
        row["samples"],
        row["noise_scale"],
        _iso(row["stored_at"]),
    )


def _published(row: Mapping[str, Any]) -> tuple[Any, ...]:
    quantity = by_number(row["quantity"])
    return (
        row["sink"],
        row["state"],
        row["datastream"],
        _iso(row["window_start"]),
        _iso(row["window_start"] + row["window_s"]),
        _value(row["result"], quantity.scale),
        quantity.unit,
        None if row["published_at"] is None else _iso(row["published_at"]),
        _plain(row["remote_id"]),
    )


def _value(figure: int | None, scale: tuple[int, int]) -> float | None:
    return None if figure is None else figure * scale[0] / scale[1]


def _plain(text: str | None) -> str | None:
    """Return a platform's text so that no spreadsheet takes it for a formula."""
    return "'" + text if text is not None and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_hex) + "\n"


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"found {type(value).__name__}, wanted what JSON has")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
