"""Exact discrete-Laplace noise: integers and random bits only, no float and no approximation.

The sampler of Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020),
algorithms 1 and 2. `bits(n)` is a function that returns n uniform random bits as an integer
(entropy.BitStream.bits).
"""


def below(bits, limit):
    """A uniform integer in 0 .. limit - 1, limit >= 1, by rejection."""
    width = 0
    largest = limit - 1
    while largest:
        largest >>= 1
        width += 1
    while True:
        value = bits(width)
        if value < limit:
            return value


def bernoulli_exp(bits, p, q):
    """True with probability e^(-p/q), for 0 <= p <= q and q >= 1."""
    k = 1
    while below(bits, q * k) < p:
        k += 1
    return k & 1 == 1


def discrete_laplace(bits, p, q):
    """An integer z with probability proportional to e^(-|z| p/q): epsilon p/q at sensitivity 1.

    Raises ValueError unless p and q are positive integers: no noise at all is never an answer.
    """
    if p < 1 or q < 1:
        raise ValueError("found epsilon %d/%d, wanted a positive fraction" % (p, q))
    while True:
        u = below(bits, q)
        if not bernoulli_exp(bits, u, q):
            continue
        v = 0
        while bernoulli_exp(bits, 1, 1):
            v += 1
        magnitude = (u + q * v) // p
        negative = bits(1)
        # Zero must not be drawn twice as often as its neighbours by having two signs.
        if negative and magnitude == 0:
            continue
        return -magnitude if negative else magnitude
