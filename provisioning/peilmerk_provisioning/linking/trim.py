"""What joined modules can do without, and what stands first in them."""

from __future__ import annotations

import ast
import builtins
import keyword
from collections import Counter
from collections.abc import Collection, Mapping

from peilmerk_provisioning.linking.names import FOREIGN
from peilmerk_provisioning.linking.symbols import Function, arguments

__all__ = ["drop_unused", "usual_first"]

# The first 128 names of a module take one byte wherever they stand, all others two.
FIRST = 128
# What only a debugger or a set would ask for.
NEVER_ASKED = frozenset({"__repr__", "__hash__"})
OF_A_CLASS = ("__name__", "__module__", "__qualname__")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def drop_unused(modules: Mapping[str, ast.Module], keep: Collection[str]) -> set[str]:
    """Take out what is defined and mentioned nowhere: functions, classes, methods and values at the top of a
    module, but for those in `keep`. Returns the names that were dropped at the top of modules.
    """
    dropped: set[str] = set()
    while True:
        names, attributes = _mentioned(modules)
        names.update(keep)
        attributes |= FOREIGN
        before = len(dropped)
        methods = 0
        for module in modules.values():
            module.body = [item for item in module.body if not _is_unused(item, names, dropped)]
            for item in ast.walk(module):
                if isinstance(item, ast.ClassDef):
                    kept = [inner for inner in item.body if not _is_unasked(inner, attributes)]
                    methods += len(item.body) - len(kept)
                    item.body = kept or [ast.Pass()]
        if len(dropped) == before and not methods:
            return dropped


def _mentioned(modules: Mapping[str, ast.Module]) -> tuple[set[str], set[str]]:
    names, attributes = set(), set()
    for module in modules.values():
        for item in ast.walk(module):
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load):
                names.add(item.id)
            elif isinstance(item, ast.alias):
                names |= {item.name, item.asname or item.name}
            elif isinstance(item, ast.Attribute):
                attributes.add(item.attr)
            elif isinstance(item, ast.Constant) and isinstance(item.value, str):
                attributes.add(item.value)
    return names, attributes


def _is_unused(item: ast.stmt, names: Collection[str], dropped: set[str]) -> bool:
    if isinstance(item, Definition):
        name = item.name
    elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name) and _is_calm(item.value):
        name = item.targets[0].id
    else:
        return False
    if name in names:
        return False
    dropped.add(name)
    return True


def _is_unasked(item: ast.stmt, attributes: Collection[str]) -> bool:
    return isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and (
        item.name in NEVER_ASKED or not (item.name in attributes or item.name.startswith("__"))
    )


def _is_calm(value: ast.expr) -> bool:
    """Whether making the value has no other effect: no call but of a class of the firmware's own."""
    return all(not isinstance(item, ast.Call) or isinstance(item.func, ast.Name) for item in ast.walk(value))


def usual_first(module: ast.Module, known: Collection[str]) -> None:
    """Mention the most used names at the very beginning, where they get the short numbers.

    `known`: what is no variable of a function. The line is never reached, so that the compiler numbers its
    names and makes no bytecode of it.
    """
    used: Counter[str] = Counter()
    known = set(known) | set(dir(builtins))
    for item in ast.walk(module):
        if isinstance(item, ast.Attribute):
            used[item.attr] += 1
        elif isinstance(item, ast.Name) and item.id in known:
            used[item.id] += 1
        elif isinstance(item, ast.keyword) and item.arg:
            used[item.arg] += 1
        elif isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value.isidentifier():
            used[item.value] += len(item.value) <= 10
        elif isinstance(item, ast.ClassDef):
            used.update(OF_A_CLASS)
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            used[item.name] += 1
        if isinstance(item, Function):
            used.update(argument.arg for argument in arguments(item))
    names = [name for name in sorted(used, key=lambda key: (-used[key], key)) if not keyword.iskeyword(name)]
    if len(names) <= FIRST:
        return
    line: ast.expr = ast.Name("nobody", ast.Load())
    for name in names[:FIRST]:
        line = ast.Attribute(line, name, ast.Load())
    module.body.insert(0, ast.While(ast.Constant(True), [ast.Break(), ast.Expr(line)], []))
