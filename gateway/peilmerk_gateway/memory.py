"""What is known about a message of a batch: what the store knew before, and what the batch brought.

Two messages of one batch must not be judged as if neither had come before the other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from peilmerk_gateway.store import AnswerRow, AttestationRow, Known, KnownCommand, ParkedRow, Probe, ReportRow

_NONE: Mapping[int, AttestationRow] = {}


@dataclass(slots=True)
class _Own:
    """What one batch brought: digests and statements by number, windows (start, end) by kind, in order."""

    devices: set[str] = field(default_factory=set)
    """Of which there is anything of all that."""
    reports: dict[tuple[str, int], bytes] = field(default_factory=dict)
    parked: dict[tuple[str, int], bytes] = field(default_factory=dict)
    windows: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)
    statements: dict[str, dict[int, AttestationRow]] = field(default_factory=dict)


class BatchMemory:
    """Answers like the store, with the batch's own reports and statements already in it, and those of the
    batches `before`, which the store may have or not have yet.
    """

    def __init__(
        self,
        stored: Mapping[Probe, Known],
        commands: Mapping[tuple[str, int], KnownCommand] | None = None,
        before: Iterable[BatchMemory] = (),
    ) -> None:
        self._stored = stored
        self._commands = dict(commands or {})
        self._own = _Own()
        # Not the memories themselves, which know of what was before them.
        self._all = (*(one._own for one in before), self._own)

    def add_report(self, report: ReportRow, digest: bytes) -> None:
        """Take note of a report that will be stored."""
        self._own.devices.add(report.device_id)
        self._own.reports[report.device_id, report.seq] = digest
        window = report.window_start, report.window_start + report.window_s
        insort(self._own.windows.setdefault((report.device_id, report.kind), []), window)

    def add_parked(self, row: ParkedRow) -> None:
        """Take note of a report that will wait."""
        self._own.devices.add(row.device_id)
        self._own.parked[row.device_id, row.seq] = row.digest

    def add_statement(self, row: AttestationRow) -> None:
        """Take note of a statement that will be stored."""
        self._own.devices.add(row.device_id)
        self._own.statements.setdefault(row.device_id, {})[row.seq] = row

    def add_answer(self, row: AnswerRow) -> None:
        """Take note of an answer that will be stored; of a beacon's nothing is kept."""
        if not row.is_beacon:
            self._commands[row.device_id, row.counter] = KnownCommand(False, row.outcome, row.detail)

    def known_command(self, device_id: str, counter: int) -> KnownCommand | None:
        """Return what is known of the command that is acknowledged; None when none was ever sent."""
        return self._commands.get((device_id, counter))

    def known(self, probe: Probe) -> Known:
        """Return what is known that bears on a message. KeyError for what the store was not asked."""
        known = self._stored[probe]
        for own in self._all:
            if probe.device_id in own.devices:
                known = _with(known, probe, own)
        return known


def _with(known: Known, probe: Probe, own: _Own) -> Known:
    """Return what is known with what a batch brought."""
    device_id, seq = probe.device_id, probe.seq
    statements = own.statements.get(device_id, _NONE)
    attested = known.attested
    earlier = max((number for number in statements if number < seq), default=None) if statements else None
    if earlier is not None and (attested is None or attested.seq < earlier):
        attested = statements[earlier]
    latest = known.window_end_before
    if windows := own.windows.get((device_id, probe.kind)):
        # They are disjoint, so of those that begin before our end the last one ends last.
        before = bisect_left(windows, (probe.window_end,))
        if before and (latest is None or windows[before - 1][1] > latest):
            latest = windows[before - 1][1]
    return Known(
        own.reports.get((device_id, seq), known.report_digest),
        known.is_statement or seq in statements,
        own.parked.get((device_id, seq), known.parked_digest),
        known.follows or (device_id, seq - 1) in own.reports or seq - 1 in statements,
        latest,
        attested,
    )
