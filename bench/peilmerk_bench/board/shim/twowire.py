# ruff: noqa: I001
"""The board's `machine.I2C`: every transfer is one question to the simulated sensors, at its moment.

The answer to `i2c` is hex of what was read, or the name of the error as on ESP32: ENODEV when nobody
acknowledged, ETIMEDOUT when the bus hangs.
"""

import errno
import bus
import worldtime

_ERRORS = {"ENODEV": errno.ENODEV, "ETIMEDOUT": errno.ETIMEDOUT}


def _number(pin):
    return -1 if pin is None else pin if isinstance(pin, int) else pin._number


class I2C:
    def __init__(self, id=-1, *, scl=None, sda=None, freq=400000, timeout=50000):
        if id not in (-1, 0, 1):
            raise ValueError("I2C(%d) doesn't exist" % id)
        self._wiring = [id, _number(scl), _number(sda)]

    def init(self, *, scl=None, sda=None, freq=400000):
        if scl is not None:
            self._wiring[1:] = [_number(scl), _number(sda)]

    def _transfer(self, address, data, size):
        data = None if data is None else bytes(data).hex()
        answer = bus.call("i2c", worldtime.now(), self._wiring, address, data, size)
        if answer in _ERRORS:
            raise OSError(_ERRORS[answer])
        return bytes.fromhex(answer)

    def scan(self):
        return bus.call("i2c_scan", worldtime.now(), self._wiring)

    def writeto(self, address, data, stop=True):
        self._transfer(address, data, 0)
        return len(data)

    def writevto(self, address, vector, stop=True):
        return self.writeto(address, b"".join(bytes(part) for part in vector), stop)

    def readfrom(self, address, size, stop=True):
        return self._transfer(address, None, size)

    def readfrom_into(self, address, buffer, stop=True):
        buffer[:] = self._transfer(address, None, len(buffer))

    def _register(self, register, bits):
        return register.to_bytes(bits // 8, "big")

    def readfrom_mem(self, address, register, size, *, addrsize=8):
        return self._transfer(address, self._register(register, addrsize), size)

    def readfrom_mem_into(self, address, register, buffer, *, addrsize=8):
        buffer[:] = self.readfrom_mem(address, register, len(buffer), addrsize=addrsize)

    def writeto_mem(self, address, register, data, *, addrsize=8):
        self._transfer(address, self._register(register, addrsize) + bytes(data), 0)

    def deinit(self):
        pass


class SoftI2C(I2C):
    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        super().__init__(-1, scl=scl, sda=sda)
