"""What one module defines and binds: globals, constants, attributes, imports."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["Function", "Symbols", "arguments", "targets"]

BY_TEXT = frozenset({"getattr", "hasattr", "namedtuple", "setattr"})
"""What takes the names of attributes as text."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass
class Symbols:
    """A module `name` as its source has it.

    constants: {name: value} of whole numbers, texts and bytes that are set once; globals: every other name at
    its top; rebound: those of them that are set more than once, there or by a function; exceptions: those of
    its classes that are one; attributes: what its classes define, as methods, in their bodies or on `self`;
    bases: names that its classes inherit from; words: texts that name attributes; local: every name that is
    mentioned without a dot; keywords: arguments that calls give by name; shown: attributes asked of others
    than `self`; used: how often each name is mentioned.
    """

    name: str
    tree: ast.Module
    constants: dict[str, int | str | bytes] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    rebound: set[str] = field(default_factory=set)
    exceptions: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    local: set[str] = field(default_factory=set)
    keywords: set[str] = field(default_factory=set)
    shown: set[str] = field(default_factory=set)
    used: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, name: str, tree: ast.Module) -> Symbols:
        """Read a module."""
        found = cls(name, tree)
        found._top(found.tree.body)
        found._constants()
        found._rebound()
        for item in ast.walk(found.tree):
            found._see(item)
        return found

    def _top(self, body: Iterable[ast.stmt]) -> None:
        for item in body:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.globals.add(item.name)
            elif isinstance(item, ast.Assign):
                self.globals.update(name for target in item.targets for name in targets(target))
            elif isinstance(item, ast.AnnAssign | ast.AugAssign | ast.For):
                self.globals.update(targets(item.target))
            for part in ("body", "orelse", "finalbody"):
                if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    self._top(getattr(item, part, []))

    def _constants(self) -> None:
        stored = Counter(
            item.id
            for item in ast.walk(self.tree)
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store | ast.Del)
        )
        for item in self.tree.body:
            if not isinstance(item, ast.Assign) or len(item.targets) != 1:
                continue
            target = item.targets[0]
            if isinstance(target, ast.Name) and target.id.isupper() and stored[target.id] == 1:
                value = _constant(item.value, self.constants)
                if value is not None:
                    self.constants[target.id] = value
        self.globals -= set(self.constants)

    def _rebound(self) -> None:
        set_by: Counter[str] = Counter()
        for item in self.tree.body:
            # What stands in the branches of one statement is one choice.
            here = Symbols(self.name, ast.Module([item], []))
            here._top([item])
            set_by.update(here.globals)
        self.rebound = {name for name, times in set_by.items() if times > 1}
        self.rebound.update(
            name for item in ast.walk(self.tree) if isinstance(item, ast.Global) for name in item.names
        )

    def _see(self, item: ast.AST) -> None:
        if isinstance(item, ast.ClassDef):
            self._see_class(item)
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            self.local.update(argument.arg for argument in arguments(item))
        elif isinstance(item, ast.Attribute):
            self.used[item.attr] += 1
            if not (isinstance(item.value, ast.Name) and item.value.id == "self"):
                self.shown.add(item.attr)
            if (
                isinstance(item.ctx, ast.Store)
                and isinstance(item.value, ast.Name)
                and item.value.id == "self"
            ):
                self.attributes.add(item.attr)
        elif isinstance(item, ast.Name):
            self.used[item.id] += 1
            self.local.add(item.id)
        elif isinstance(item, ast.ExceptHandler) and item.name:
            self.local.add(item.name)
        elif isinstance(item, ast.keyword) and item.arg:
            self.keywords.add(item.arg)
        elif isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id in BY_TEXT:
            texts = (inner.value for inner in ast.walk(item) if isinstance(inner, ast.Constant))
            self.words.update(text for text in texts if isinstance(text, str))

    def _see_class(self, item: ast.ClassDef) -> None:
        bases = {base.id for base in item.bases if isinstance(base, ast.Name)}
        self.bases |= bases
        if any(base.endswith(("Error", "Exception")) for base in bases):
            self.exceptions.add(item.name)
        for inner in item.body:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                self.attributes.add(inner.name)
                self.methods.add(inner.name)
            elif isinstance(inner, ast.Assign):
                self.attributes.update(name for target in inner.targets for name in targets(target))
            elif isinstance(inner, ast.AnnAssign):
                self.attributes.update(targets(inner.target))


def arguments(function: Function) -> list[ast.arg]:
    """Return all arguments of a function."""
    given = function.args
    more = [argument for argument in (given.vararg, given.kwarg) if argument]
    return given.posonlyargs + given.args + given.kwonlyargs + more


def targets(target: ast.expr) -> Iterator[str]:
    """Yield the names that an assignment to `target` binds."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple | ast.List):
        for inner in target.elts:
            yield from targets(inner)
    elif isinstance(target, ast.Starred):
        yield from targets(target.value)


def _constant(value: ast.expr, known: dict[str, int | str | bytes]) -> int | str | bytes | None:
    """Return a text, bytes, or what an expression of whole numbers comes to; None for anything else."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "const":
        value = value.args[0]
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
        return value.value
    allowed = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context)
    if not all(isinstance(item, allowed) for item in ast.walk(value)):
        return None
    try:
        found = eval(compile(ast.Expression(value), "", "eval"), {"__builtins__": {}}, dict(known))
    except (NameError, TypeError):
        return None
    return found if type(found) is int else None
