"""What runs on a board: sensing -> window -> release -> report -> seal -> outbox -> uplink.

Exact counts end at `release`; nothing that leaves it ever meets a float or a pseudo-random generator.
"""

# Major, minor, patch of the firmware, as the statement tells them.
VERSION = (0, 1, 0)
