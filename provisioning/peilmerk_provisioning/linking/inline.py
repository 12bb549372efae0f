"""Puts functions that have one caller where they are called.

A function of its own costs a board some twenty bytes of flash and as many of heap. What a source keeps apart
for whoever reads it, `_like_this`, used once in its module and nowhere else, becomes part of its caller; a
traceback then names the caller. Only what means the same in either place is moved: a call that is the first
thing its statement works out, with arguments that are plain, and returns that end the function.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

__all__ = ["inline"]

Defined = ast.FunctionDef | ast.AsyncFunctionDef
# What has a scope of its own, or a say in another's.
_APART = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.Yield, ast.YieldFrom),
    *(ast.Global, ast.Nonlocal, ast.Delete, ast.NamedExpr),
)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_PLAIN = (ast.Name, ast.Constant)
Emit = Callable[[ast.expr | None], list[ast.stmt]]


class _Kept(Exception):
    """This call stays a call."""


def inline(trees: Mapping[str, ast.Module]) -> None:
    """Do so in every module of a firmware, {dotted name: tree}, in place."""
    mentions = {name: _mentions(tree) for name, tree in trees.items()}
    bases = {
        base.id if isinstance(base, ast.Name) else ""
        for tree in trees.values()
        for item in ast.walk(tree)
        if isinstance(item, ast.ClassDef)
        for base in item.bases
    }
    for name, tree in trees.items():
        elsewhere = {word for other, (used, own) in mentions.items() if other != name for word in used - own}
        _Module(tree, elsewhere, bases).run()


def _mentions(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return the private names that a module mentions, and those that it defines."""
    used, own = set(), set()
    for item in ast.walk(tree):
        if isinstance(item, ast.Attribute):
            used.add(item.attr)
        elif isinstance(item, ast.alias):
            used.add(item.name)
        elif isinstance(item, Defined):
            own.add(item.name)
    return used, own


