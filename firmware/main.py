# Counts the boot before anything can go wrong in it, then runs the firmware in the slot that boot.py chose.
import sys
import time

import machine

try:
    try:
        from __main__ import slots  # type: ignore[import-not-found]  # as boot.py left them

        asleep = machine.reset_cause() == machine.DEEPSLEEP_RESET
        trial = slots[1]
        if trial:
            # A trial is three boots, or eighty wakes from deep sleep for each of them.
            slots[1] -= min(trial, 1 if asleep else 80)
        if trial or (slots[2] < 9 and not asleep):
            slots[2] += not trial
            with open("/slots", "wb") as file:
                file.write(slots)
        if trial:
            machine.WDT(timeout=300000)
    except (ImportError, OSError, ValueError):
        pass
    from node import app

    app.main()
except Exception as fault:
    sys.print_exception(fault)
    print("peilmerk: starts again in 10 s")
    time.sleep(10)
    machine.reset()
