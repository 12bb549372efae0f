"""All deployment records of a folder: what is in force now, and what is wrong with the rest.

One file `*.toml` a deployment. A record that cannot be used stops its own deployment only, and at once: what
it said before it broke is not in force any more. Reading anew replaces everything in one step, so that no
message is judged by half of a change. With a history, a record is kept before it comes into force, and one
that changed without a higher version does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.deployment import Deployment, RecordError, read
from peilmerk_gateway.deployments.grid import Cell
from peilmerk_gateway.deployments.history import History
from peilmerk_gateway.deployments.mandate import Mandate, Stream
from peilmerk_gateway.deployments.record import Datastream, Device
from peilmerk_gateway.publish.describe import Description
from peilmerk_gateway.refusal import Reason
from peilmerk_protocol import quantities, topics

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Declared:
    """One datastream of one device with all that the record says of it."""

    deployment: Deployment
    device: Device
    datastream: Datastream
    mandate: Mandate
    stream: Stream
    cell: Cell
    kind: int = topics.REPORT
    """topics.DAY for the totals by the day of a count."""

    @property
    def key(self) -> str:
        """The datastream's key in the store."""
        return self.stream.day_key if self.kind == topics.DAY else self.stream.key


@dataclass(frozen=True)
class Reading:
    """What one reading of the folder found; replaced as a whole."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    broken: tuple[RecordError, ...] = ()
    mandates: Mapping[str, Mandate] = field(default_factory=dict)
    refused: Mapping[str, Reason] = field(default_factory=dict)
    declared: Mapping[str, Declared] = field(default_factory=dict)
    signature: Signature | None = None
    revision: int = 0

    @property
    def facts(self) -> dict[str, dict[str, object]]:
        """Which records there are, {file: facts}, for the audit trail: digest, id and version, or why not
        usable.
        """
        found: dict[str, dict[str, object]] = {
            deployment.file.name: {
                "id": deployment.id,
                "sha256": deployment.digest,
                "usable": True,
                "version": deployment.record.version,
            }
            for deployment in self.deployments.values()
        }
        for error in self.broken:
            found[error.file.name] = {"usable": False, "reason": str(error.reason)}
        return found


class Catalogue:
    """The records of one folder. One thread may read it anew while others ask."""

    def __init__(self, directory: Path, history: History | None = None) -> None:
        """Read the folder; a missing one is an empty one. Without `history`, any version may follow any."""
        self.directory = Path(directory)
        self._history = history
        self._now = Reading()
        # What a file was about when it could last be told, so that its devices are refused with the right
        # reason.
        self._about: dict[Path, frozenset[str]] = {}
        self.reload()

    @property
    def revision(self) -> int:
        """A number that rises whenever what is in force changed."""
        return self._now.revision

    @property
    def deployments(self) -> Mapping[str, Deployment]:
        """Usable deployments by id."""
        return self._now.deployments

    @property
    def broken(self) -> tuple[RecordError, ...]:
        """Unusable files, each with its complaints."""
        return self._now.broken

    @property
    def facts(self) -> dict[str, dict[str, object]]:
        """Which records there are now, for the audit trail; see `Reading`."""
        return self._now.facts

    def reload(self) -> bool:
        """Take what is in the folder into force if anything in it changed; return whether it had."""
        reading = self.look()
        if reading is not None:
            self.take(reading)
        return reading is not None

    def take(self, reading: Reading) -> None:
        """Take a reading into force."""
        self._now = reading

    def look(self) -> Reading | None:
        """Read the folder anew if anything in it changed, taking nothing into force yet; else None."""
        signature = self._look()
        if signature == self._now.signature:
            return None
        deployments: dict[str, Deployment] = {}
        broken: list[RecordError] = []
        mandates: dict[str, Mandate] = {}
        for name, *_ in signature:
            file = self.directory / name
            try:
                deployment = read(file)
                self._about[file] = frozenset(deployment.mandates)
                _check_apart(deployment, deployments, mandates)
                self._take_up(deployment)
            except RecordError as reason:
                broken.append(reason)
            else:
                deployments[deployment.id] = deployment
                mandates.update(deployment.mandates)
        refused = {
            device_id: reason.reason
            for reason in reversed(broken)
            for device_id in sorted(reason.device_ids or self._about.get(reason.file, frozenset()))
        }
        return Reading(
            deployments=deployments,
            broken=tuple(broken),
            mandates=mandates,
            refused=refused,
            declared={
                declared.key: declared
                for deployment in deployments.values()
                for declared in declared_in(deployment)
            },
            signature=signature,
            revision=self._now.revision + 1,
        )

    def _take_up(self, deployment: Deployment) -> None:
        """Have the history keep a record. Raises RecordError when it may not follow what was before."""
        refused = None if self._history is None else self._history.take_up(deployment)
        if refused is not None:
            raise RecordError(deployment.file, [refused], frozenset(deployment.mandates))

    def _look(self) -> Signature:
        found = []
        try:
            for file in self.directory.glob("*.toml"):
                try:
                    status = file.stat()
                except OSError:
                    # Gone between listing and looking, or unreadable: reading will say which.
                    found.append((file.name, 0, 0, 0))
                    continue
                found.append((file.name, status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            pass
        return tuple(sorted(found))

    def mandate(self, device_id: str) -> Mandate | None:
        """Return the terms of a device, or None when no usable record names it."""
        return self._now.mandates.get(device_id)

    def refusal(self, device_id: str) -> Reason:
        """Say why a device without a mandate has none."""
        return self._now.refused.get(device_id, Reason.NO_DEPLOYMENT)

    @property
    def datastreams(self) -> Mapping[str, Declared]:
        """Everything that is declared, by datastream key, public or not."""
        return self._now.declared

    def describe(self, datastream: str) -> Description | None:
        """Return what may be told in public of a datastream, or None when nothing of it may be now."""
        declared = self._now.declared.get(datastream)
        if declared is None or not declared.stream.is_public:
            return None
        return _describe(declared)


def declared_in(deployment: Deployment) -> list[Declared]:
    """Return every datastream of a deployment, device by device; a count's totals by the day beside it."""
    found = []
    by_number = {stream.measures.number: stream for stream in deployment.record.datastreams}
    for device in deployment.record.devices:
        mandate = deployment.mandates[device.device_id]
        cell = deployment.cells[device.name]
        for number, stream in mandate.observed.items():
            kinds = [topics.REPORT]
            if mandate.declared_day >> number & 1:
                kinds.append(topics.DAY)
            found += [
                Declared(deployment, device, by_number[number], mandate, stream, cell, kind) for kind in kinds
            ]
    return found


