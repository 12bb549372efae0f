"""How long a test waits for what has to happen: a limit on what hangs, never on what is slow."""

DEADLINE_S = 120.0
