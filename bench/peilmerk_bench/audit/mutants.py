"""Mutants: small real changes to the code that releases, each of which an audit must notice.

A mutant that lives shows that the audit does not see that kind of mistake. Each one is the shipped code with
a few words changed (overlay.Change); which of the audit's findings must tell it apart is its `found_by`:

    divergence   a release or a difference of releases exceeds the limit
    noise        noise is not what the chi-square test wants
    integers     a float or a pseudo-random generator lies on the way of a count
    refusal      a figure leaves the board without true randomness
    once         a window or a day is drawn for, or sealed, more than once
    publication  what the gateway keeps or publishes of what is below the threshold, or what it spends
    ledger       a crash of the gateway leaves the ledger wrong
    timing       the noise can be told from when a report is ready
"""

from __future__ import annotations

from dataclasses import dataclass

from peilmerk_bench.audit.overlay import Change

LAPLACE, POOL, RELEASE = "node/laplace.py", "node/pool.py", "node/release.py"
DAY, EARLY, CYCLE, OUTBOX = "node/day.py", "node/early.py", "node/cycle.py", "node/outbox.py"
ENTROPY = "node/entropy.py"
_IMPORTS = "from peilmerk_protocol import quantities\n"

_VALUE = "value = bounded(number, events + noise[place])"
_SIGNED = "return -magnitude if negative else magnitude"
_ROUND = "magnitude = (u + q * v) // p"
_REPORT_BODY = "return report.encode(seq, window, profile.revision, bits, values)"
_SEAL = """        sealed = cose.seal(self._config.key, kind, self._config.device_id, body(seq))
        for _attempt in range(_ATTEMPTS):
            try:
"""
_SEAL_AGAIN = """        for _attempt in range(_ATTEMPTS):
            sealed = cose.seal(self._config.key, kind, self._config.device_id, body(seq))
            try:
"""
_LEDGER = "(*_LEDGER(row), now) for entry in fresh for row in entry.ledger]\n"


@dataclass(frozen=True)
class Mutant:
    """name, and words for people. count: is compared with one more, -1 for the one below the threshold."""

    name: str
    words: str
    found_by: str
    firmware: tuple[Change, ...] = ()
    gateway: tuple[Change, ...] = ()
    count: int = 4
    what: str = "alone"


def _in(path: str, old: str, new: str) -> tuple[Change, ...]:
    return (Change(path, old, new),)


