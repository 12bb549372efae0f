"""Joined firmware: it does what its sources do, in fewer bytes, under the names that others have for it."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning.linking import LinkError, Program
from peilmerk_provisioning.linking.names import FOREIGN
from peilmerk_provisioning.linking.symbols import Symbols

ROOT = Path(__file__).parents[2]
MICROPYTHON = Path(sys.executable).with_name("micropython")
PARTS: dict[str, tuple[str, ...]] = {"pack.lazy": ("pack.lazier",)}

# What is hard to get right: one name for several things, scopes within scopes, what is loaded late.
SOURCES = {
    "node.app": '''
        """Everything."""
        import asyncio
        import struct
        from micropython import const
        from pack import base, shapes
        from pack.base import LIMIT, Base, say
        _TEXT = "text"
        _SIZE = const(3)
        _TWICE = const(_SIZE * 2)
        total = 0

        class Left(Base):
            width = _TWICE

            def __init__(self, name, depth=_SIZE):
                super().__init__(name)
                self._kept = [depth]
                self._turn = asyncio.Lock()

            def sum(self, a, b, *more, base=1):
                global total
                total += a * base
                return sum([a for a in (a, b) + more]) + LIMIT + base

            def later(self, x):
                from pack import lazier
                from pack.lazy import Late, twice

                def inner(y, a=x):
                    return twice(x) + y + a + lazier.LEVEL + len(lazier.words())

                return inner(1), Late(x).deep(), [(lambda n, k=k: n + k + x)(1) for k in range(2)]

            async def waits(self, value):
                async with self._turn:
                    if value is None:
                        raise ValueError("none")
                    return value

            @property
            def name(self):
                return self._name.upper()

        async def both(left):
            found = await left.waits(7)
            try:
                await left.waits(None)
            except ValueError as fault:
                found = (found, str(fault))
            return found, await left.waits(8)

        def main():
            left = Left("l")
            say("%s %d %d", left.name, left.width, left.sum(1, 2, 3, base=5))
            say("%s", (total, left.later(4), base.count, base.grown(), base.count))
            say("%s", asyncio.run(both(left)))
            square = shapes.Square(4)
            say("%d %s %s", square.area(), square._kept, sorted(shapes.known, key=lambda key: -len(key)))
            say("%s %s", _TEXT, struct.unpack("<H", b"\\x01\\x02"))
            say("%d", getattr(square, "sought"))
            try:
                left.sum(1)
            except TypeError:
                say("wanted more")
    ''',
    "pack": "",
    "pack.base": '''
        """What others stand on."""
        LIMIT = 100
        count = 1

        def say(text, *values):
            print(text % values)

        def grown():
            global count
            count += 1
            return count

        def nobody_asks():
            return unheard_of

        class Base:
            def __init__(self, name):
                self._name = name
                self._kept = None

            def never_asked(self):
                pass
    ''',
    "pack.shapes": """
        from pack.base import say
        known = ("a", "bcd", "ef")

        class Square:
            sought = 11

            def __init__(self, side):
                self._side = side
                self._kept = known[0]

            def area(self):
                a = self._side
                for b in range(2):
                    try:
                        return a * self._side
                    except OSError as a:
                        say("%s", a)
    """,
    "pack.lazy": """
        from pack.base import LIMIT
        from pack import shapes

        class Late(shapes.Square):
            def deep(self):
                return self.area() + LIMIT

        def twice(value):
            return value * 2
    """,
    "pack.lazier": """
        LEVEL = 9

        def words():
            return [LEVEL for LEVEL in range(3)]
    """,
}


def text(source: str) -> str:
    lines = source.split("\n")
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)


def write(folder: Path, modules: dict[str, str]) -> Path:
    for name, source in modules.items():
        package = name == "pack"
        path = folder / (name.replace(".", "/") + ("/__init__.py" if package else ".py"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


def run(folder: Path, code: str) -> str:
    words = [MICROPYTHON, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {name: text(source) for name, source in SOURCES.items()}


@pytest.fixture(scope="module")
def program(sources: dict[str, str]) -> Program:
    return Program(sources, PARTS)


def test_joined_modules_do_what_their_sources_do(
    sources: dict[str, str], program: Program, tmp_path: Path
) -> None:
    code = "from node import app; app.main()"
    plain = run(write(tmp_path / "plain", sources), code)
    assert plain.splitlines() == [
        "L 6 111",
        "(5, (25, 116, [5, 6]), 1, 2, 2)",
        "((7, 'none'), 8)",
        "16 a ['bcd', 'ef', 'a']",
        "text (513,)",
        "11",
        "wanted more",
    ]
    assert set(program.modules) == {"node.app", "pack.lazy"}
    joined = run(write(tmp_path / "joined", program.modules), code)
    assert joined == plain


def test_what_nobody_asks_for_is_left_out_and_constants_stand_where_they_are_used(program: Program) -> None:
    assert program.dropped == {("pack.base", "nobody_asks")}
    whole = "".join(program.modules.values())
    for gone in ("nobody_asks", "never_asked", "LIMIT", "_TEXT", "_SIZE", "_name", "grown", "const"):
        assert gone not in whole
    # Asked for by text, of MicroPython's, given by name, or what others ask a board for.
    for kept in ("sought", "base=", "def main", "__init__"):
        assert kept in whole


def test_a_guest_speaks_to_it_in_the_names_that_it_has(program: Program, tmp_path: Path) -> None:
    guest = text("""
        from pack.base import LIMIT, nobody_asks

        def ask():
            from pack import shapes
            try:
                from pack import elsewhere
            except ImportError:
                print("not there")
            print(shapes.Square(3).area(), LIMIT)
            try:
                nobody_asks()
            except ValueError as fault:
                print(fault)

        def absent(name):
            raise ValueError(name)
    """)
    folder = write(tmp_path, program.modules)
    (folder / "guest.py").write_text(program.guest(guest, absent="absent"))
    assert run(folder, "import guest; guest.ask()").splitlines() == [
        "not there",
        "9 100",
        "pack.base.nobody_asks",
    ]
    with pytest.raises(LinkError, match=r"found pack.base.nobody_asks, wanted what a board carries"):
        program.guest(guest)
    with pytest.raises(LinkError, match="found the attribute _side, wanted what a module shows to others"):
        program.guest("from pack.shapes import Square\nprint(Square(1)._side)")


def test_a_traceback_is_read_in_the_names_of_the_sources(
    sources: dict[str, str], program: Program, tmp_path: Path
) -> None:
    short = program.globals["pack.base", "grown"]
    said = f'peilmerk: hello\n  File "app", line 1, in {short}\n  File "app", in <module>\n'
    told = program.plain(said).splitlines()
    assert told[0] == "peilmerk: hello"
    assert told[1].startswith(f'  File "app", line 1, in {short} (')
    assert "pack.base.grown" in told[1]
    assert told[2] == '  File "app", in <module>'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from pack import base\nx = [base]", "found the module base as a value, wanted a name in it"),
        ("from pack.base import missing\nprint(missing)", "found pack.base.missing, wanted what is defined"),
        ("import pack.base", "found import pack.base, wanted from … import"),
        ("class A:\n    a = 1\n    b = a + 1\nprint(A.b)", "found a class body that reads its own names"),
        ("import time as struct\nstruct.time()", r"found struct for \('', 'time'\), wanted"),
        (
            "from pack.base import count\nprint(count)",
            "pack.more: found from pack.base import count, which pack.base sets more than once; wanted "
            "pack.base itself imported, and count asked of it",
        ),
        (
            "def f():\n    from pack.twice import level\n    return level\nf()",
            "pack.more: found from pack.twice import level, which pack.twice sets more than once",
        ),
        ("async def f(a):\n    async with a as b:\n        pass\nf()", "found async with a, wanted one lock"),
    ],
)
def test_what_cannot_be_joined_is_named(sources: dict[str, str], source: str, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        Program({**sources, "pack.twice": "level = 1\nlevel += 1\n", "pack.more": source}, PARTS)


def test_modules_that_import_each_other_are_named() -> None:
    with pytest.raises(LinkError, match=r"a\.b: found that it imports itself by way of a\.b and a\.c"):
        Program({"a.b": "from a.c import x", "a.c": "from a.b import y"}, {})


WALK = """
names = set()
seen = set()
def walk(thing, depth):
    for name in dir(thing):
        names.add(name)
        try:
            value = getattr(thing, name)
        except Exception:
            continue
        if depth < 4 and id(value) not in seen:
            seen.add(id(value))
            walk(value, depth + 1)
