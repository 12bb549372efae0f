"""Turns a closed window into the numbers that may leave the device. Exact counts end here.

Counts get discrete-Laplace noise with the profile's epsilon for a window; the noise is drawn before the
count is even read, and reading overwrites it. Sampled quantities leave as mean and spread. One call a
window: the caller puts the result into the outbox before anything is sent and never calls again for a
window that is there.
"""

from node.entropy import BitStream
from node.laplace import discrete_laplace
from peilmerk_protocol import quantities

_MOST_SAMPLES = 65535


class ReleaseRefused(Exception):
    """The profile does not permit a release: a count would leave without noise."""


def release(tally, profile, open_bits=BitStream):
    """Return {quantity: (count,) or (mean, spread) or (samples,)} of a window.Tally under `profile`.

    `open_bits()` gives an entropy.BitStream; it is opened only when there are counts. A mean without
    samples, or out of its range, is left out. Raises ReleaseRefused or entropy.EntropyRefused with the
    tally untouched.
    """
    counted = [number for number in tally.quantities if quantities.is_count(number)]
    noise = _draw(counted, profile, open_bits) if counted else ()
    values = {}
    for place in range(len(counted)):
        lowest, highest = quantities.value_range(counted[place])
        noisy = tally.take_count(counted[place]) + noise[place]
        # Holding the noisy value within the wire's range is post-processing: it tells nothing more.
        values[counted[place]] = (min(max(noisy, lowest), highest),)
    fewest = None
    for number in tally.quantities:
        if quantities.kind(number) == quantities.KIND_MEAN:
            value = tally.mean(number)
            if value is not None and quantities.fits(number, value):
                values[number] = value
                samples = tally.samples(number)
                fewest = samples if fewest is None else min(fewest, samples)
    if quantities.SAMPLES in tally.quantities:
        values[quantities.SAMPLES] = (min(fewest or 0, _MOST_SAMPLES),)
    return values


def _draw(counted, profile, open_bits):
    p, q = profile.epsilon_leaf
    if p < 1 or q < 1:
        raise ReleaseRefused("found epsilon %d/%d for a count, wanted a positive fraction" % (p, q))
    stream = open_bits()
    try:
        return [discrete_laplace(stream.bits, p, q) for _ in counted]
    finally:
        stream.close()
