"""The SPS30 on a serial line: what the sensor says about an order is heard, not only its figures."""

import pytest

# The sensor answers every order with the same frame; what the driver makes of it.
ASK = """
import asyncio, json, machine
from node.sensing import SensorFault, shdlc

class Owner:
    damaged = 0

spec = {"driver": "sps30", "uart": 2, "tx": 17, "rx": 16}
port = shdlc.Shdlc(Owner(), spec)
machine.answers["uart"] = lambda order: shdlc.stuffed(bytes.fromhex(%r))

async def main():
    try:
        print(json.dumps(await port.ask(%d, %d)))
    except SensorFault as fault:
        print(json.dumps(str(fault)))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("frame", "code", "number", "found"),
    [
        # Address, command, state, length and data of data sheet SPS30, section 5.
        ("00000000", 0x0010, 0, []),
        ("0003000401020a0b", 0x0300, 2, [0x0102, 0x0A0B]),
        # Bit 7 says that the device's status register wants to be read, and nothing about this order.
        ("0003800401020a0b", 0x0300, 2, [0x0102, 0x0A0B]),
        # 43: not allowed in the current state; 01: wrong length of data; with bit 7 they mean the same.
        ("00004300", 0x0010, 0, "found state 43 and 0 bytes, wanted 00 and 0"),
        ("0000c300", 0x0010, 0, "found state c3 and 0 bytes, wanted 00 and 0"),
        ("00000100", 0x0010, 0, "found state 01 and 0 bytes, wanted 00 and 0"),
        ("0003430401020a0b", 0x0300, 2, "found state 43 and 4 bytes, wanted 00 and 4"),
        # Before the first figures are there, and more of them than were asked for.
        ("00030000", 0x0300, 2, "found state 00 and 0 bytes, wanted 00 and 4"),
        ("0003000401020a0b", 0x0300, 1, "found state 00 and 4 bytes, wanted 00 and 2"),
    ],
)
def test_an_answer_counts_by_its_state_and_its_length(micropython, frame, code, number, found):
    assert micropython(ASK % (frame, code, number)) == found
