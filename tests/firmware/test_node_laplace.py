"""The noise: the exact distribution, and the exact bits it is made of."""

import math
import random

import pytest

DRAWS = 60_000


def pmf(p, q, z):
    """P(z) of the discrete Laplace distribution with epsilon p/q."""
    a = math.exp(-p / q)
    return (1 - a) / (1 + a) * a ** abs(z)


@pytest.mark.parametrize(("p", "q"), [(7, 10), (35, 100), (1, 1), (3, 1)])
def test_distribution_is_the_discrete_laplace(micropython, p, q):
    histogram = micropython(
        f"""
        import json
        from node.entropy import BitStream
        from node.laplace import discrete_laplace
        stream = BitStream()
        found = {{}}
        for _ in range({DRAWS}):
            z = discrete_laplace(stream.bits, {p}, {q})
            found[z] = found.get(z, 0) + 1
        print(json.dumps([[z, found[z]] for z in found]))
        """
    )
    chi_square(dict(map(tuple, histogram)), p, q)


def chi_square(found, p, q):
    """Fail when the histogram is more than six sigma away from the distribution."""
    edge = 0
    while pmf(p, q, edge + 1) * DRAWS > 20:
        edge += 1
    statistic = 0.0
    for z in range(-edge, edge + 1):
        expected = pmf(p, q, z) * DRAWS
        statistic += (found.get(z, 0) - expected) ** 2 / expected
    # Both tails are one cell each: beyond the edge lies a geometric rest.
    a = math.exp(-p / q)
    expected = pmf(p, q, edge + 1) / (1 - a) * DRAWS
    for tail in (sum(n for z, n in found.items() if z > edge), sum(n for z, n in found.items() if z < -edge)):
        statistic += (tail - expected) ** 2 / expected
    freedom = 2 * edge + 2
    assert statistic < freedom + 6 * math.sqrt(2 * freedom)


def test_the_chi_square_test_itself_rejects_a_scale_off_by_a_tenth():
    generator = random.Random(1)  # proves the test's power, not the noise

    def draw():
        a = math.exp(-0.77)
        return sum(sign * int(math.log(1 - generator.random()) / math.log(a)) for sign in (1, -1))

    found = {}
    for _ in range(DRAWS):
        z = draw()
        found[z] = found.get(z, 0) + 1
    with pytest.raises(AssertionError):
        chi_square(found, 7, 10)


class Bits:
    """The documented order of consumption, written anew: 32-byte blocks, least significant bit first."""

    def __init__(self, stream):
        self.stream = stream
        self.bits = []
        self.blocks = 0

    def __call__(self, count):
        value = 0
        for place in range(count):
            if not self.bits:
                block = self.stream[self.blocks * 32 : self.blocks * 32 + 32]
                self.blocks += 1
                self.bits = [byte >> i & 1 for byte in block for i in range(8)]
            value |= self.bits.pop(0) << place
        return value


def reference_draw(bits, p, q):
    """The sampler of PRIVACY's pseudo-code, in CPython's words."""

    def below(n):
        while (v := bits((n - 1).bit_length())) >= n:
            pass
        return v

    def bern(num, den):
        k = 1
        while below(den * k) < num:
            k += 1
        return k % 2 == 1

    while True:
        u = below(q)
        if not bern(u, q):
            continue
        v = 0
        while bern(1, 1):
            v += 1
        m = (u + q * v) // p
        s = bits(1)
        if s and m == 0:
            continue
        return -m if s else m


def test_draws_are_reproduced_from_the_logged_bytes(micropython):
    stream = random.Random(20240229).randbytes(32 * 400)
    drawn = micropython(
        f"""
        import json
        from node.entropy import BitStream
        from node.laplace import discrete_laplace
        data = bytes.fromhex("{stream.hex()}")
        taken = []
        def source(count):
            taken.append(count)
            return data[(len(taken) - 1) * 32:len(taken) * 32]
        stream = BitStream(source)
        draws = [discrete_laplace(stream.bits, 7, 10) for _ in range(500)]
        print(json.dumps({{"draws": draws, "taken": taken}}))
        """
    )
    bits = Bits(stream)
    assert drawn["draws"] == [reference_draw(bits, 7, 10) for _ in range(500)]
    assert drawn["taken"] == [32] * bits.blocks
    assert len(set(drawn["draws"])) > 8


def test_no_noise_is_never_an_answer(micropython):
    refused = micropython(
        """
        import json
        from node.laplace import discrete_laplace
        refused = []
        for p, q in ((0, 1), (1, 0), (-1, 2)):
            try:
                discrete_laplace(None, p, q)
            except ValueError as fault:
                refused.append(str(fault))
        print(json.dumps(refused))
        """
    )
    assert refused == [
        "found epsilon 0/1, wanted a positive fraction",
        "found epsilon 1/0, wanted a positive fraction",
        "found epsilon -1/2, wanted a positive fraction",
    ]


def test_entropy_is_refused_while_the_radio_is_off(micropython):
    said = micropython(
        """
        import json, sys
        from node import entropy

        class Station:
            on = False
            def active(self):
                return self.on

        class Network:
            STA_IF = 0
            station = Station()
            def WLAN(self, which):
                return self.station

        class Board:
            platform = "esp32"

        sys.modules["network"] = Network()
        entropy.sys = Board()
        said = []
        for on in (False, True):
            Station.on = on
            try:
                entropy.BitStream()
                said.append("drawn")
            except entropy.EntropyRefused as fault:
                said.append(str(fault))
        print(json.dumps(said))
        """
    )
    assert said == ["found the radio off, wanted it on: the random generator is not true without it", "drawn"]


def test_no_float_and_no_pseudo_random_generator_on_the_privacy_path():
    import ast

    from on_micropython import FIRMWARE

    for name in ("entropy", "laplace", "pool", "release", "day", "window", "early", "cycle"):
        tree = ast.parse((FIRMWARE / "node" / f"{name}.py").read_text())
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), name
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), name
            assert not (isinstance(node, ast.Name) and node.id == "float"), name
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"random", "math"}, name
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("random", "math"), name
