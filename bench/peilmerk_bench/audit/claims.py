"""What each release claims: the privacy profiles, the neighbours that are compared, the limits."""

from __future__ import annotations

from fractions import Fraction

from peilmerk_protocol.profile import STANDARD_COUNTER, Profile

_COUNTS = STANDARD_COUNTER.set

PROFILES = {
    "standard": STANDARD_COUNTER,
    "strict": Profile(1, 3600, _COUNTS, (7, 20), (3, 20), 10, 4),
    "crowd": Profile(1, 300, _COUNTS, (7, 10), (3, 10), 20, 4),
}
"""Streets and cycle paths; quiet places; events. Bicycles in two directions: all counts are treated alike."""

COUNTS = (0, 4, 5, 20)
"""Each is compared with one passage more; the count below a profile's threshold is always compared too."""

SAMPLES = 60_000
LEAST_SAMPLES = 20_000
"""With fewer the limit comes within three standard errors of the estimate."""

LIMIT = 0.03
SIGMA = 6.0
POWER_FACTOR = 1.1
"""The chi-square test must reject noise whose epsilon is so many times the claimed one."""


def leaf(profile: Profile) -> Fraction:
    """Return the epsilon of a window's count."""
    return Fraction(*profile.epsilon_leaf)


def day(profile: Profile) -> Fraction:
    """Return the epsilon of a day's total."""
    return Fraction(*profile.epsilon_day)


def claimed(profile: Profile, release: str) -> Fraction:
    """Return the epsilon at which a release that `draws.py` names is audited.

    A passage is in one window and in its day: a difference that has both in it spends both, one that has
    neither day nor another's window spends the window's.
    """
    if release in ("window", "window - next window", "window - other way"):
        return leaf(profile)
    if release == "day":
        return day(profile)
    if release in ("day - window", "day - next window"):
        return leaf(profile) + day(profile)
    raise KeyError(release)


def neighbours(profile: Profile) -> list[int]:
    """Return the counts of which each is compared with one more."""
    return sorted({*COUNTS, profile.k - 1})
