"""The noise: the sampler bit for bit, and the board's own source of randomness."""

import os

from unit import same

# Of the stream that `bits` below gives, at epsilon 7/10 and 3/10; drawn by other code on another machine.
LEAF = (
    0,
    0,
    0,
    -1,
    1,
    0,
    -1,
    4,
    1,
    0,
    2,
    4,
    0,
    -3,
    0,
    0,
    0,
    0,
    0,
    -2,
    -1,
    1,
    4,
    1,
    0,
    -4,
    0,
    0,
    1,
    -3,
    -1,
    -2,
)
DAY = (
    5,
    -4,
    -6,
    -5,
    2,
    -8,
    5,
    -1,
    -3,
    -2,
    6,
    -8,
    -1,
    -1,
    -11,
    9,
    -3,
    -12,
    -1,
    0,
    0,
    -2,
    -2,
    1,
    0,
    6,
    1,
    0,
    -3,
    0,
    -6,
    -4,
)


def stream():
    """bits(n) of a fixed xorshift generator, so that every board draws alike."""
    state = [20261123]

    def bits(count):
        value = 0
        for place in range(count):
            number = state[0]
            number ^= number << 13 & 0xFFFFFFFF
            number ^= number >> 17
            number ^= number << 5 & 0xFFFFFFFF
            state[0] = number
            value |= (number >> 16 & 1) << place
        return value

    return bits


def test_the_sampler_draws_what_the_paper_says():
    from node.laplace import discrete_laplace

    bits = stream()
    same(tuple([discrete_laplace(bits, 7, 10) for _ in LEAF]), LEAF, "epsilon 7/10")
    same(tuple([discrete_laplace(bits, 3, 10) for _ in DAY]), DAY, "epsilon 3/10")


def test_no_noise_is_no_answer():
    from node.laplace import discrete_laplace

    for p, q in ((0, 1), (1, 0), (-7, 10)):
        try:
            discrete_laplace(stream(), p, q)
        except ValueError:
            continue
        raise AssertionError("drew with epsilon %d/%d" % (p, q))


def test_bits_of_the_boards_own_source_are_balanced():
    """4,096 bits: ones beyond 2048 +- 6 standard deviations (32 each) are a dead source."""
    from node.entropy import BitStream

    try:
        import network

        network.WLAN(network.STA_IF).active(True)
    except ImportError:
        pass
    stream = BitStream()
    ones = 0
    for _ in range(256):
        number = stream.bits(16)
        while number:
            ones += number & 1
            number >>= 1
    stream.close()
    assert 2048 - 192 < ones < 2048 + 192, ones
    assert os.urandom(16) != os.urandom(16)
