"""Turns a closed window into the numbers that may leave the device. Exact counts end here.

Counts get the discrete-Laplace noise that was drawn for this window when it began (node.pool). Reading a
count overwrites it; the same reading adds it to the day's running total, which carries noise of its own from
its first moment (node.day). Sampled quantities leave as mean and spread, lowest and highest, level. One call
a window: the caller puts the result into the outbox before anything is sent, and never calls again for a
window that is there.
"""

from peilmerk_protocol import quantities

_MOST_SAMPLES = 65535


def release(tally, noise, day=None, expected=None):
    """Return ({quantity: value}, share) of a window.Tally, values as the report wants them; share: the
    smallest part of the expected samples behind any figure, in percent, None when nobody can tell.

    noise: one number for each count in rising order of quantities, overwritten here; None (there was no true
    randomness): counts are left out. day: a day.Day that adds the counts up. expected(quantity) tells how
    many samples the window should have had, 0 when nobody can tell. A figure without samples, or out of its
    range, is left out.
    """
    values = {}
    place = 0
    fewest = share = None
    for number in tally.quantities:
        kind = quantities.kind(number)
        value = None
        if kind == quantities.KIND_COUNT:
            events = tally.take_count(number)
            if day is not None:
                day.add(place, events)
            if noise is not None:
                value = bounded(number, events + noise[place])
            events = 0
            place += 1
        elif kind == quantities.KIND_MEAN:
            value = tally.mean(number)
        elif kind == quantities.KIND_LEVEL:
            value = tally.level(number)
        elif kind == quantities.KIND_EXTREMES:
            value = tally.extremes(quantities.mean_of(number))
        if value is not None and quantities.fits(number, value):
            values[number] = value
            if kind == quantities.KIND_MEAN:
                fewest = min(tally.samples(number), fewest or _MOST_SAMPLES)
        if kind in (quantities.KIND_MEAN, quantities.KIND_LEVEL):
            wanted = expected(number) if expected else 0
            if wanted:
                share = min(tally.samples(number) * 100 // wanted, 100 if share is None else share)
    if noise is not None:
        wipe(noise)
    if quantities.SAMPLES in tally.quantities:
        values[quantities.SAMPLES] = (fewest or 0,)
    if quantities.COMPLETENESS in tally.quantities and share is not None:
        values[quantities.COMPLETENESS] = (share,)
    return values, share


def bounded(number, noisy):
    """A noisy count within the wire's range: post-processing, it tells nothing more."""
    lowest, highest = quantities.value_range(number)
    return (min(max(noisy, lowest), highest),)


def wipe(numbers):
    """Overwrite a list of numbers with zero."""
    for place in range(len(numbers)):
        numbers[place] = 0
