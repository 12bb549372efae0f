"""Functions with one caller become part of it, and what is done and returned stays the same."""

from __future__ import annotations

import ast
import contextlib
import io
import textwrap

import pytest

from peilmerk_provisioning.linking.inline import inline

# {what it is: (source, names of the functions that are left)}. Every source is run before and after.
MOVED = {
    "a value that is returned": (
        """
        def main():
            return _sum(1, 2)
        def _sum(a, b):
            c = a + b
            if c > 2:
                return c * 2
        """,
        {"main"},
    ),
    "a value that falls off the end": (
        """
        def main():
            return [run(n) for n in range(3)]
        def run(n):
            found = _odd(n)
            return found
        def _odd(n):
            if n % 2:
                return n
        """,
        {"main", "run"},
    ),
    "an early way out": (
        """
        said = []
        def main():
            run(1)
            run(5)
            return said
        def run(n):
            _say(n)
            said.append("after")
        def _say(n):
            if n > 3:
                said.append("many")
                return
            said.append(n)
            n += 1
            said.append(n)
        """,
        {"main", "run"},
    ),
    "what is asked in a condition": (
        """
        def main():
            return [run(n) for n in (0, 7)]
        def run(n):
            if not _small(n) and n:
                return "large"
            elif _even(n + 1):
                return "even"
            return "odd"
        def _small(n):
            try:
                return 10 // n > 1
            except ZeroDivisionError as fault:
                return str(fault) == ""
        def _even(n):
            return n % 2 == 0
        """,
        {"main", "run"},
    ),
    "names that both have": (
        """
        def main():
            a, b = 1, 2
            c = _swap(b, a)
            return a, b, c
        def _swap(a, b):
            a, b = b, a
            return [a, b, [a for a in range(2)]]
        """,
        {"main"},
    ),
    "methods, one by one": (
        """
        class Thing:
            def __init__(self):
                self.n = 1
                self._fill(self.n, more=3)
            def _fill(self, n, by=2, more=0):
                self.n = n + by + more
                self._note()
            def _note(self):
                self.noted = self.n
        class Other:
            def __init__(self):
                self._fill()
            def _fill(self):
                self.n = 0
        def main():
            return Thing().n, Thing().noted, Other().n
        """,
        {"main", "__init__"},
    ),
    "what is waited for": (
        """
        import asyncio
        async def both():
            found = await _later(2)
            await _quietly(found)
            return await _later_still()
        async def _later(n):
            await asyncio.sleep(0)
            return n
        async def _quietly(n):
            kept.append(n)
        async def _later_still():
            await asyncio.sleep(0)
            return kept
        kept = []
        def main():
            return asyncio.run(both())
        """,
        {"main", "both"},
    ),
}
KEPT = {
    "called twice": "def main(): return _a() + _a()\ndef _a(): return 1",
    "handed on": "def main(): return list(map(_a, [1]))\ndef _a(n): return n",
    "a loop that is left": "def main():\n x = _a()\n return x\n"
    "def _a():\n for n in range(9):\n  if n > 3:\n   return n",
    "a global of its name": "n = 5\ndef main():\n n = 1\n return _a() + n\ndef _a(): return n * 2",
    "worked out later": "def main():\n x = []\n return [x.append(1), _a(x)]\n"
    "def _a(x):\n y = len(x)\n return y",
    "a generator": "def main(): return list(_a())\ndef _a(): yield 1",
    "overridden": "class A:\n def run(self): return self._a()\n def _a(self): return 1\n"
    "class B(A):\n def _a(self): return 2\ndef main(): return B().run()",
    "a function in it": "def main(): return _a(2)()\ndef _a(n): return lambda: n",
}


def result(tree: ast.Module) -> object:
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(ast.unparse(ast.fix_missing_locations(tree)), "module", "exec"), names)
    return names["main"]()  # type: ignore[operator]


def functions(tree: ast.Module) -> list[str]:
    return [i.name for i in ast.walk(tree) if isinstance(i, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("what", MOVED)
def test_what_is_called_once_is_moved_to_where_it_is_called(what: str) -> None:
    source, left = MOVED[what]
    source = textwrap.dedent(source)
    tree = ast.parse(source)
    inline({"module": tree})
    assert set(functions(tree)) == left
    assert result(tree) == result(ast.parse(source)) is not None


@pytest.mark.parametrize("what", KEPT)
def test_what_would_mean_something_else_stays(what: str) -> None:
    tree = ast.parse(KEPT[what])
    inline({"module": tree})
    assert "_a" in functions(tree)
    assert result(tree) == result(ast.parse(KEPT[what])) is not None


def test_what_another_module_asks_for_stays() -> None:
    source = (
        "class A:\n def run(self): return self._a()\n def _a(self): return 1\ndef main(): return A().run()"
    )
    trees = {"one": ast.parse(source), "two": ast.parse("from one import A\nA()._a()")}
    inline(trees)
    assert "_a" in functions(trees["one"])
