"""Recorded traces and how they are read: files with one heading line and semicolons, as their publishers
ship them.

`counting_day` reads passages (columns timestamp, direction, speed), `air_day` one sensor.community station's
file (timestamp and the named columns). A file may hold many days; one is taken, and all of them by
`counting_days`. Errors name file, line and what was wanted (`TraceError`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

DATA = Path(__file__).parent / "data"
COUNTS = DATA / "muenster_2024-02-28.csv"
PARTICLES = DATA / "aberdeen_2018-02-08_sds011.csv"
CLIMATE = DATA / "aberdeen_2018-02-08_dht22.csv"

DIRECTIONS = ("in", "out")


class TraceError(Exception):
    """A trace that cannot be read as what it was taken for."""


@dataclass(frozen=True)
class Crossing:
    """A counting trace's row: second of the day, direction ("in" or "out"), speed in km/h (0: unknown)."""

    second: int
    direction: str
    speed_kmh: float


@dataclass(frozen=True)
class Sample:
    """One row of an air trace: second of the day and the values of the columns asked for."""

    second: int
    values: tuple[float, ...]


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, datetime, dict[str, str]]]:
    """(where, moment, row) of every row."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter=";")
            missing = [name for name in ("timestamp", *columns) if name not in (reader.fieldnames or ())]
            if missing:
                raise TraceError(f"{path}: no column {missing[0]!r}; found {reader.fieldnames}")
            for line, row in enumerate(reader, start=2):
                where = f"{path}, line {line}"
                try:
                    moment = datetime.fromisoformat(row["timestamp"])
                except (TypeError, ValueError):
                    raise TraceError(f"{where}: timestamp is {row['timestamp']!r}, wanted ISO 8601") from None
                yield where, moment, row
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: found no text with semicolons, wanted a trace: {error}") from error


def _rows_of_day(
    path: Path, columns: tuple[str, ...], day: date | None
) -> Iterator[tuple[str, int, dict[str, str]]]:
    """(where, second of the day, row) of the day's rows; the first day of the file if none is named."""
    for where, moment, row in _rows(path, columns):
        day = day or moment.date()
        if moment.date() == day:
            yield where, _second(moment), row


def _second(moment: datetime) -> int:
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def counting_day(path: Path = COUNTS, day: date | None = None) -> tuple[Crossing, ...]:
    """The passages of one day in order of time; rows of the same second keep the file's order."""
    crossings = [
        _crossing(where, second, row)
        for where, second, row in _rows_of_day(path, ("direction", "speed"), day)
    ]
    if not crossings:
        raise TraceError(f"{path}: no passages" + (f" on {day}" if day else ""))
    return tuple(sorted(crossings, key=lambda crossing: crossing.second))


def counting_days(path: Path = COUNTS) -> dict[date, tuple[Crossing, ...]]:
    """The passages of each day that the file has, as `counting_day` gives them; speed may be left out."""
    days: dict[date, list[Crossing]] = {}
    for where, moment, row in _rows(path, ("direction",)):
        days.setdefault(moment.date(), []).append(_crossing(where, _second(moment), row))
    if not days:
        raise TraceError(f"{path}: no passages")
    return {
        day: tuple(sorted(crossings, key=lambda crossing: crossing.second))
        for day, crossings in sorted(days.items())
    }


def _crossing(where: str, second: int, row: dict[str, str]) -> Crossing:
    if row["direction"] not in DIRECTIONS:
        raise TraceError(f"{where}: direction is {row['direction']!r}, wanted one of {DIRECTIONS}")
    return Crossing(second, row["direction"], _number(where, "speed", row.get("speed") or "0"))


def air_day(path: Path, columns: tuple[str, ...], day: date | None = None) -> tuple[Sample, ...]:
    """The samples of one day in order of time; rows without a value in one of the columns are left out."""
    samples = [
        Sample(second, tuple(_number(where, name, row[name]) for name in columns))
        for where, second, row in _rows_of_day(path, columns, day)
        if all(row[name] for name in columns)
    ]
    if not samples:
        raise TraceError(f"{path}: no samples" + (f" on {day}" if day else ""))
    return tuple(sorted(samples, key=lambda sample: sample.second))


def _number(where: str, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TraceError(f"{where}: {column} is {text!r}, wanted a number") from None
