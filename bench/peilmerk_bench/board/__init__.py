"""Virtual boards: real MicroPython behind a pseudo-terminal, with its own flash, wires and clock.

`VirtualBoard(spec, clock, run_dir)` is one board; `BoardSpec` and `SensorSpec` say which.
"""

from peilmerk_bench.board.spec import (
    BoardError,
    BoardSpec,
    SensorSpec,
    WifiNetwork,
    air_sensors,
    counter_sensors,
)
from peilmerk_bench.board.virtual_board import VirtualBoard

__all__ = [
    "BoardError",
    "BoardSpec",
    "SensorSpec",
    "VirtualBoard",
    "WifiNetwork",
    "air_sensors",
    "counter_sensors",
]
