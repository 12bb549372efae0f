"""The chip and the port below the firmware."""

import gc
import hashlib
import time
from binascii import hexlify

from unit import same


def test_sha256_is_the_standards():
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    same(hexlify(hashlib.sha256(b"abc").digest()).decode(), wanted)


def test_ticks_wrap_without_a_jump():
    same(time.ticks_diff(time.ticks_add(0, 5), time.ticks_add(0, -5)), 10)
    began = time.ticks_ms()
    time.sleep_ms(20)
    assert time.ticks_diff(time.ticks_ms(), began) >= 19


def test_the_whole_firmware_loads_with_room_to_spare():
    from node.app import main

    gc.collect()
    assert main
    assert gc.mem_free() > 16384, gc.mem_free()
