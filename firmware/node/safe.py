"""What a board says in safe mode: a report for every window as ever, with nothing in it and the bit SAFE.

Too many boots in a row failed; sensors and windows stay off, so that link, commands and updates can work.
"""

import asyncio

from micropython import const

from peilmerk_protocol import report, topics

_ROUND_MS = const(5000)
_HEALTH = report.HEALTH_SAFE | report.HEALTH_PARTIAL | report.HEALTH_SENSOR


async def keep_silence(config, clock, vigil, cycle):
    """Work for ever; `cycle` seals, and keeps what is to be sent."""
    while not clock.known:
        vigil.done("windows")
        await cycle.ask()
        await asyncio.sleep_ms(500)
    await cycle.state()
    window_s = config.profile.window_s
    end_s = (clock.unix_ms() // 1000 // window_s + 1) * window_s

    def body(seq):
        return report.encode(seq, end_s // window_s - 1, config.profile.revision, _HEALTH, {})

    while True:
        vigil.done("windows")
        left = end_s * 1000 - clock.unix_ms()
        if left > 0:
            await asyncio.sleep_ms(min(left, _ROUND_MS))
            continue
        await cycle.put(topics.REPORT, end_s, body)
        end_s = (clock.unix_ms() // 1000 // window_s + 1) * window_s
