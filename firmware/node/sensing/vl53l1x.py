"""ST VL53L1X above a doorway, over I2C: two zones, and who goes through is counted by their order.

Registers have 16-bit addresses, values are big endian. The block from 002D on is the maker's default
configuration with a timing budget of 33 ms and a region of 8 x 16 receivers; its centre is 167 for zone A and
231 for zone B, set before each measurement. Of a result, the status must be 9 (a valid distance) and the
distance within 4 m (UM2150, UM2510 and the default configuration of ST's ultra lite driver, STSW-IMG009).

At its start it learns how far the empty floor is in each zone; a zone is taken when something is nearer than
floor_percent of that. A first, B last is "towards"; who comes and goes on the same side counts nothing. A
passage belongs to the window in which it began.

node.json: {"driver": "vl53l1x", "i2c": 0, "scl": 22, "sda": 21, "class": "pedestrian", "floor_percent": 80}
"""

import asyncio
from array import array
from time import ticks_diff, ticks_ms

from micropython import const

from node.sensing import SensorFault, register, whole
from node.sensing.i2c import bus
from node.sensing.passages import AWAY, TOWARDS, Passages, both_ways, class_of

_ADDRESS = const(0x29)
_RESET = const(0x0000)
_BOOTED = const(0x00E5)
_MODEL = const(0x010F)
_CONFIGURATION = const(0x002D)
_READY = const(0x0031)
_CENTRE = const(0x007F)
_CLEAR = const(0x0086)
_START = const(0x0087)
_RESULT = const(0x0089)
_VHV_LOOP = const(0x0008)
_VHV_INIT = const(0x000B)

# 002D to 0087; 005E and 0061: 33 ms; 0080: 8 wide, 16 high; 0087: not started.
_DEFAULT = (
    b"\x00\x00\x00\x01\x02\x00\x02\x08\x00\x08\x10\x01\x01\x00\x00\x00\x00\xff\x00\x0f\x00\x00\x00\x00\x00\x20"
    b"\x0b\x00\x00\x02\x0a\x21\x00\x00\x05\x00\x00\x00\x00\xc8\x00\x00\x38\xff\x01\x00\x08\x00\x00\x00\x60\x0f"
    b"\x00\x6e\x0d\x01\x68\x00\x80\x08\xb8\x00\x00\x00\x00\x0f\x89\x00\x00\x00\x00\x00\x00\x00\x01\x0f\x0d\x0e"
    b"\x0e\x00\x00\x02\xc7\xf7\x9b\x00\x00\x00\x01\x01\x00"
)
_CENTRES = (b"\xa7", b"\xe7")
_CLEAR_AND_START = b"\x01\x40"
_STOP = b"\x00"
_BOOT_MS = const(5)
_BUDGET_MS = const(34)
_LATE_MS = const(200)
_VALID = const(9)
_FAR_MM = const(4000)

_ATTEMPTS = const(5)
# Two seconds: nobody who walks keeps so still.
_LEARNED = const(50)
_TRIES = const(300)
# The empty floor does not move by more while it is learned …
_STILL_MM = const(300)
# … and, when it is so many measurements long further away than was learned, something stood on it then.
_MOVED = const(500)
_CHECK_MS = const(5000)


