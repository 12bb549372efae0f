"""Every version of a record that was in force: which and when by the audit trail, what it said by its text.

The trail's entry has the digest of each record, so the texts are kept in files by their digest and need no
index: none can be changed, and none can be missing, without that being seen. They are not in the store,
because a record holds what the store does not: the exact place and the names of persons. A text is on the
disk before the trail tells of it. Erasing one leaves the digest, the version and the moment, and an empty
file that says it was erased; nothing else takes a text away.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from peilmerk_gateway import disk
from peilmerk_gateway.deployments import versions
from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.deployment import Deployment, RecordError, parse
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.deployments.versions import TakenUp
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.store.records import RecordsEntry

FOLDER = "records"
"""Where the texts are, in a gateway's data folder."""


class HistoryError(PeilmerkError):
    """What was asked of the history is not there."""


class Text(StrEnum):
    """What became of the text of a version."""

    KEPT = "kept"
    ERASED = "erased"
    MISSING = "missing"
    CHANGED = "changed"


class Signature(StrEnum):
    """Whether somebody signed a version; only its text says so."""

    SIGNED = "signed"
    NOBODY = "nobody"
    NOT_KNOWN = "not known"


class State(StrEnum):
    """What became of a version."""

    IN_FORCE = "in force"
    REPLACED = "replaced"
    STOPPED = "stopped"
    """The file in its place cannot be used."""
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a deployment: `entry` of the trail tells that it was taken up `at` (unix seconds).

    `ended_at` is when it was not in force any more; `signed_by` is read from the text, and None as well where
    that cannot be read: `signature` tells.
    """

    deployment: str
    version: str
    digest: str
    entry: int
    at: float
    state: State
    ended_at: float | None
    text: Text
    signature: Signature
    signed_by: str | None


class Texts:
    """The texts of one gateway's records, by digest, in a folder that only its owner reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, digest: str, data: bytes) -> None:
        """Put a text on the disk; on return it is there. Raises OSError."""
        file = self._file(digest)
        if self.look(digest)[0] is Text.KEPT:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = file.with_suffix(".part")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
        self._erased(digest).unlink(missing_ok=True)
        disk.sync(self.folder)

    def look(self, digest: str) -> tuple[Text, bytes | None]:
        """Return what became of a text, and the text itself where it is kept."""
        try:
            data = self._file(digest).read_bytes()
        except OSError:
            return (Text.ERASED if self._erased(digest).exists() else Text.MISSING), None
        return (Text.KEPT, data) if hashlib.sha256(data).hexdigest() == digest else (Text.CHANGED, None)

    def erase(self, digest: str) -> None:
        """Take a text away for good, leaving word of it. Raises OSError."""
        self._erased(digest).touch(mode=0o600)
        self._file(digest).unlink(missing_ok=True)
        disk.sync(self.folder)

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.toml"

    def _erased(self, digest: str) -> Path:
        return self.folder / f"{digest}.erased"


class History:
    """What was in force, for judging what may come after it. One thread at a time.

    is_kept: whether the text of a record that may come into force is kept; else nothing is written.
    """

    def __init__(self, texts: Texts, told: Sequence[RecordsEntry], is_kept: bool = True) -> None:
        self._texts = texts
        self._is_kept = is_kept
        self._last: dict[str, TakenUp] = {}
        for entry in told:
            for id, (_, facts) in _usable(entry).items():
                self._last[id] = TakenUp(facts["version"], facts["sha256"], None)
        for id, last in self._last.items():
            self._last[id] = replace(last, record=_record(texts.look(last.digest)[1]))

    def complaint(self, deployment: Deployment) -> Complaint | None:
        """Say why a record may not come into force after what was, or None when it may."""
        return versions.complaint(deployment.record, deployment.digest, self._last.get(deployment.id))

    def take_up(self, deployment: Deployment) -> Complaint | None:
        """Keep the text of a record that may come into force; or say why it may not."""
        if (refused := self.complaint(deployment)) is not None:
            return refused
        try:
            if self._is_kept:
                self._texts.keep(deployment.digest, deployment.text)
        except OSError as reason:
            return Complaint(Reason.RECORD_BROKEN, "", f"its text cannot be kept: {reason.strerror}")
        self._last[deployment.id] = TakenUp(deployment.record.version, deployment.digest, deployment.record)
        return None


def versions_of(told: Sequence[RecordsEntry], texts: Texts) -> dict[str, list[Version]]:
    """Return every version of every deployment that was ever in force, by id, oldest first."""
    found: dict[str, dict[tuple[str, str], Version]] = {}
    now: dict[str, tuple[str, Version]] = {}
    for entry in told:
        usable = _usable(entry)
        for id, (file, before) in list(now.items()):
            _, facts = usable.get(id, ("", {}))
            if facts.get("sha256") == before.digest:
                continue
            gone = State.STOPPED if file in entry.records else State.REMOVED
            state = State.REPLACED if facts else gone
            found[id][before.version, before.digest] = replace(before, state=state, ended_at=entry.at)
            del now[id]
        for id, (file, facts) in usable.items():
            if id in now:
                continue
            key = (facts["version"], facts["sha256"])
            mine = found.setdefault(id, {})
            # Perhaps in force again, after it was away.
            mine[key] = (
                replace(mine[key], state=State.IN_FORCE, ended_at=None)
                if key in mine
                else _taken_up(id, facts, entry, texts)
            )
            now[id] = file, mine[key]
    return {id: list(mine.values()) for id, mine in sorted(found.items())}


def find(found: Mapping[str, Sequence[Version]], id: str, wanted: str | None) -> Version:
    """Return the version of a deployment that is named, or by the first digits of its digest; the last one
    for None. Of several texts of one version, which differ in comments, the last. Raises HistoryError.
    """
    if id not in found:
        known = ", ".join(found) or "none"
        raise HistoryError(f"found no deployment {id!r} in the history, wanted one of: {known}")
    fitting = [
        version
        for version in found[id]
        if wanted is None
        or version.version == wanted
        or (len(wanted) >= 8 and version.digest.startswith(wanted))
    ]
    if not fitting:
        known = ", ".join(dict.fromkeys(version.version for version in found[id]))
        raise HistoryError(f"found no version {wanted!r} of {id}, wanted one of: {known}")
    return fitting[-1]


def text_of(version: Version, texts: Texts) -> bytes:
    """Return the text of a version. Raises HistoryError when it is not there as it was."""
    state, data = texts.look(version.digest)
    if data is None:
        raise HistoryError(
            f"{version.deployment} version {version.version}: its text is {state}, wanted it as it was"
        )
    return data


def _taken_up(id: str, facts: Mapping[str, Any], entry: RecordsEntry, texts: Texts) -> Version:
    digest = facts["sha256"]
    text, data = texts.look(digest)
    record = _record(data)
    return Version(
        id,
        facts["version"],
        digest,
        entry.number,
        entry.at,
        State.IN_FORCE,
        None,
        text,
        _signature(record),
        None if record is None else record.signed_by,
    )


def _signature(record: Record | None) -> Signature:
    if record is None:
        return Signature.NOT_KNOWN
    return Signature.NOBODY if record.signed_by is None else Signature.SIGNED


def _usable(entry: RecordsEntry) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return (file, facts) of the records that were in force, by the deployment's id."""
    return {
        facts["id"]: (file, facts)
        for file, facts in entry.records.items()
        if facts.get("usable") and "id" in facts
    }


def _record(data: bytes | None) -> Record | None:
    if data is None:
        return None
    try:
        return parse(data, Path("history.toml")).record
    except RecordError:
        # Written under other rules than today's; its digest still tells whether it is the same.
        return None
