"""What can be measured: numbers, kinds, scales, ranges and origins, as the wire needs them.

A quantity is known by its number (0 to 31, its bit in a report's set). Its values are whole numbers in its
scale: physical value = value x scale. On the wire goes value - origin: the origin lies amid everyday values,
so that these take one or two bytes of CBOR (which writes -24 to 23 in one, -256 to 255 in two). Only `report`
knows of origins; everybody else deals in values.

The words for people and platforms are in `quantities_names`, which a board never loads; here the table is two
short tuples, about 1 KB of heap on an ESP32.

Kinds and what a value is made of:

    COUNT    (released count,)             noisy, so it may be below zero; unit: one passage
    MEAN     (mean, spread)                over one window; spread = standard deviation, same scale
    SAMPLES  (number,)                     smallest number of samples behind any mean of the same report, or
                                           (completeness) smallest share of the samples expected, in percent
    LEVEL    (level,)                      a noise level, already a statistic of its window
    EXTREMES (minimum, maximum)            of the samples behind the mean that `mean_of` names, same scale
"""

from peilmerk_protocol.error import ProtocolError

PM2_5 = 0
PM10 = 1
TEMPERATURE = 2
HUMIDITY = 3
SAMPLES = 4
BICYCLE_TOWARDS = 5
BICYCLE_AWAY = 6
PEDESTRIAN_TOWARDS = 7
PEDESTRIAN_AWAY = 8
VEHICLE_TOWARDS = 9
VEHICLE_AWAY = 10
UNCLASSIFIED_TOWARDS = 11
UNCLASSIFIED_AWAY = 12
BICYCLE = 13
PEDESTRIAN = 14
VEHICLE = 15
UNCLASSIFIED = 16
PM1 = 17
CO2 = 18
NO2 = 19
PRESSURE = 20
LAEQ = 21
LAMAX = 22
LA90 = 23
COMPLETENESS = 24
PM2_5_EXTREMES = 25
PM10_EXTREMES = 26
TEMPERATURE_EXTREMES = 27
HUMIDITY_EXTREMES = 28
PM1_EXTREMES = 29
CO2_EXTREMES = 30
PRESSURE_EXTREMES = 31

NUMBER = 32
"""How many quantities there are: numbers 0 to NUMBER - 1 are known, all others are refused."""
KNOWN = 0xFFFFFFFF
"""Set of all known quantities, as a bit mask."""
COUNTS = 0x1FFE0
"""Set of the quantities that are counts (numbers 5 to 16): they leave a device with noise only."""

KIND_COUNT = 1
KIND_MEAN = 2
KIND_SAMPLES = 3
KIND_LEVEL = 4
KIND_EXTREMES = 5

SPREAD_ORIGIN = 24
"""Origin of every spread, and of maximum - minimum: 0 to 47 take one byte, up to 279 two."""

# One row for all quantities that behave alike: (kind, lowest, highest, denominator of the scale, origin).
# Ranges are those of a street and of the sensors in use, not of physics; every number fits 3 bytes of CBOR.
# In two bytes, by their origins: particles and NO2 up to 51.1 ug/m3, -15.6 to 35.5 Cel, 48.9 to 100 %,
# 344 to 855 ppm, 984.4 to 1035.5 hPa, 34.4 to 85.5 dB.
_ROWS = (
    (KIND_MEAN, 0, 10000, 10, 256),  # 0 particulate matter, 0 to 1000 ug/m3 (an SDS011 ends at 999.9)
    (KIND_MEAN, -400, 850, 10, 100),  # 1 air temperature, -40 to 85 Cel
    (KIND_MEAN, 0, 1000, 10, 745),  # 2 relative humidity, 0 to 100 %
    (KIND_SAMPLES, 0, 65535, 1, 0),  # 3
    (KIND_COUNT, -65536, 65535, 1, 0),  # 4 what CBOR carries in 3 bytes, noise included
    (KIND_MEAN, 0, 40000, 1, 600),  # 5 carbon dioxide, 0 to 40,000 ppm (the SCD4x's output range)
    (KIND_MEAN, 0, 20000, 10, 256),  # 6 nitrogen dioxide, 0 to 2000 ug/m3
    (KIND_MEAN, 3000, 11000, 10, 10100),  # 7 air pressure, 300 to 1100 hPa (the BME280's range)
    (KIND_LEVEL, 0, 1500, 10, 600),  # 8 A-weighted sound level, 0 to 150 dB
    (KIND_SAMPLES, 0, 100, 1, 0),  # 9 share of the expected samples, percent
)
# Row of each quantity below the extremes, by number, and the mean that each of the extremes belongs to.
_ROW_OF = (
    b"\x00\x00\x01\x02\x03\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x04\x00\x05\x06\x07\x08\x08\x08\x09"
)
_MEAN_OF = b"\x00\x01\x02\x03\x11\x12\x14"


