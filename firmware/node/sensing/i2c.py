"""The I2C buses of this board: sensors on the same wires share one bus, at 100 kHz."""

from machine import I2C, Pin

from node.sensing import SensingError, whole

_buses: dict = {}


def bus(spec):
    """The bus of one entry of node.json: keys "i2c", "scl" and "sda". Raises SensingError or KeyError."""
    number = whole(spec, "i2c", 0, 1)
    pins = whole(spec, "scl", 0, 48), whole(spec, "sda", 0, 48)
    if number not in _buses:
        _buses[number] = pins, I2C(number, scl=Pin(pins[0]), sda=Pin(pins[1]), freq=100000)
    known, found = _buses[number]
    if known != pins:
        raise SensingError(
            "sensors: %s: found scl and sda %s, wanted %s as for the others on i2c %d"
            % (spec["driver"], pins, known, number)
        )
    return found