for name in ("array asyncio binascii builtins collections cryptolib deflate errno gc hashlib io json machine "
             "micropython os platform random select socket ssl struct sys time tls vfs _thread").split():
    try:
        walk(__import__(name), 0)
    except ImportError:
        pass
for value in ("", b"", [], {}, (), set(), 1, bytearray(), memoryview(b""), Exception(), walk, iter([])):
    walk(value, 0)
print(*sorted(names), sep="\\n")
"""


def names_of_micropython() -> set[str]:
    """What MicroPython calls things: as the real one says, and as the stubs of an ESP32's modules do."""
    said = subprocess.run([MICROPYTHON, "-c", WALK], capture_output=True, text=True, check=True)
    names = set(said.stdout.split())
    own = ("asyncio", "os", "ssl", "sys", "io", "json", "struct", "collections", "array", "re", "_asyncio")
    for package in ("micropython-esp32-stubs", "micropython-stdlib-stubs"):
        for file in importlib.metadata.files(package) or ():
            standard = file.parts[0] == "stdlib" and file.parts[1].removesuffix(".pyi") not in own
            if file.suffix != ".pyi" or standard or file.parts[0] in ("requests", "umqtt", "_mpy_shed"):
                continue
            tree = ast.parse(Path(str(file.locate())).read_text("utf-8"))
            for item in ast.walk(tree):
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    names.add(item.name)
                elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    names.add(item.target.id)
    return names


