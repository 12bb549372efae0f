"""What may be told about a datastream in public.

Contract: a `Description` is all that a publisher gets to see of a deployment record. It has no device id, no
point, no address and no name of a person, so that no publisher can tell what it was never told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from peilmerk_protocol.quantities_names import Quantity

_METHOD = ("window_s", "statistic", "noise", "epsilon_leaf", "epsilon_day", "threshold_k")


@dataclass(frozen=True)
class Description:
    """One datastream in public words. `outline` is the closed ring of its grid cell: (longitude, latitude) in
    degrees, WGS84, counter-clockwise."""

    datastream: str
    """Key: "<deployment>/<thing>/<quantity name>", and "/day" for a count's totals by the day."""
    deployment: str
    deployment_text: str
    thing: str
    cell: str
    outline: tuple[tuple[float, float], ...]
    sensor_type: str
    sensor_model: str
    quantity: Quantity
    datastream_text: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """What else is worth knowing of the figures: window, noise, threshold. Plain JSON."""

    is_day: bool = False

    @property
    def label(self) -> str:
        """What it is, for people."""
        return self.quantity.label + (", total of the day" if self.is_day else "")

    @property
    def thing_key(self) -> str:
        """Key of the sensor in its street: "<deployment>/<thing>"."""
        return f"{self.deployment}/{self.thing}"

    @property
    def sensor_key(self) -> str:
        """Key of the kind of sensor, shared by all of the same make: "<type>/<model>", cut to 200 characters
        and a digest where it would be longer."""
        key = f"{self.sensor_type}/{self.sensor_model}"
        return key if len(key) <= 200 else f"{key[:183]} {sha256(key.encode()).hexdigest()[:16]}"

    @property
    def place_key(self) -> str:
        """Key of the sensor in its cell: "<deployment>/<thing>@<cell>"."""
        return f"{self.thing_key}@{self.cell}"

    @property
    def series_key(self) -> str:
        """Key of figures that may be compared: same datastream, same cell, obtained in the same way.

        "<datastream>@<cell>#<method>", the method being eight hexadecimal digits of a digest of the kind of
        sensor and of all facts that bear on a figure.
        """
        method = {name: self.facts.get(name) for name in _METHOD} | {"sensor": self.sensor_key}
        digest = sha256(json.dumps(method, sort_keys=True).encode()).hexdigest()
        return f"{self.datastream}@{self.cell}#{digest[:8]}"


class Describes(Protocol):
    """Knows what may be published now, and in which words."""

    def describe(self, datastream: str) -> Description | None:
        """Return the public words of a datastream, or None when nothing of it may be published now."""
        ...
