"""Platforms to publish to: real servers of open standards, run beside the bench.

`SensorThingsServer` starts one OGC SensorThings 1.1 service for the demo and the tests. Nothing in here is a
stand-in: the server is the one a user would install from the package index.
"""

from peilmerk_bench.platform.sensorthings import PlatformError, SensorThingsServer

__all__ = ["PlatformError", "SensorThingsServer"]
