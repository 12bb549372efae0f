"""What Sensirion's I2C sensors, and those that speak like them, have in common: words with a CRC-8 each.

Orders are 16 bits, arguments and answers 16-bit words, big endian, each followed by a CRC-8 (polynomial 0x31,
start 0xFF). An order has three attempts.
"""

import asyncio

from micropython import const

from node.sensing import SensorFault
from node.sensing.i2c import bus

_ATTEMPTS = const(3)


def crc8(data):
    """The CRC-8 of Sensirion over bytes: 0xBE 0xEF gives 0x92."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = ((crc << 1) ^ 0x31 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def parse(answer, number):
    """The `number` words of an answer. Raises SensorFault."""
    if len(answer) != 3 * number:
        raise SensorFault("found %d bytes, wanted %d" % (len(answer), 3 * number))
    words = []
    for at in range(0, len(answer), 3):
        crc = crc8(answer[at : at + 2])
        if crc != answer[at + 2]:
            raise SensorFault("found CRC %02x, wanted %02x" % (answer[at + 2], crc))
        words.append(answer[at] << 8 | answer[at + 1])
    return words


def tenths(high, low):
    """Ten times the single-precision number in two words, rounded to the nearest. Raises SensorFault."""
    exponent = high >> 7 & 0xFF
    shift = 150 - exponent
    if shift < 0:
        # Infinities and not-a-number too: nothing here measures 2 to the 24 of anything.
        raise SensorFault("found float %04x%04x, wanted a measured value" % (high, low))
    if shift > 30:
        return 0
    value = ((high & 0x7F | 0x80) << 16 | low) * 10
    value = (value + (1 << shift >> 1)) >> shift
    return -value if high & 0x8000 else value


class Words:
    """A sensor at `address` on the bus of one entry of node.json; damaged answers count at `owner`."""

    START = 0x0300
    """What an SPS30 is to be told here so that it measures and answers in floats."""

    def __init__(self, owner, spec, address):
        self._owner = owner
        self._name = spec["driver"]
        self._address = address
        self._bus = bus(spec)

    def send(self, code, *arguments):
        """Send one order and wait for nothing. Raises OSError."""
        order = bytearray((code >> 8, code & 0xFF))
        for word in arguments:
            pair = bytes((word >> 8, word & 0xFF))
            order += pair
            order.append(crc8(pair))
        self._bus.writeto(self._address, order)

    async def ask(self, code, number=0, *arguments, wait_ms=20):
        """Send an order and, `wait_ms` later, read `number` words. Raises SensorFault."""
        reason: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                self.send(code, *arguments)
                await asyncio.sleep_ms(wait_ms)
                return parse(self._bus.readfrom(self._address, 3 * number), number) if number else ()
            except OSError as fault:
                reason = fault
            except SensorFault as fault:
                self._owner.damaged += 1
                reason = fault
            await asyncio.sleep_ms(wait_ms)
        raise SensorFault("no answer to %04x in %d attempts: %s" % (code, _ATTEMPTS, reason))
