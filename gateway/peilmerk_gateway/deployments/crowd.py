"""What is asked of counts of short windows: they are crowd figures, and public only as a class.

A figure of five minutes lets a group be followed from one street to the next; of a crowd the public needs to
know how dense it is, not how many. Classes are not published by this version, so no count of a window
shorter than a quarter of an hour is public at all. It may be kept for those who watch over a crowd.
"""

from __future__ import annotations

from collections.abc import Iterator

from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.refusal import Reason

SHORTEST_S = 900


def complaints(record: Record) -> Iterator[Complaint]:
    """Return what speaks against a record: a public count of a window that is too short."""
    if record.location.indoor or record.privacy.window_s >= SHORTEST_S:
        return
    for number, stream in enumerate(record.datastreams, 1):
        if stream.is_public and stream.measures.is_count:
            yield Complaint(
                Reason.RECORD_BROKEN,
                "privacy.window_s",
                f"found {record.privacy.window_s}, wanted at least {SHORTEST_S}, because "
                f"datastreams[{number}] ({stream.measures.name}) is public: counts of shorter windows are "
                "public as a class only, which this version does not publish",
            )
            return
