"""What an export wants of a record: everything that is lacking is told at once, each by its field."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.exports.audits import Audit
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.refusal import Reason


class ExportError(PeilmerkError):
    """A record that an export cannot be made of. `str` names file, field and what was wanted, a line each."""

    def __init__(self, file: Path, complaints: list[Complaint]) -> None:
        super().__init__("\n".join(f"{file}: {complaint}" for complaint in complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class Wish:
    """What was asked besides the record; a field that an export has no use for is not looked at.

    `device` names the board a sign is for, where the record has several. `page` is the address of the
    gateway's public page; `audits` what the last audits found, for an annex.
    """

    language: str = "nl"
    device: str | None = None
    page: str | None = None
    audits: tuple[Audit, ...] = ()


class Needs:
    """Collects what is lacking. A value that is not there is answered by an empty one, so that an export
    goes on to the next question; nothing is written as long as anything is lacking.
    """

    def __init__(self) -> None:
        self.complaints: list[Complaint] = []

    def lack(self, field: str, text: str) -> None:
        """Note what was found and wanted in a field."""
        complaint = Complaint(Reason.RECORD_BROKEN, field, text)
        if complaint not in self.complaints:
            self.complaints.append(complaint)

    def text(self, field: str, found: str | None, limit: int | None = None) -> str:
        """Return a text that must be there, with at most `limit` characters."""
        if found is None:
            self.lack(field, "not found, wanted an answer")
            return ""
        if limit is not None and len(found) > limit:
            self.lack(field, f"found {len(found)} characters, wanted at most {limit}")
        return found

    def day(self, field: str, found: date | None) -> date:
        """Return a day that must be there."""
        if found is None:
            self.lack(field, "not found, wanted a date")
            return date.min
        return found

    def one_of(self, field: str, found: str | None, wanted: Collection[str]) -> str:
        """Return a text that must be one of those wanted."""
        if found is None or found not in wanted:
            what = "not found" if found is None else f"found {found!r}"
            self.lack(field, f"{what}, wanted one of {', '.join(sorted(wanted))}")
            return ""
        return found

    def outdoors(self, indoor: bool) -> None:
        """Refuse what hangs indoors: it is entered in no public register."""
        if indoor:
            self.lack(
                "location.indoor", "found true, wanted false: what hangs indoors is in no public register"
            )
