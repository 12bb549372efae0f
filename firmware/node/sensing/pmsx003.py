"""Plantower PMSx003: particulate matter PM1, PM2.5 and PM10 over UART (data sheets PMS3003, 5003, 5003T and
5003ST), and on the T and ST the temperature and humidity of the air.

Passive mode: it speaks when asked. Between samples it sleeps; after waking it needs 30 s until its flow and
its figures are steady. The concentrations are those "under atmospheric environment". Checksum, length and
ranges are checked; every command has a time-out and three attempts.

node.json: {"driver": "pmsx003", "uart": 1, "tx": 17, "rx": 16, "model": "5003", "every_s": 120,
"warm_up_s": 30}.
"""

import asyncio

from micropython import const

from node.sensing import SensingError, register, whole
from node.sensing.frames import DAMAGED, NOT, PART, Line
from node.sensing.sampler import Sampler
from peilmerk_protocol import quantities

_LONGEST = const(40)
_REPLY = const(4)
_MODE = const(0xE1)
_READ = const(0xE2)
_WORK = const(0xE4)
# Model: length that its data frames say, and which of their words is the temperature (0: none).
_MODELS = {"3003": (20, 0), "5003": (28, 0), "5003t": (28, 11), "5003st": (36, 14)}


def command(number, value):
    """The 7 bytes of a command."""
    total = 0x42 + 0x4D + number + value
    return bytes((0x42, 0x4D, number, 0, value, total >> 8, total & 0xFF))


def judge(frame, held):
    """Length of a frame 42 4D, length, words, sum of all before, at the start of `frame`; see
    node.sensing.frames.
    """
    if frame[0] != 0x42 or (held > 1 and frame[1] != 0x4D):
        return NOT
    if held < 4:
        return PART
    size = frame[2] << 8 | frame[3]
    if size not in (_REPLY, 20, 28, 36):
        return NOT
    if held < size + 4:
        return PART
    return size + 4 if sum(frame[: size + 2]) == _word(frame, size + 2) else DAMAGED


def parse(frame, at):
    """(PM1, PM2.5, PM10) in 0.1 ug/m3 of a data frame and, when `at` is not 0, (temperature, humidity) from
    its words `at` (counted from 1) and the next, in 0.1 Cel and 0.1 %.
    """
    values = [10 * _word(frame, place) for place in (10, 12, 14)]
    if at:
        celsius = _word(frame, 2 + 2 * at)
        values += celsius - (celsius >> 15 << 16), _word(frame, 4 + 2 * at)
    return values


def _word(frame, place):
    return frame[place] << 8 | frame[place + 1]


class Pmsx003(Sampler):
    """The sensor of one entry of node.json."""

    measures: "tuple[int, ...]" = (quantities.PM1, quantities.PM2_5, quantities.PM10)

    def __init__(self, spec):
        model = spec.get("model", "5003")
        if model not in _MODELS:
            raise SensingError("sensors: pmsx003: model: found %r, wanted %s" % (model, ", ".join(_MODELS)))
        self._size, self._climate = _MODELS[model]
        if self._climate:
            self.measures += (quantities.TEMPERATURE, quantities.HUMIDITY)
        self._warm_up_s = whole(spec, "warm_up_s", 1, 60, 30)
        super().__init__(spec, 120, self._warm_up_s + 1)
        self._line = Line(self, spec, 9600, _LONGEST, judge)

    def rest(self):
        self._line.send(command(_WORK, 0))

    async def sample(self):
        line = self._line
        # Whether it keeps passive mode through its sleep depends on the model.
        line.send(command(_WORK, 1))
        await asyncio.sleep(self._warm_up_s)
        line.send(command(_MODE, 0))
        await asyncio.sleep_ms(100)
        frame = await line.ask(command(_READ, 0), lambda frame: frame[3] == self._size)
        line.send(command(_WORK, 0))
        return parse(frame, self._climate)

    async def reset(self):
        self._line.send(command(_WORK, 0))
        await asyncio.sleep_ms(1000)


register("pmsx003", Pmsx003)