def _check_apart(
    deployment: Deployment, deployments: Mapping[str, Deployment], mandates: Mapping[str, Mandate]
) -> None:
    """Raise RecordError when a record takes the id or a device of one that was read before it."""
    complaints = []
    if deployment.id in deployments:
        other = deployments[deployment.id].file.name
        complaints.append(
            Complaint(
                Reason.RECORD_BROKEN, "id", f"found {deployment.id!r}, which {other} has; wanted its own"
            )
        )
    for number, device in enumerate(deployment.record.devices, 1):
        if device.device_id in mandates:
            other = deployments[mandates[device.device_id].deployment].file.name
            complaints.append(
                Complaint(
                    Reason.RECORD_BROKEN,
                    f"devices[{number}].device_id",
                    f"found a device that {other} has, wanted each device in one record",
                )
            )
    if complaints:
        raise RecordError(deployment.file, complaints, frozenset(deployment.mandates))


def _describe(declared: Declared) -> Description:
    record, mandate, quantity = declared.deployment.record, declared.mandate, declared.stream.quantity
    is_day = declared.kind == topics.DAY
    facts: dict[str, object] = {
        "window_s": mandate.length_s(declared.kind),
        "unit_code": quantity.unit_code,
        "themes": list(declared.datastream.themes),
        "record_version": record.version,
        "is_open_data": declared.datastream.is_open_data,
    }
    if quantity.is_count:
        facts |= {
            "noise": "discrete Laplace",
            "epsilon_leaf": str(mandate.epsilon_leaf),
            "epsilon_day": str(mandate.epsilon_day),
            "threshold_k": mandate.k,
            "m_assumed": mandate.m_assumed,
            "epsilon_person": str(mandate.m_assumed * (mandate.epsilon_leaf + mandate.epsilon_day)),
            "epsilon_person_of": f"{mandate.m_assumed} passages a day at one sensor; along more it adds up",
        }
    elif quantity.kind == quantities.KIND_MEAN:
        facts["statistic"] = "mean of the window"
    if is_day:
        facts["statistic"] = (
            "total of the day (UTC), released with noise of its own; where every window of the day is kept, "
            "weighed with their sum by inverse variance, which noise_sd shows"
        )
    return Description(
        datastream=declared.key,
        deployment=record.id,
        deployment_text=record.location.description,
        thing=declared.device.name,
        cell=declared.cell.id,
        outline=declared.cell.outline,
        sensor_type=declared.device.type,
        sensor_model=declared.device.model,
        quantity=quantity,
        datastream_text=f"{quantity.label}, "
        + ("total of the day" if is_day else f"{mandate.window_s // 60} min"),
        is_day=is_day,
        facts=facts,
    )
