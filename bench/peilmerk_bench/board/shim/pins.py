"""Simulated pin edges: fetched ahead of time, each dispatched at its own moment of world time.

The supervisor's answer to `edges` is ``{"levels": {pin: level}, "edges": [t, pin, level, …], "until": t}``:
all edges after the moment asked about, complete up to `until`.
"""

import bus
import worldtime

_levels = {}
_edges = []
_index = 0
_seen = 0  # complete and dispatched up to here
_entry = None
_listeners = {}
_counters = {}
_simulated = None


def simulated(number):
    """Whether something of the world drives this pin."""
    global _simulated
    if _simulated is None:
        _simulated = bus.call("pins")
    return number in _simulated


def level(number):
    """The level on a driven pin now."""
    _begin()
    worldtime.now()
    return _levels.get(number, 1)


def listen(number, call):
    """call(level) at every edge of the pin; None ends it."""
    _begin()
    worldtime.now()
    bus.post("listen", worldtime.now(), number, call is not None)
    if call is None:
        _listeners.pop(number, None)
    else:
        _listeners[number] = call


def count(unit, number, call):
    """As `listen`, for a pulse counter unit at the pin, beside the pin's interrupt and before it."""
    _begin()
    worldtime.now()
    _counters.pop(unit, None)
    if call is not None:
        _counters[unit] = (number, call)
    bus.post("listen", worldtime.now(), number, call is not None or number in _listeners)


def _begin():
    global _seen
    if not _seen:
        worldtime.on_push("edges", _changed)
        _seen = worldtime.now()
        _fetch(None)


def _changed():
    """The world was changed by hand: ask again from where we are."""
    global _seen
    worldtime.forget(_entry)
    _seen = max(_seen, worldtime.now())
    _fetch(None)


def _fetch(_):
    global _edges, _index, _until
    answer = bus.call("edges", _seen)
    for number, value in answer["levels"]:
        _levels[number] = value
    _edges = answer["edges"]
    _edges.append(answer["until"])
    _index = 0
    _plan()


def _plan():
    global _entry
    last = _index == len(_edges) - 1
    _entry = worldtime.at(_edges[_index], _fetch_after if last else _edge, None)


def _fetch_after(_):
    global _seen
    _seen = _edges[_index]
    _fetch(None)


def _edge(_):
    global _index, _seen
    moment, number, value = _edges[_index : _index + 3]
    _index += 3
    _seen = moment
    _plan()
    if _levels.get(number) != value:
        _levels[number] = value
        for pin, call in _counters.values():
            if pin == number:
                call(value)
        call = _listeners.get(number)
        if call:
            call(value)
