"""Holds the way of a count on the board against its rule: integers and true random bits, nothing else.

A float's noise has holes that give the count away (Mironov 2012) and that no number of samples shows once it
is rounded, so this is read from the sources.
"""

from __future__ import annotations

import ast
from pathlib import Path

MODULES = ("day", "early", "entropy", "laplace", "pool", "release", "window")
"""Of firmware/node: where a count is, from its first passage until its noise is in it."""

FORBIDDEN = frozenset({"random", "math", "cmath"})


def found_in(firmware: Path) -> list[str]:
    """Return "module:line: what" for every float and every generator that is not true."""
    return [
        f"{name}:{line}: {what}"
        for name in MODULES
        for line, what in _found(ast.parse((firmware / "node" / f"{name}.py").read_text("utf-8")))
    ]


def _found(tree: ast.Module) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append((node.lineno, f"the float {node.value}"))
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append((node.lineno, "a true division"))
        elif isinstance(node, ast.Name) and node.id == "float":
            found.append((node.lineno, "float"))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, n.name) for n in node.names if n.name in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN:
            found.append((node.lineno, str(node.module)))
    return found
