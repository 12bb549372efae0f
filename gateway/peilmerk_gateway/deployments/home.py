"""What more is asked of a sensor at somebody's home: a square on the map in which many live, and outdoors
figures so coarse and so late that nobody can read from them whether somebody is in.

Air in front of a house tells of cooking, heating and coming home. So a figure that is public is a mean of at
least an hour, and nobody is told it before another hour has passed: neither a platform nor the gateway's own
page. Counts carry noise of their own and may be of shorter windows; they are as late as the rest. Indoors
nothing is public at all (see `mandate`).
"""

from __future__ import annotations

from collections.abc import Iterator

from peilmerk_gateway.deployments.complaints import Complaint
from peilmerk_gateway.deployments.dwellings import ADDRESSES
from peilmerk_gateway.deployments.grid import COARSEST_M
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.refusal import Reason

SHORTEST_S = 3_600
HOLD_S = 3_600


def is_coarsest(public_cell: str) -> bool:
    """Whether a square is one of the coarsest, which a home may have though nobody counted its addresses."""
    return public_cell.startswith(f"rd{COARSEST_M}-")


def hold_s(record: Record) -> int:
    """How long after the end of its window a figure of this record is kept back, seconds."""
    return HOLD_S if record.private_host else 0


def complaints(record: Record) -> Iterator[Complaint]:
    """Return what speaks against a record, being one of a sensor at home or not being one."""
    yield from _place(record)
    yield from _windows(record)


def _place(record: Record) -> Iterator[Complaint]:
    place = record.location
    if place.point is None and not (record.private_host and place.public_cell is not None):
        yield Complaint(Reason.G1, "location.point", "not found, wanted an answer")
    if not record.private_host:
        return
    if place.addresses is not None and place.addresses < ADDRESSES:
        yield Complaint(
            Reason.G1,
            "location.addresses",
            f"found {place.addresses}, wanted at least {ADDRESSES} in the square of a home",
        )
    elif place.addresses is None and place.public_cell is not None and not is_coarsest(place.public_cell):
        yield Complaint(
            Reason.G1,
            "location.addresses",
            f"not found, wanted how many lie in {place.public_cell}: 'peilmerk host place' counts them",
        )


def _windows(record: Record) -> Iterator[Complaint]:
    if not record.private_host or record.location.indoor or record.privacy.window_s >= SHORTEST_S:
        return
    for number, stream in enumerate(record.datastreams, 1):
        if stream.is_public and not stream.measures.is_count:
            yield Complaint(
                Reason.RECORD_BROKEN,
                "privacy.window_s",
                f"found {record.privacy.window_s}, wanted at least {SHORTEST_S}, because private_host is "
                f"true and datastreams[{number}] ({stream.measures.name}) is public",
            )
            return
