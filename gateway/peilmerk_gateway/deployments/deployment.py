"""A deployment: one record that was read, checked and found usable, with its places on the grid."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from peilmerk_gateway.deployments import gates
from peilmerk_gateway.deployments.complaints import Complaint, complain
from peilmerk_gateway.deployments.grid import COARSEST_M, SIZE_M, Cell, GridError, cell_named, cell_of
from peilmerk_gateway.deployments.mandate import Mandate, mandates_of
from peilmerk_gateway.deployments.record import Point, Record
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.refusal import Reason

_DEVICE_ID = re.compile(r"""device_id\s*=\s*["']([a-z2-7]{16})["']""")


class RecordError(PeilmerkError):
    """A record that cannot be used. `str` names file, key and what was wanted, one line a complaint.

    `device_ids` are the devices it seems to be about, as far as they can be told.
    """

    def __init__(
        self, file: Path, complaints: list[Complaint], device_ids: frozenset[str] = frozenset()
    ) -> None:
        super().__init__("\n".join(f"{file}: {complaint}" for complaint in complaints))
        self.file = file
        self.complaints = complaints
        self.device_ids = device_ids

    @property
    def reason(self) -> Reason:
        """The one reason by which messages of its devices are refused: the lowest gate that it fails."""
        gates = sorted(complaint.reason for complaint in self.complaints if complaint.reason.startswith("G"))
        return gates[0] if gates else Reason.RECORD_BROKEN


@dataclass(frozen=True)
class Deployment:
    """A usable record. `cells` by device name; `mandates` by device id."""

    file: Path
    record: Record
    digest: str
    """SHA-256 of the file, hexadecimal: which version of the record was in force."""
    cells: Mapping[str, Cell] = field(repr=False)
    mandates: Mapping[str, Mandate] = field(repr=False)
    text: bytes = field(repr=False)
    """The file as it was read."""

    @property
    def id(self) -> str:
        """The public id."""
        return self.record.id


def read(file: Path) -> Deployment:
    """Read one record. Raises RecordError, whatever is wrong with it."""
    return parse(bytes_of(file), file)


def bytes_of(file: Path) -> bytes:
    """Return what is in a file. Raises RecordError."""
    try:
        return file.read_bytes()
    except OSError as reason:
        raise RecordError(file, [_broken(f"cannot be read: {reason.strerror}")]) from reason


def tables_of(data: bytes, file: Path) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the tables of a TOML file, and the devices that it seems to be about. Raises RecordError."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as reason:
        line = data.count(b"\n", 0, reason.start) + 1
        complaint = _broken(f"line {line}: found bytes that are not UTF-8, wanted TOML")
        raise RecordError(file, [complaint]) from None
    devices = frozenset(_DEVICE_ID.findall(text))
    try:
        return tomllib.loads(text), devices
    except tomllib.TOMLDecodeError as reason:
        raise RecordError(file, [_broken(f"not TOML: {reason}")], devices) from None


def parse(data: bytes, file: Path) -> Deployment:
    """Read a record from the bytes of `file`. Raises RecordError."""
    tables, devices = tables_of(data, file)
    try:
        record = Record.model_validate(tables)
    except ValidationError as reason:
        problems = reason.errors(include_url=False)
        # Not `from reason`: its text repeats what was found, a private point among it.
        raise RecordError(file, complain(Record, problems), devices) from None
    if lacking := gates.complaints(record):
        raise RecordError(file, lacking, devices)
    try:
        cells = cells_of(record)
    except Misplaced as reason:
        raise RecordError(file, [reason.complaint], devices) from None
    mandates = {mandate.device_id: mandate for mandate in mandates_of(record)}
    return Deployment(file, record, hashlib.sha256(data).hexdigest(), cells, mandates, data)


def _broken(text: str) -> Complaint:
    return Complaint(Reason.RECORD_BROKEN, "", text)


class Misplaced(Exception):
    """A place that is on no grid, or not where the record says; `complaint` tells which."""

    def __init__(self, key: str, text: str) -> None:
        self.complaint = Complaint(Reason.G1, key, text)


def cells_of(record: Record) -> dict[str, Cell]:
    """Return the square of each device, by its name. Raises Misplaced."""
    place = record.location
    # Of a home nothing finer is told than what is known to be coarse enough.
    size = COARSEST_M if record.private_host else SIZE_M
    if place.public_cell is None:
        assert place.point is not None  # `home.complaints`
        common = _cell(place.point, "location.point", size)
    else:
        common = _named(place.public_cell)
        if place.point is not None:
            around = _cell(place.point, "location.point", common.size_m)
            if around != common:
                raise Misplaced(
                    "location.public_cell",
                    f"found {common.id!r}, wanted {around.id!r}, in which location.point lies",
                )
    return {
        device.name: common if device.point is None else _cell(device.point, f"devices[{number}].point", size)
        for number, device in enumerate(record.devices, 1)
    }


def _named(name: str) -> Cell:
    try:
        return cell_named(name)
    except GridError as reason:
        raise Misplaced("location.public_cell", str(reason)) from None


def _cell(point: Point, key: str, size_m: int) -> Cell:
    try:
        return cell_of(point.longitude, point.latitude, size_m)
    except GridError as reason:
        raise Misplaced(key, str(reason)) from None
