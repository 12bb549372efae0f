"""How a row of the outbox becomes an Observation, and how the service's words about it are read.

`phenomenonTime` is the window as an ISO 8601 interval in UTC (or its start, where a service takes no
intervals), `resultTime` its end, `result` the figure in its unit, and `parameters` say what is known of its
quality: `window_s`, `spread` (standard deviation within the window), `minimum` and `maximum` (lowest and
highest sample), `samples`, `completeness` (percent of the samples that there should have been), and
`noise_sd` (standard deviation of the noise that was added on the device). Nothing else goes out.

Extremes go along as parameters, not as Datastreams of their own: a Datastream has one result, and the mean
has it. They are no further measurements of the property but tell how the mean came about; whoever takes one
observation has all that is known of its window, and there are not three rows to store, send and look up where
one will do. (`resultQuality` would be a place of ISO 19157's elements; few services take it.)
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from fractions import Fraction
from typing import Any

from peilmerk_gateway.publish import OutboxRow, Outcome, Unavailable, Verdict
from peilmerk_gateway.publish.sensorthings_http import literal_of
from peilmerk_protocol import quantities_names

COMPONENTS = ("phenomenonTime", "resultTime", "result", "parameters")


class Style(Enum):
    """How a service wants the time of a window."""

    INTERVAL = "interval"
    START = "start"


def cells(row: OutboxRow, style: Style) -> list[Any]:
    """Give a row's line of the data array, in the order of COMPONENTS."""
    start, end = iso(row.window_start), iso(row.window_start + row.window_s)
    quantity = quantities_names.by_number(row.quantity)
    scale = Fraction(*quantity.scale)
    quality: dict[str, Any] = {"window_s": row.window_s}
    if row.spread is not None:
        quality["spread"] = _physical(row.spread, scale)
    for name, extreme in (("minimum", row.minimum), ("maximum", row.maximum)):
        if extreme is not None:
            quality[name] = _physical(extreme, scale)
    if row.samples is not None:
        quality["samples"] = row.samples
    if row.completeness is not None:
        quality["completeness"] = row.completeness
    if row.noise_scale is not None:
        quality["noise_sd"] = round(row.noise_scale * float(scale), 3)
    return [
        f"{start}/{end}" if style is Style.INTERVAL else start,
        end,
        _physical(row.result, scale),
        quality,
    ]


def _physical(wire: int, scale: Fraction) -> float | int:
    """Turn a wire value into its unit: a whole number where the scale is whole, else the nearest float."""
    value = wire * scale
    return int(value) if scale.denominator == 1 else float(value)


def iso(moment: int) -> str:
    """Write a moment (unix seconds) as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat() + "Z"


def _seconds(text: str) -> int:
    """Read an ISO 8601 moment; one without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def outcome(row: OutboxRow, answer: object) -> Outcome:
    """Read one entry of the answer to CreateObservations: a link, or a text that begins with "error"."""
    text = answer if isinstance(answer, str) else ""
    literal = literal_of(text)
    if literal is not None and not text.lower().startswith("error"):
        return Outcome(row.observation_id, Verdict.DONE, remote_id=literal)
    if text.lower().startswith("error"):
        cause = text[len("error") :].strip(" :")
        return Outcome(
            row.observation_id, Verdict.REFUSED, reason=cause or "refused without a cause", certain=False
        )
    return Outcome(row.observation_id, Verdict.DOUBT, reason="found an answer that is neither link nor error")


def times_and_id(entity: Any) -> tuple[tuple[int, int], str]:
    """Take ((window start, window end), id) from an Observation of ours.

    Raises Unavailable when it is no Observation: a look-up that is not understood must not count as "not
    there".
    """
    try:
        start = _seconds(entity["phenomenonTime"].partition("/")[0])
        end = _seconds(entity["resultTime"])
        return (start, end), literal_of(entity.get("@iot.selfLink", "")) or str(entity["@iot.id"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"found an observation that cannot be read: {error!r}") from error
