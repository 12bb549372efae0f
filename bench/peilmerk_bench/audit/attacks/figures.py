"""Published figures as any city publishes them: the form in which attacks see them, and the file they are in.

A file is CSV with one heading line, or JSON: a list of objects, or {"figures": [...]}. Its columns:

    stream       what is counted or measured where; the same name for all windows of it    wanted
    start, end   of the window: ISO 8601 with an offset, or Unix seconds                   wanted
    value        the figure; empty (null) where it is withheld                             wanted
    thing        which sensor; left out, the stream is its own
    longitude, latitude   the place that is published with this figure, degrees
    sent_at      when the message was sent, Unix seconds with decimals
    bytes        how long the message was

Several rows may be about the same stream and window, as from several queries. A file of the truth, for
marking, has stream, start, end and value; for homes `occupied` (1 somebody is at home, 0 nobody).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peilmerk_bench.audit.overlay import AuditError

COLUMNS = (
    "stream",
    "start",
    "end",
    "value",
    "thing",
    "longitude",
    "latitude",
    "sent_at",
    "bytes",
    "occupied",
)
WANTED = ("stream", "start", "end", "value")


@dataclass(frozen=True, slots=True)
class Figure:
    """One published figure; start and end in Unix seconds, value None where it is withheld."""

    stream: str
    start: float
    end: float
    value: float | None
    thing: str = ""
    longitude: float | None = None
    latitude: float | None = None
    sent_at: float | None = None
    bytes: int | None = None
    occupied: int | None = None


Cell = tuple[str, float, float]
"""Stream, start and end."""


def cell_of(figure: Figure) -> Cell:
    """Return which figure it is."""
    return figure.stream, figure.start, figure.end


def read(file: Path) -> list[Figure]:
    """Read a file of figures. Raises AuditError naming file, row and what was wanted."""
    try:
        text = file.read_text("utf-8-sig")
    except OSError as reason:
        raise AuditError(f"{file}: cannot be read: {reason.strerror}") from reason
    except UnicodeDecodeError as reason:
        raise AuditError(f"{file}: found bytes that are not UTF-8, wanted CSV or JSON") from reason
    return list(_figures(file, _rows(file, text)))


def _rows(file: Path, text: str) -> Sequence[Mapping[str, Any]]:
    if text.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(text)
        except ValueError as reason:
            raise AuditError(f"{file}: found no JSON ({reason}), wanted a list of figures") from reason
        rows = found.get("figures") if isinstance(found, dict) else found
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise AuditError(f'{file}: found another form, wanted a list of objects, or {{"figures": [...]}}')
        return rows
    first = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    head = [name.strip() for name in next(lines, [])]
    found = []
    for number, cells in enumerate((cells for cells in lines if cells), 1):
        if len(cells) != len(head):
            raise AuditError(f"{file}, row {number}: found {len(cells)} cells, wanted {len(head)}")
        found.append(dict(zip(head, cells, strict=True)))
    return found


def _figures(file: Path, rows: Sequence[Mapping[str, Any]]) -> Iterable[Figure]:
    if not rows:
        raise AuditError(f"{file}: found no figures, wanted some")
    for number, row in enumerate(rows, 1):
        missing = [name for name in WANTED if name not in row]
        if missing:
            raise AuditError(
                f"{file}, row {number}: found no {missing[0]!r} among {', '.join(map(str, row))}, "
                f"wanted {', '.join(WANTED)}"
            )
        try:
            figure = Figure(
                stream=str(row["stream"]),
                start=_moment(row["start"]),
                end=_moment(row["end"]),
                value=_number(row["value"]),
                thing=str(row.get("thing") or row["stream"]),
                longitude=_number(row.get("longitude")),
                latitude=_number(row.get("latitude")),
                sent_at=_number(row.get("sent_at")),
                bytes=_whole(row.get("bytes")),
                occupied=_whole(row.get("occupied")),
            )
        except (TypeError, ValueError) as reason:
            raise AuditError(f"{file}, row {number}: {reason}, wanted a number or a moment") from None
        if figure.end <= figure.start:
            raise AuditError(
                f"{file}, row {number}: found a window from {figure.start:.0f} to {figure.end:.0f}, "
                "wanted its end after its start"
            )
        yield figure


def _number(text: Any) -> float | None:
    return None if text is None or text == "" else _finite(text)


def _whole(text: Any) -> int | None:
    return None if text is None or text == "" else int(text)


def _finite(text: Any) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"found {value}")
    return value


def _moment(text: Any) -> float:
    try:
        return _finite(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def write(file: Path, figures: Iterable[Figure]) -> None:
    """Write figures as CSV; columns that none of them has are left out."""
    rows = list(figures)
    used = [
        field.name
        for field in fields(Figure)
        if field.name in WANTED or any(getattr(row, field.name) not in (None, "") for row in rows)
    ]
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(used)
        writer.writerows(
            ["" if (value := getattr(row, name)) is None else value for name in used] for row in rows
        )


def gaps_withheld(figures: Sequence[Figure]) -> list[Figure]:
    """Add what is not published at all: of each stream every window of its shortest length, from its first
    to its last, that is not there, as withheld.
    """
    found = list(figures)
    streams: dict[str, list[Figure]] = {}
    for figure in figures:
        streams.setdefault(figure.stream, []).append(figure)
    for stream, rows in streams.items():
        length = min(row.end - row.start for row in rows)
        starts = {row.start for row in rows if row.end - row.start == length}
        windows = round((max(starts) - min(starts)) / length)
        for moment in (min(starts) + number * length for number in range(windows)):
            if moment not in starts:
                found.append(Figure(stream, moment, moment + length, None, rows[0].thing))
    return found
