"""What a board says in safe mode: a report for every window as ever, with nothing in it and the bit SAFE.

Too many boots in a row failed; sensors and windows stay off, so that link, commands and updates can work.
"""

import asyncio

from micropython import const

from peilmerk_protocol import cose, report, topics

_ROUND_MS = const(5000)
_HEALTH = report.HEALTH_SAFE | report.HEALTH_PARTIAL | report.HEALTH_SENSOR


async def keep_silence(config, clock, outbox, link, vigil, state):
    """Work for ever; state() puts a statement into the outbox."""
    while not clock.known:
        vigil.done("windows")
        await asyncio.sleep_ms(500)
    await state()
    window_s = config.profile.window_s
    end_s = (clock.unix_ms() // 1000 // window_s + 1) * window_s
    while True:
        vigil.done("windows")
        left = end_s * 1000 - clock.unix_ms()
        if left > 0:
            await asyncio.sleep_ms(min(left, _ROUND_MS))
            continue
        if not outbox.has_window(end_s):
            seq = outbox.next_seq()
            body = report.encode(seq, end_s // window_s - 1, config.profile.revision, _HEALTH, {})
            sealed = cose.seal(config.key, topics.REPORT, config.device_id, body)
            outbox.append(topics.REPORT, seq, end_s, sealed)
            link.wake()
        end_s = (clock.unix_ms() // 1000 // window_s + 1) * window_s
