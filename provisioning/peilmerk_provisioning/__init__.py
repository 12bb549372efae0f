"""The technician's room: identity and firmware onto boards, by the serial port and nothing else.

`board` speaks to one board through mpremote, `bundle` makes the files that go onto it, `enrol` gives it an
identity, `deploy` gives it firmware; `cli` is `peilmerk device`. A board is whatever answers on a serial
port: an ESP32 behind /dev/ttyUSB0 and a virtual board behind a pseudo-terminal take the same way.
"""
