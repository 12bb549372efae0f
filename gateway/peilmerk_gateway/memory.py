"""What is known about a message of a batch: what the store knew before, and what the batch brought.

Two messages of one batch must not be judged as if neither had come before the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from peilmerk_gateway.store import AnswerRow, AttestationRow, Known, KnownCommand, ParkedRow, Probe, ReportRow


class BatchMemory:
    """Answers like the store, with the batch's own reports and statements already in it."""

    def __init__(
        self,
        stored: Mapping[Probe, Known],
        commands: Mapping[tuple[str, int], KnownCommand] | None = None,
    ) -> None:
        self._stored = stored
        self._commands = dict(commands or {})
        self._reports: dict[tuple[str, int], bytes] = {}
        self._parked: dict[tuple[str, int], bytes] = {}
        self._windows: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self._statements: dict[str, dict[int, AttestationRow]] = {}

    def add_report(self, report: ReportRow, digest: bytes) -> None:
        """Take note of a report that will be stored."""
        self._reports[report.device_id, report.seq] = digest
        window = report.window_start, report.window_start + report.window_s
        self._windows.setdefault((report.device_id, report.kind), []).append(window)

    def add_parked(self, row: ParkedRow) -> None:
        """Take note of a report that will wait."""
        self._parked[row.device_id, row.seq] = row.digest

    def add_statement(self, row: AttestationRow) -> None:
        """Take note of a statement that will be stored."""
        self._statements.setdefault(row.device_id, {})[row.seq] = row

    def add_answer(self, row: AnswerRow) -> None:
        """Take note of an answer that will be stored; of a beacon's nothing is kept."""
        if not row.is_beacon:
            self._commands[row.device_id, row.counter] = KnownCommand(False, row.outcome, row.detail)

    def known_command(self, device_id: str, counter: int) -> KnownCommand | None:
        """Return what is known of the command that is acknowledged; None when none was ever sent."""
        return self._commands.get((device_id, counter))

    def known(self, probe: Probe) -> Known:
        """Return what is known that bears on a message. KeyError for what the store was not asked."""
        device_id, seq = probe.device_id, probe.seq
        known = self._stored[probe]
        digest = self._reports.get((device_id, seq))
        if digest is not None:
            known = replace(known, report_digest=digest)
        if (device_id, seq) in self._parked:
            known = replace(known, parked_digest=self._parked[device_id, seq])
        statements = self._statements.get(device_id, {})
        if seq in statements:
            known = replace(known, is_statement=True)
        if (device_id, seq - 1) in self._reports or seq - 1 in statements:
            known = replace(known, follows=True)
        earlier = max((number for number in statements if number < seq), default=None)
        if earlier is not None and (known.attested is None or known.attested.seq < earlier):
            known = replace(known, attested=statements[earlier])
        ends = [
            end for start, end in self._windows.get((device_id, probe.kind), ()) if start < probe.window_end
        ]
        if known.window_end_before is not None:
            ends.append(known.window_end_before)
        return replace(known, window_end_before=max(ends, default=None))