MUTANTS = (
    Mutant(
        "true-threshold",
        "the threshold is held against the true count",
        "divergence",
        _in(
            RELEASE,
            f"if noise is not None:\n                {_VALUE}",
            f"if events >= 10:\n{' ' * 16}{_VALUE}",
        ),
        count=-1,
    ),
    Mutant(
        "seeded-by-count",
        "the noise is made of the count",
        "divergence",
        (
            Change(
                RELEASE,
                _IMPORTS,
                "from hashlib import sha256\nfrom node.entropy import BitStream\nfrom node.laplace import "
                "discrete_laplace\n" + _IMPORTS,
            ),
            Change(
                RELEASE,
                _VALUE,
                "value = bounded(number, events + discrete_laplace(BitStream(lambda size: "
                "sha256(str(events).encode()).digest()).bits, 7, 10))",
            ),
        ),
    ),
    Mutant("one-sided", "noise is only added", "divergence", _in(LAPLACE, _SIGNED, "return magnitude")),
    Mutant(
        "spends-more",
        "0.7 is claimed, 0.9 is spent",
        "divergence",
        _in(POOL, "self._p, self._q = epsilon", "self._p, self._q = epsilon[0] * 9, epsilon[1] * 7"),
    ),
    Mutant(
        "truncated",
        "noise beyond 3 is drawn again",
        "divergence",
        _in(LAPLACE, "if negative and magnitude == 0:", "if magnitude > 3 or negative and magnitude == 0:"),
    ),
    Mutant(
        "rounded-to-even",
        "noise is rounded to even numbers",
        "divergence",
        _in(LAPLACE, _SIGNED, "return (-magnitude if negative else magnitude) & ~1"),
    ),
    Mutant(
        "two-zeros",
        "zero has two signs, so that it comes twice as often",
        "divergence",
        _in(LAPLACE, "if negative and magnitude == 0:", "if False:"),
    ),
    Mutant(
        "wrong-comparison",
        "the Bernoulli trial compares with <= instead of <",
        "noise",
        _in(LAPLACE, "below(bits, q * k) < p:", "below(bits, q * k) <= p:"),
    ),
    Mutant(
        "biased-sign",
        "one sign in four is negative",
        "divergence",
        _in(LAPLACE, "negative = bits(1)", "negative = bits(2) == 3"),
    ),
    Mutant(
        "modulo",
        "numbers below a limit by remainder instead of rejection",
        "divergence",
        _in(LAPLACE, "        if value < limit:\n            return value", "        return value % limit"),
    ),
    Mutant(
        "never-negative",
        "noise is drawn again until the figure is not negative",
        "divergence",
        (
            Change(
                RELEASE,
                _IMPORTS,
                "from node.entropy import BitStream\nfrom node.laplace import discrete_laplace\n" + _IMPORTS,
            ),
            Change(
                RELEASE,
                _VALUE,
                "while events + noise[place] < 0:\n                    noise[place] = "
                "discrete_laplace(BitStream().bits, 7, 10)\n                " + _VALUE,
            ),
        ),
        count=0,
    ),
    Mutant(
        "day-claims-its-windows",
        "the day's noise is drawn with the window's epsilon",
        "divergence",
        _in(DAY, "len(self.quantities), profile.epsilon_day)", "len(self.quantities), profile.epsilon_leaf)"),
    ),
    Mutant(
        "day-without-noise",
        "the day's noise is not put into the total",
        "divergence",
        _in(DAY, "self._totals[place] += noise[place]", "self._totals[place] += 0"),
    ),
    Mutant(
        "bin-placed-twice",
        "what was counted before the time was known is counted twice",
        "divergence",
        _in(
            EARLY,
            "            tally.add(figures)",
            "            tally.add(figures[:])\n            tally.add(figures)",
        ),
    ),
    Mutant(
        "set-used-again",
        "the next window gets the noise of the one before",
        "divergence",
        _in(POOL, "self._sets.pop(0) if self._sets", "self._sets[0][:] if self._sets"),
        what="joint",
    ),
    Mutant(
        "one-draw-for-both",
        "both directions get the same noise",
        "divergence",
        _in(RELEASE, _VALUE, "value = bounded(number, events + noise[0])"),
        what="joint",
    ),
    Mutant(
        "day-noise-in-window",
        "windows get the noise of their day",
        "divergence",
        (
            Change(DAY, "            wipe(noise)\n", "            self.lent = noise\n"),
            Change(RELEASE, _VALUE, "value = bounded(number, events + day.lent[place])"),
        ),
        what="joint",
    ),
    Mutant(
        "float-noise",
        "noise by floating point: the logarithm of a random float",
        "integers",
        (
            Change(LAPLACE, "def below(", "import math\nimport random\n\n\ndef below("),
            Change(
                LAPLACE,
                "    while True:\n        u = below(bits, q)\n",
                "    a = -p / q\n    if True:\n        return int(math.log(1 - random.random()) / a) - int("
                "math.log(1 - random.random()) / a)\n    while True:\n        u = below(bits, q)\n",
            ),
        ),
    ),
    Mutant(
        "pseudo-random",
        "bits of a pseudo-random generator",
        "integers",
        (
            Change(ENTROPY, "import os\n", "import os\nimport random\n"),
            Change(ENTROPY, "self._source(_BLOCK)", "bytes([random.getrandbits(8) for _ in range(_BLOCK)])"),
        ),
    ),
    Mutant(
        "unchecked-source",
        "bits are drawn while the source is not true",
        "refusal",
        _in(ENTROPY, "        check()\n", ""),
    ),
    Mutant(
        "exact-when-refused",
        "without randomness the count leaves as it is",
        "refusal",
        _in(
            RELEASE,
            f"if noise is not None:\n                {_VALUE}",
            "if True:\n                value = bounded(number, events + (noise[place] if noise else 0))",
        ),
    ),
    Mutant(
        "drawn-again-on-retry",
        "what flash refused is drawn for again",
        "once",
        (
            Change(CYCLE, _SEAL, _SEAL_AGAIN),
            Change(
                CYCLE,
                _REPORT_BODY,
                "self._pool.fill()\n            drawn = self._pool.take()\n            "
                "again = {q: (values[q][0] + drawn[0],) for q in values}\n            "
                "return report.encode(seq, window, profile.revision, bits, again)",
            ),
        ),
    ),
    Mutant(
        "memo-forgotten",
        "a window that was released is not known any more",
        "once",
        _in(OUTBOX, "return self._window > 0 and window <= self._window", "return False"),
    ),
    Mutant(
        "memo-only-in-memory",
        "after a reset the windows that were released are not read from flash",
        "once",
        _in(
            OUTBOX,
            "        self._scan()\n\n    def next_seq",
            "        self._scan()\n        self._window = 0\n\n    def next_seq",
        ),
    ),
    Mutant(
        "day-released-again",
        "a day's total that was released is not known any more",
        "once",
        _in(OUTBOX, "return self._day > 0 and day <= self._day", "return False"),
    ),
    Mutant(
        "drawn-late",
        "noise is drawn when the window ends, while the report waits for it",
        "timing",
        _in(
            CYCLE, "            if self._pool and not self._pool.ready():\n                self._draw()\n", ""
        ),
    ),
    Mutant(
        "withheld-digest-kept",
        "the digest of a withheld figure is kept, which tells the figure to whoever tries them all",
        "publication",
        gateway=_in("account.py", "None if withheld else admitted.digest", "admitted.digest"),
    ),
    Mutant(
        "no-threshold",
        "figures below the threshold are published",
        "publication",
        gateway=_in("account.py", "noisy < admitted.mandate.k", "noisy < 0"),
    ),
    Mutant(
        "withheld-is-free",
        "a figure that is withheld has no line in the ledger",
        "publication",
        gateway=(
            Change("account.py", "            ledger.append(_line(admitted, number))\n", ""),
            Change(
                "account.py",
                "            observations.append(_count(",
                "            ledger.append(_line(admitted, number))\n            observations.append(_count(",
            ),
        ),
    ),
    Mutant(
        "window-at-the-days-price",
        "a window is accounted at the price of a day",
        "publication",
        gateway=_in(
            "account.py", "mandate.epsilon_micro(admitted.kind)", "mandate.epsilon_micro(topics.DAY)"
        ),
    ),
    Mutant(
        "forgetful-ledger",
        "the ledger is written with the next batch, and forgotten in a crash",
        "ledger",
        gateway=(
            Change(
                "store/batch.py", "REFUSALS_KEPT = 100_000\n", "REFUSALS_KEPT = 100_000\n_LATER: list = []\n"
            ),
            Change(
                "store/batch.py",
                _LEDGER,
                _LEDGER
                + "    _LATER.append(ledger)\n    ledger = _LATER.pop(0) if len(_LATER) > 1 else []\n",
            ),
        ),
    ),
    Mutant(
        "two-transactions",
        "a report is on the disk before its price is",
        "ledger",
        gateway=_in(
            "store/batch.py",
            "    if ledger:\n",
            "    if ledger:\n        connection.exec_driver_sql('COMMIT')\n"
            "        connection.exec_driver_sql('BEGIN')\n",
        ),
    ),
)

HARMLESS = (
    Mutant(
        "clamped-at-zero",
        "figures below zero leave as zero: nothing is known of the count that was not known before",
        "divergence",
        _in(RELEASE, "(min(max(noisy, lowest), highest),)", "(min(max(noisy, 0), highest),)"),
        count=0,
    ),
)
"""Changes that keep the promise: an audit that rejects them would reject anything."""