class _Module:
    def __init__(self, tree: ast.Module, elsewhere: set[str], bases: set[str]) -> None:
        self._tree = tree
        self._elsewhere = elsewhere
        self._bases = bases
        self._number = 0
        self._kept: set[tuple[ast.Module | ast.ClassDef, str]] = set()

    def run(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        alone = [
            item
            for item in self._tree.body
            if isinstance(item, ast.ClassDef) and not item.bases and item.name not in self._bases
        ]
        used: Counter[str] = Counter()
        self._count(self._tree, used, set())
        owners: list[ast.Module | ast.ClassDef] = [self._tree, *alone]
        for owner in owners:
            here = used
            if isinstance(owner, ast.ClassDef):
                # `self` here is nobody else: what other classes call by the same name is theirs.
                here = Counter()
                self._count(self._tree, here, {other.name for other in alone if other is not owner})
            for item in owner.body:
                if (
                    isinstance(item, Defined)
                    and item.name.startswith("_")
                    and not item.name.startswith("__")
                    and here[item.name] == here[f"def {item.name}"] == 1
                    and item.name not in self._elsewhere
                    and (owner, item.name) not in self._kept
                ):
                    try:
                        self._move(owner, item)
                    except _Kept:
                        self._kept.add((owner, item.name))
                    else:
                        owner.body.remove(item)
                        owner.body = owner.body or [ast.Pass()]
                        return True
        return False

    def _count(self, tree: ast.AST, used: Counter[str], strangers: set[str]) -> None:
        """Count what is mentioned, but for what `strangers`, classes, define and ask of `self`."""
        waiting: list[tuple[ast.AST, frozenset[str]]] = [(tree, frozenset())]
        while waiting:
            item, theirs = waiting.pop()
            if isinstance(item, ast.ClassDef) and item.name in strangers:
                theirs = frozenset(one.name for one in item.body if isinstance(one, Defined))
            if isinstance(item, ast.Name):
                used[item.id] += 1
            elif isinstance(item, ast.Attribute):
                of_self = isinstance(item.value, ast.Name) and item.value.id == "self"
                used[item.attr] += not (of_self and item.attr in theirs)
            elif isinstance(item, Defined):
                used[f"def {item.name}"] += item.name not in theirs
            elif isinstance(item, ast.Constant) and isinstance(item.value, str):
                used[item.value] += 1
            waiting += [(one, theirs) for one in ast.iter_child_nodes(item)]

    def _move(self, owner: ast.Module | ast.ClassDef, callee: Defined) -> None:
        """Replace the one call. Raises _Kept."""
        given = callee.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs or callee.decorator_list:
            raise _Kept
        if any(isinstance(item, _APART) for part in callee.body for item in ast.walk(part)):
            raise _Kept
        method = isinstance(owner, ast.ClassDef)
        for outer in owner.body if method else self._tree.body:
            inner = outer.body if isinstance(outer, ast.ClassDef) else [outer]
            for caller in inner:
                if isinstance(caller, Defined) and caller is not callee:
                    for body, place, function in _statements(caller):
                        if _calls(body[place], callee.name, method):
                            self._put(caller, body, place, function, callee, method)
                            return
        raise _Kept

    def _put(
        self,
        caller: Defined,
        body: list[ast.stmt],
        place: int,
        function: Defined,
        callee: Defined,
        method: bool,
    ) -> None:
        statement = body[place]
        call, waited = _leading(statement, callee.name, method)
        waits = isinstance(callee, ast.AsyncFunctionDef)
        if waits != waited or (waits and not isinstance(function, ast.AsyncFunctionDef)):
            raise _Kept
        own = _own_names(callee)
        free = {
            item.id for part in callee.body for item in ast.walk(part) if isinstance(item, ast.Name)
        } - own
        if free & _own_names(caller) - ({"self"} if method else set()):
            raise _Kept
        before, names = self._bind(callee, call, method, own)
        moved = [_Renamed(names).visit(copy.deepcopy(part)) for part in callee.body]
        if moved and isinstance(moved[0], ast.Expr) and isinstance(moved[0].value, ast.Constant):
            del moved[0]
        whole: ast.expr = call
        if waits:
            whole = next(i for i in ast.walk(statement) if isinstance(i, ast.Await) and i.value is call)
        if isinstance(statement, ast.Return) and statement.value is whole:
            if not _leaves(moved):
                moved.append(ast.Return(None))
            body[place : place + 1] = before + moved
            return
        if isinstance(statement, ast.Expr) and statement.value is whole:
            body[place : place + 1] = before + _ended(moved, _dropped)
        elif isinstance(statement, ast.Assign) and statement.value is whole:
            targets = statement.targets
            body[place : place + 1] = before + _ended(moved, lambda value: _set(targets, value))
        else:
            if not before and len(moved) == 1 and isinstance(moved[0], ast.Return) and moved[0].value:
                _Replaced(whole, moved[0].value).visit(statement)
                return
            fresh = self._fresh("found")
            kept = ast.Name(fresh, ast.Store())
            made = before + _ended(moved, lambda value: _set([kept], value))
            _Replaced(whole, ast.Name(fresh, ast.Load())).visit(statement)
            body[place:place] = made
        if not body:
            body.append(ast.Pass())

    def _bind(
        self, callee: Defined, call: ast.Call, method: bool, own: set[str]
    ) -> tuple[list[ast.stmt], dict[str, ast.expr | str]]:
        """Return what is to be worked out first, and what the function's names are then."""
        wanted = [argument.arg for argument in callee.args.args]
        stored = {
            item.id
            for part in callee.body
            for item in ast.walk(part)
            if isinstance(item, ast.Name) and not isinstance(item.ctx, ast.Load)
        }
        names: dict[str, ast.expr | str] = {name: self._fresh(name) for name in own}
        if method:
            if not wanted or wanted[0] != "self" or "self" in stored:
                raise _Kept
            names["self"] = "self"
            wanted = wanted[1:]
        if any(isinstance(one, ast.Starred) for one in call.args) or any(not k.arg for k in call.keywords):
            raise _Kept
        values = dict(zip(wanted, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
        defaults = callee.args.defaults
        for name, value in zip(wanted[len(wanted) - len(defaults) :], defaults, strict=True):
            values.setdefault(name, value)
        if set(values) != set(wanted) or len(call.args) > len(wanted):
            raise _Kept
        before: list[ast.stmt] = []
        for name, value in values.items():
            if isinstance(value, _PLAIN) and name not in stored:
                names[name] = value
            else:
                before.append(ast.Assign([ast.Name(str(names[name]), ast.Store())], value))
        return before, names

    def _fresh(self, name: str) -> str:
        self._number += 1
        return f"{name.lstrip('_')}_{self._number}"


def _own_names(function: Defined) -> set[str]:
    """The names that a function binds, those of functions within it among them."""
    found = set()
    for item in ast.walk(function):
        if isinstance(item, ast.arg):
            found.add(item.arg)
        elif isinstance(item, ast.Name) and not isinstance(item.ctx, ast.Load):
            found.add(item.id)
        elif isinstance(item, ast.ExceptHandler) and item.name:
            found.add(item.name)
        elif isinstance(item, ast.alias):
            found.add(item.asname or item.name)
        elif isinstance(item, Defined) and item is not function:
            found.add(item.name)
    return found


def _statements(function: Defined) -> Iterator[tuple[list[ast.stmt], int, Defined]]:
    """Yield every statement within: the list that it is in, its place there, and its function."""
    waiting: list[tuple[ast.AST, Defined]] = [(function, function)]
    while waiting:
        item, inside = waiting.pop()
        for field in ("body", "orelse", "finalbody", "handlers"):
            part = getattr(item, field, None)
            if not isinstance(part, list):
                continue
            for place, one in enumerate(part):
                if isinstance(one, ast.stmt):
                    yield part, place, inside
                waiting.append((one, one if isinstance(one, Defined) else inside))


def _is_call(item: ast.AST, name: str, method: bool) -> bool:
    if not isinstance(item, ast.Call):
        return False
    to = item.func
    if method:
        return (
            isinstance(to, ast.Attribute)
            and to.attr == name
            and isinstance(to.value, ast.Name)
            and to.value.id == "self"
        )
    return isinstance(to, ast.Name) and to.id == name


def _calls(statement: ast.stmt, name: str, method: bool) -> bool:
    """Whether the call is in the statement itself, not in those within it."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        item = waiting.pop()
        if _is_call(item, name, method):
            return True
        waiting += [
            one
            for one in ast.iter_child_nodes(item)
            if not isinstance(one, (ast.stmt, ast.ExceptHandler, ast.Lambda, *_COMPREHENSION))
        ]
    return False


def _leading(statement: ast.stmt, name: str, method: bool) -> tuple[ast.Call, bool]:
    """Return the call when it is the first thing that the statement works out, and whether it is awaited."""
    item: ast.AST | None
    if isinstance(statement, ast.Expr | ast.Return | ast.Assign):
        item = statement.value
    elif isinstance(statement, ast.If):
        item = statement.test
    elif isinstance(statement, ast.For):
        item = statement.iter
    else:
        raise _Kept
    waited = False
    while item is not None:
        if _is_call(item, name, method):
            assert isinstance(item, ast.Call)
            return item, waited
        waited = isinstance(item, ast.Await)
        if isinstance(item, ast.Await | ast.Attribute | ast.Subscript):
            item = item.value
        elif isinstance(item, ast.UnaryOp):
            item = item.operand
        elif isinstance(item, ast.Compare | ast.BinOp):
            item = item.left
        elif isinstance(item, ast.BoolOp):
            item = item.values[0]
        elif isinstance(item, ast.IfExp):
            item = item.test
        elif isinstance(item, ast.Tuple) and item.elts:
            item = item.elts[0]
        elif isinstance(item, ast.Call) and _is_chain(item.func):
            # What a variable of the caller holds is the same before and after.
            item = next((one for one in item.args if not isinstance(one, _PLAIN)), None)
        else:
            raise _Kept
    raise _Kept


def _is_chain(item: ast.expr) -> bool:
    while isinstance(item, ast.Attribute):
        item = item.value
    return isinstance(item, ast.Name)


def _leaves(body: list[ast.stmt]) -> bool:
    """Whether nothing comes after these statements."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, ast.If):
        return _leaves(last.body) and _leaves(last.orelse)
    return isinstance(last, ast.Return | ast.Raise)


def _ended(body: list[ast.stmt], emit: Emit) -> list[ast.stmt]:
    """Return the statements with `emit(value)` for every return, each the last thing done. Raises _Kept."""
    done: list[ast.stmt] = []
    for place, item in enumerate(body):
        rest = body[place + 1 :]
        if isinstance(item, ast.Return):
            return done + emit(item.value)
        if not any(isinstance(one, ast.Return) for one in ast.walk(item)):
            done.append(item)
            continue
        if isinstance(item, ast.If):
            if not rest or _leaves(item.body):
                then, other = item.body, item.orelse + rest
            elif _leaves(item.orelse):
                then, other = item.body + rest, item.orelse
            else:
                raise _Kept
            then, other = _ended(then, emit), _ended(other, emit)
            if not then and other:
                return [*done, ast.If(ast.UnaryOp(ast.Not(), item.test), other, [])]
            return [*done, ast.If(item.test, then or [ast.Pass()], other)]
        if rest or not isinstance(item, ast.Try) or item.orelse:
            raise _Kept
        if any(isinstance(one, ast.Return) for part in item.finalbody for one in ast.walk(part)):
            raise _Kept
        item.body = _ended(item.body, emit) or [ast.Pass()]
        for handler in item.handlers:
            handler.body = _ended(handler.body, emit) or [ast.Pass()]
        return [*done, item]
    return done if _leaves(done) else done + emit(None)


def _dropped(value: ast.expr | None) -> list[ast.stmt]:
    return [] if value is None or isinstance(value, _PLAIN) else [ast.Expr(value)]


def _set(targets: list[ast.expr], value: ast.expr | None) -> list[ast.stmt]:
    return [ast.Assign(copy.deepcopy(targets), value or ast.Constant(None))]


class _Renamed(ast.NodeTransformer):
    """A function's names in its caller."""

    def __init__(self, names: Mapping[str, ast.expr | str]) -> None:
        self._names = names

    def visit_Name(self, item: ast.Name) -> ast.expr:
        meant = self._names.get(item.id, item.id)
        return ast.Name(meant, item.ctx) if isinstance(meant, str) else copy.deepcopy(meant)

    def visit_ExceptHandler(self, item: ast.ExceptHandler) -> ast.AST:
        if item.name:
            item.name = str(self._names[item.name])
        self.generic_visit(item)
        return item

    def visit_alias(self, item: ast.alias) -> ast.AST:
        item.asname = str(self._names[item.asname or item.name])
        return item


class _Replaced(ast.NodeTransformer):
    """One expression in place of another."""

    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self._old = old
        self._new = new

    def visit(self, item: ast.AST) -> ast.AST:
        return self._new if item is self._old else super().visit(item)