def test_no_attribute_that_micropython_has_too_is_renamed() -> None:
    own: set[str] = set()
    for folder in (ROOT / "firmware/node", ROOT / "protocol/peilmerk_protocol"):
        for path in folder.rglob("*.py"):
            own |= Symbols.of(path.stem, ast.parse(path.read_text("utf-8"))).attributes
    theirs = names_of_micropython()
    assert {"done", "close", "config"} <= theirs & own
    assert not theirs & own - FOREIGN, "put these into linking/foreign.txt"
    for kind in ("counter", "air"):
        program = bundles.build(kind=kind).program
        assert program is not None
        assert not set(program.attributes) & theirs
        assert len(program.attributes) > 250


def test_firmware_for_a_kind_is_joined_and_without_one_is_not() -> None:
    counter = bundles.build(kind="counter")
    assert counter.program is not None
    assert set(counter.files) == {
        *("boot.py", "main.py", "node/__init__.mpy", "node/app.mpy", "node/portal/http.mpy"),
        *("node/portal/pages", "node/update/receive.mpy"),
    }
    assert b"_acknowledged" not in counter.files["node/app.mpy"]
    air = bundles.build(kind="air")
    assert set(air.files) - set(counter.files) == {"node/power.mpy"}
    assert set(air.on_mains().files) == set(counter.files)
    assert air.on_mains().digest != air.digest
    assert "node/sensing/pulses.mpy" in bundles.build(kind="counter", drivers=["pulses"]).files
    plain = bundles.build(kind="counter", joined=False)
    assert plain.program is None
    assert "node/outbox.mpy" in plain.files