class VL53L1X(Passages):
    """The sensor of one entry of node.json."""

    settle_ms = 3000

    def __init__(self, spec):
        super().__init__(both_ways(class_of(spec, "pedestrian")))
        self._bus = bus(spec)
        self._percent = whole(spec, "floor_percent", 30, 95, 80)
        self._one = bytearray(1)
        self._result = bytearray(17)
        self._floors = array("h", (0, 0))
        self._taken = 0
        self._first = 0
        self._last = 0
        self._began = 0
        self._half = 0
        self._heard = 0
        self._moved = 0

    def start(self):
        self._taken = 0
        self._first = 0

    def stop(self):
        try:
            self._write(_START, _STOP)
        except OSError:
            pass  # it does not answer, so it does not work either

    def active(self):
        return self._taken != 0

    async def run(self, record):
        await self._boot()
        await self._learn()
        looked = ticks_ms()
        failed = 0
        while True:
            try:
                taken = await self._zone(0) | await self._zone(1) << 1
                failed = 0
            except OSError:
                # One disturbed transfer is no reason to learn the floor anew.
                failed += 1
                self.damaged += 1
                if failed > _ATTEMPTS:
                    raise
                continue
            now = ticks_ms()
            self.see(taken, now)
            passed = ticks_diff(now, looked)
            if passed >= _CHECK_MS:
                looked = now
                self.check(passed // 1000)

    def check(self, seconds):
        if not self._heard:
            raise SensorFault("vl53l1x: found no valid distance in %d s" % seconds)
        self._heard = 0
        super().check(seconds)

    def see(self, taken, now):
        """Bit 0 of `taken`: zone A is taken; bit 1: zone B."""
        self._taken = taken
        if taken:
            if not self._first:
                self._first = taken
                self._began = now
                self._half = self.half(now)
            self._last = taken
        elif self._first:
            both = self._first | self._last << 2
            self._first = 0
            if both == 9 or both == 6:
                # Who stayed so long that the window was taken meanwhile counts now.
                late = ticks_diff(now, self._began) > self.settle_ms
                half = self.half(now) if late else self._half
                self.counts[half + (TOWARDS if both == 9 else AWAY)] += 1

    async def _zone(self, zone):
        """1 when a zone is taken; without a valid distance, what it was before."""
        distance = await self._measure(zone)
        floor = self._floors[zone]
        if not distance:
            return self._taken >> zone & 1
        self._heard += 1
        self._moved = self._moved + 1 if distance > floor + floor // 5 else 0
        if self._moved > _MOVED:
            raise SensorFault("vl53l1x: found the floor at %d mm, wanted %d" % (distance, floor))
        return 1 if distance * 100 < floor * self._percent else 0

    async def _measure(self, zone):
        """One distance in mm; 0 when it is not valid. Raises SensorFault, OSError."""
        self._write(_CENTRE, _CENTRES[zone])
        self._write(_CLEAR, _CLEAR_AND_START)
        await asyncio.sleep_ms(_BUDGET_MS)
        await self._until(_READY)
        result = self._result
        self._bus.readfrom_mem_into(_ADDRESS, _RESULT, result, addrsize=16)
        self._write(_START, _STOP)
        distance = result[13] << 8 | result[14]
        return distance if result[0] & 0x1F == _VALID and distance <= _FAR_MM else 0

    async def _boot(self):
        # Whatever it was left in: a reset of the board, or a fault, does not reach it.
        for level in (b"\0", b"\1"):
            await asyncio.sleep_ms(_BOOT_MS)
            self._write(_RESET, level)
        await asyncio.sleep_ms(_BOOT_MS)
        self.resets += self.faults > 0
        await self._until(_BOOTED)
        model = self._bus.readfrom_mem(_ADDRESS, _MODEL, 2, addrsize=16)
        if model != b"\xea\xcc":
            raise SensorFault("vl53l1x: found model %s, wanted eacc" % model.hex())
        self._write(_CONFIGURATION, _DEFAULT)
        await self._measure(0)
        # The voltage is found by the first measurement; from now on, only looked after (as ST's driver does).
        self._write(_VHV_LOOP, b"\x09")
        self._write(_VHV_INIT, b"\x00")

    async def _learn(self):
        """Find how far the empty floor is; begin anew whenever it moves."""
        for zone in (0, 1):
            nearest = furthest = number = 0
            for _ in range(_TRIES):
                distance = await self._measure(zone)
                if not distance:
                    continue
                if not number or max(furthest, distance) - min(nearest, distance) > _STILL_MM:
                    nearest = furthest = distance
                    number = 0
                nearest = min(nearest, distance)
                furthest = max(furthest, distance)
                number += 1
                if number == _LEARNED:
                    break
            else:
                raise SensorFault("vl53l1x: found no floor that keeps still, wanted one within 4 m")
            self._floors[zone] = (nearest + furthest) // 2

    async def _until(self, flag):
        """Return when bit 0 of a register is set."""
        began = ticks_ms()
        while True:
            self._bus.readfrom_mem_into(_ADDRESS, flag, self._one, addrsize=16)
            if self._one[0] & 1:
                return
            if ticks_diff(ticks_ms(), began) > _LATE_MS:
                raise SensorFault("vl53l1x: register %04x did not say ready in %d ms" % (flag, _LATE_MS))
            await asyncio.sleep_ms(2)

    def _write(self, address, data):
        self._bus.writeto_mem(_ADDRESS, address, data, addrsize=16)


register("vl53l1x", VL53L1X)
