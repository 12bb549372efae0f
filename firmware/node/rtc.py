"""Small records in the memory of the board's own clock: kept through warm resets and deep sleep, lost with
the power, and never on flash. For what must not wear the flash or must not outlive the board's power.

`machine.RTC().memory()` holds 2,048 bytes on an ESP32. A record is

    u8 length of the tag | tag | u16 length | data | u32 CRC-32 of all before

little endian, one after the other; the first that does not check ends the list. A port without such memory
keeps nothing.
"""

import struct
from binascii import crc32

_MOST = 2048


def load(tag):
    """What was saved under `tag`, or None: nothing was, or the power was away."""
    for name, data in _records(_memory()):
        if name == tag:
            return data
    return None


def save(tag, data):
    """Keep `data` under the text `tag`; empty bytes forget it. ValueError: there is no room."""
    kept = b"".join([_record(name, other) for name, other in _records(_memory()) if name != tag])
    if data:
        kept += _record(tag, data)
    if len(kept) > _MOST:
        raise ValueError("rtc: found %d bytes, wanted at most %d" % (len(kept), _MOST))
    _memory(kept)


def _record(tag, data):
    name = tag.encode()
    body = bytes((len(name),)) + name + struct.pack("<H", len(data)) + data
    return body + struct.pack("<I", crc32(body))


def _records(memory):
    found = []
    at = 0
    while at < len(memory):
        start = at
        at += 1 + memory[at]
        name = bytes(memory[start + 1 : at])
        if at + 2 > len(memory):
            break
        end = at + 2 + struct.unpack_from("<H", memory, at)[0]
        if end + 4 > len(memory) or struct.unpack_from("<I", memory, end)[0] != crc32(memory[start:end]):
            break
        found.append((name.decode(), bytes(memory[at + 2 : end])))
        at = end + 4
    return found


def _memory(data=None):
    try:
        from machine import RTC

        return RTC().memory() if data is None else RTC().memory(data)
    except (ImportError, AttributeError):
        return b""
