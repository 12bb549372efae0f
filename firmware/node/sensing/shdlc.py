"""Sensirion's SHDLC, the serial language of the SPS30: frames between 7E, at 115200 baud (SPS30 data sheet,
section 5).

To the sensor: address 0, command, length, data, checksum; from it the same with a state after the command,
0 when all is well. The checksum is the inverted low byte of the sum. 7E, 7D, 11 and 13 inside are sent as 7D
and the byte with bit 5 turned.
"""

from node.sensing import SensorFault
from node.sensing.frames import DAMAGED, NOT, PART, Line

# 40 bytes of data, all of them stuffed, and what goes around them.
_LONGEST = 98


def stuffed(content):
    """The whole frame, flags and checksum included, of address, command, length and data."""
    frame = bytearray(b"\x7e")
    for byte in content + bytes((~sum(content) & 0xFF,)):
        if byte in b"\x7e\x7d\x11\x13":
            frame.append(0x7D)
            byte ^= 0x20
        frame.append(byte)
    frame.append(0x7E)
    return bytes(frame)


def unstuffed(frame):
    """Address to data of a whole frame; None when checksum or length are wrong."""
    content = bytearray()
    turn = 0
    for byte in frame[1:-1]:
        if byte == 0x7D:
            turn = 0x20
        else:
            content.append(byte ^ turn)
            turn = 0
    if len(content) < 5 or sum(content) & 0xFF != 0xFF or content[3] != len(content) - 5:
        return None
    return bytes(content[:-1])


def judge(frame, held):
    """Length of the frame at the start of `frame`; see node.sensing.frames."""
    if frame[0] != 0x7E:
        return NOT
    end = frame.find(b"\x7e", 1, held)
    if end < 2:
        # Two flags in a row: the second may begin something.
        return PART if end < 0 else NOT
    return DAMAGED if unstuffed(frame[: end + 1]) is None else end + 1


class Shdlc:
    """An SPS30 on the UART of one entry of node.json, asked as node.sensing.sensirion.Words is.

    A command here is the high byte of what it is on I2C.
    """

    START = 0x0103

    def __init__(self, owner, spec):
        self._line = Line(owner, spec, 115200, _LONGEST, judge)

    def send(self, code, *arguments):
        """Send one order and wait for nothing."""
        self._line.send(self._order(code, arguments))

    async def ask(self, code, number=0, *arguments, wait_ms=0):
        """Send an order and return `number` words of its answer. Raises SensorFault."""
        frame = await self._line.ask(self._order(code, arguments), lambda frame: _of(frame)[1] == code >> 8)
        answer = _of(frame)
        if answer[2] & 0x7F or len(answer) != 4 + 2 * number:
            raise SensorFault(
                "found state %02x and %d bytes, wanted 00 and %d" % (answer[2], len(answer) - 4, 2 * number)
            )
        return [answer[at] << 8 | answer[at + 1] for at in range(4, len(answer), 2)]

    def _order(self, code, arguments):
        data = b"".join([bytes((word >> 8, word & 0xFF)) for word in arguments])
        return stuffed(bytes((0, code >> 8, len(data))) + data)


def _of(frame):
    return unstuffed(frame) or b"\0\0\0\0"