class QuantityError(ProtocolError):
    """No such quantity. Reason: "quantity"."""


def _row(number: int) -> "tuple[int, int, int, int, int]":
    if not 0 <= number < NUMBER:
        raise QuantityError("quantity")
    return _ROWS[_ROW_OF[mean_of(number)]]


def mean_of(number: int) -> int:
    """Give the mean whose samples a quantity tells the extremes of; any other quantity is its own."""
    return number if number < PM2_5_EXTREMES else _MEAN_OF[number - PM2_5_EXTREMES]


def kind(number: int) -> int:
    """Give the kind of a quantity: KIND_COUNT, KIND_MEAN, KIND_SAMPLES, KIND_LEVEL or KIND_EXTREMES."""
    own = _row(number)[0]
    return own if number < PM2_5_EXTREMES else KIND_EXTREMES


def is_count(number: int) -> bool:
    """Tell whether a quantity counts people or vehicles, so that it must carry noise."""
    return _row(number)[0] == KIND_COUNT


def components(number: int) -> int:
    """Give the number of components: 2 for a mean and its spread and for extremes, otherwise 1."""
    return 2 if _row(number)[0] == KIND_MEAN else 1


def scale(number: int) -> "tuple[int, int]":
    """Give the scale as (numerator, denominator): physical value = value x numerator / denominator."""
    return 1, _row(number)[3]


def value_range(number: int) -> "tuple[int, int]":
    """Give the lowest and highest permitted value of a quantity's first component."""
    row = _row(number)
    return row[1], row[2]


def origin(number: int) -> int:
    """Give what the wire subtracts from a quantity's first component; for the second see SPREAD_ORIGIN."""
    return _row(number)[4]


def fits(number: int, value: "tuple[int, ...]") -> bool:
    """Tell whether a value has the right number of components, all whole numbers and within range.

    A spread lies between 0 and the width of its quantity's range, a maximum not below its minimum.
    """
    row = _row(number)
    if len(value) != (2 if row[0] == KIND_MEAN else 1):
        return False
    for component in value:
        if not isinstance(component, int) or component is True or component is False:
            return False
    if not row[1] <= value[0] <= row[2]:
        return False
    if number >= PM2_5_EXTREMES:
        return value[0] <= value[1] <= row[2]
    return len(value) == 1 or 0 <= value[1] <= row[2] - row[1]


def members(mask: int) -> "list[int]":
    """List the quantity numbers of a set, rising. QuantityError when a bit stands for no quantity."""
    if mask < 0 or mask & ~KNOWN:
        raise QuantityError("quantity")
    return [number for number in range(NUMBER) if mask >> number & 1]


def mask(numbers: "list[int] | tuple[int, ...]") -> int:
    """Make the set (bit mask) of a list of quantity numbers."""
    bits = 0
    for number in numbers:
        _row(number)
        bits |= 1 << number
    return bits
