"""What can go wrong on the technician's bench, each with its own class so that callers can tell them
apart.
"""

from __future__ import annotations

from peilmerk_gateway.errors import PeilmerkError

__all__ = [
    "BoardError",
    "BoardGone",
    "BundleError",
    "DeployError",
    "EnrolError",
    "NoMicroPython",
    "PanelError",
    "PeilmerkError",
    "PortBusy",
    "PortDenied",
    "PortMissing",
    "PowerError",
    "ReleaseError",
    "ScriptFailed",
    "SensorError",
    "UpdateRefused",
]


class BoardError(PeilmerkError):
    """A board cannot be worked with; the text names the port."""


class PortMissing(BoardError):
    """There is no such serial port, or it is something else."""


class PortDenied(BoardError):
    """The serial port is there and this user may not open it."""


class PortBusy(BoardError):
    """Another program holds the serial port."""


class NoMicroPython(BoardError):
    """The port opens and nothing on it behaves as MicroPython."""


class BoardGone(BoardError):
    """The board stopped answering, or its cable was pulled, in the middle of the work."""


class ScriptFailed(BoardError):
    """A step that ran on the board raised; the text carries the board's own last line."""


class BundleError(PeilmerkError):
    """The files for a board cannot be made, or would not run on this board."""


class EnrolError(PeilmerkError):
    """The board did not get its identity; the text says what holds now on the board and in the registry."""


class DeployError(PeilmerkError):
    """The board did not get its firmware; the text says what to do."""


class ReleaseError(PeilmerkError):
    """A release cannot be signed, or is none, or its key is not the right one."""


class PanelError(PeilmerkError):
    """A light or a button that a board cannot have as it was asked for."""


class SensorError(PeilmerkError):
    """A sensor that a board cannot have as it was asked for."""


class PowerError(PeilmerkError):
    """A board that cannot live on batteries as it was asked to."""


class UpdateRefused(PeilmerkError):
    """The board did not take an update; the text says why."""
