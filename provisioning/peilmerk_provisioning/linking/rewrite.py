"""One module in the new names: every name is looked up as Python would, scope by scope."""

from __future__ import annotations

import ast
import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peilmerk_provisioning.linking.names import LETTERS
from peilmerk_provisioning.linking.symbols import Function, arguments, targets

if TYPE_CHECKING:
    from peilmerk_provisioning.linking.program import Program

__all__ = ["LinkError", "Rewrite"]

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class LinkError(Exception):
    """Modules that cannot be joined: the text names what was found and what was wanted."""


class _Meant:
    """What an import of the firmware's own binds: a module, or one of its names. `node` is the import
    statement inside a function, where there is one.
    """

    def __init__(self, module: str, name: str | None, node: ast.ImportFrom | None = None) -> None:
        self.module = module
        self.name = name
        self.node = node


class Rewrite(ast.NodeTransformer):
    """`module` of `program`, or a guest of it ("") that is none of its modules. `body()` gives the new
    statements, `needs` then says what they want of other parts: {part: names}.
    """

    def __init__(self, program: Program, module: str, tree: ast.Module, absent: str = "") -> None:
        self.needs: dict[str, set[str]] = defaultdict(set)
        self._program = program
        self._module = module
        self._part = program.part.get(module, "")
        self._tree = tree
        self._absent = absent
        self._constants = program.constants.get(module, {})
        self._globals = program.symbols[module].globals if module else set()
        # Innermost last: {name: its new name, or what an import in the function means by it}.
        self._scopes: list[dict[str, str | _Meant]] = []
        self._lazy: dict[int, set[tuple[str, str]]] = {}
        self._in_class = False
        self._imported: dict[str, _Meant] = {}
        # Modules of others: what they call their own stays.
        self._others = {
            alias.asname or alias.name
            for item in ast.walk(tree)
            if isinstance(item, ast.Import)
            for alias in item.names
        }
        for item in tree.body:
            if isinstance(item, ast.ImportFrom):
                self._imported.update(self._bound(item))

    def body(self) -> list[ast.stmt]:
        """Return the statements of the module, its own imports left out; those of others come as they are."""
        return self._statements(self._tree.body)

    # What a name means.

    def _bound(self, item: ast.ImportFrom, node: ast.ImportFrom | None = None) -> dict[str, _Meant]:
        found = {}
        for alias in item.names:
            full = f"{item.module}.{alias.name}"
            if full in self._program.symbols:
                found[alias.asname or alias.name] = _Meant(full, None, node)
            elif item.module in self._program.symbols and (
                self._module or self._has(item.module, alias.name)
            ):
                if alias.name in self._program.symbols[item.module].rebound:
                    # Python would keep what it was then; joined, it is what it is now.
                    raise LinkError(
                        f"{self._module or 'a script'}: found from {item.module} import {alias.name}, which "
                        f"{item.module} sets more than once; wanted {item.module} itself imported, and "
                        f"{alias.name} asked of it"
                    )
                found[alias.asname or alias.name] = _Meant(item.module, alias.name, node)
        return found

    def _has(self, module: str, name: str) -> bool:
        return name in self._program.symbols[module].globals or name in self._program.constants[module]

    def _look_up(self, name: str) -> str | _Meant | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return self._imported.get(name)

    def _of(self, meant: _Meant, name: str, context: ast.expr_context) -> ast.expr:
        """Return what stands for `name` of another module."""
        program = self._program
        if name in program.constants[meant.module]:
            return ast.Constant(program.constants[meant.module][name])
        if name not in program.symbols[meant.module].globals:
            raise LinkError(f"{self._module}: found {meant.module}.{name}, wanted what is defined there")
        short = program.globals[meant.module, name]
        if not self._module and (meant.module, name) in program.dropped:
            if self._absent:
                call = ast.Call(ast.Name(self._absent), [ast.Constant(f"{meant.module}.{name}")], [])
                return ast.copy_location(call, ast.Name(name))
            raise LinkError(f"found {meant.module}.{name}, wanted what a board carries")
        part = program.part[meant.module]
        if part != self._part:
            if meant.node is None:
                self.needs[part].add(short)
            else:
                self._lazy[id(meant.node)].add((part, short))
        return ast.Name(short, context)

    def visit_Name(self, item: ast.Name) -> ast.expr:
        meant = self._look_up(item.id)
        if isinstance(meant, str):
            return ast.Name(meant, item.ctx)
        if meant is not None:
            if meant.name is None:
                raise LinkError(f"{self._module}: found the module {item.id} as a value, wanted a name in it")
            return self._of(meant, meant.name, item.ctx)
        if item.id in self._constants and isinstance(item.ctx, ast.Load):
            return ast.Constant(self._constants[item.id])
        if item.id in self._globals:
            return ast.Name(self._program.globals[self._module, item.id], item.ctx)
        return item

    def visit_Attribute(self, item: ast.Attribute) -> ast.expr:
        if isinstance(item.value, ast.Name):
            meant = self._look_up(item.value.id)
            if isinstance(meant, _Meant) and meant.name is None:
                return self._of(meant, item.attr, item.ctx)
            if item.value.id in self._others and meant in (None, item.value.id):
                return item
        self.generic_visit(item)
        item.attr = self._program.attribute(self._module, item.attr)
        return item

    # Statements.

    def _statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for item in body:
            made = self.visit(item)
            if made is not None:
                found += made if isinstance(made, list) else [made]
        return found

    def visit_Expr(self, item: ast.Expr) -> ast.stmt | None:
        if isinstance(item.value, ast.Constant):
            return None  # a docstring
        self.generic_visit(item)
        return item

    def visit_Assign(self, item: ast.Assign) -> ast.stmt | None:
        names = set(targets(item.targets[0]))
        if not self._scopes and not self._in_class and names & set(self._constants):
            return None
        self.generic_visit(item)
        return item

    def visit_AnnAssign(self, item: ast.AnnAssign) -> ast.stmt | None:
        if item.value is None:
            return None
        return self.visit_Assign(ast.Assign([item.target], item.value))

    def visit_Import(self, item: ast.Import) -> ast.stmt:
        for alias in item.names:
            if alias.name in self._program.symbols:
                raise LinkError(f"{self._module}: found import {alias.name}, wanted from … import …")
        return item

    def visit_ImportFrom(self, item: ast.ImportFrom) -> ast.stmt | None:
        if item.module == "micropython" and all(alias.name == "const" for alias in item.names):
            return None
        if id(item) in self._lazy:
            return item
        own = self._bound(item)
        item.names = [alias for alias in item.names if (alias.asname or alias.name) not in own]
        return item if item.names else None

    def visit_Global(self, item: ast.Global) -> ast.stmt:
        item.names = [self._program.globals.get((self._module, name), name) for name in item.names]
        return item

    def visit_Try(self, item: ast.Try) -> ast.stmt | None:
        item.body = self._statements(item.body)
        for handler in item.handlers:
            handler.type = self.visit(handler.type) if handler.type else None
            handler.body = self._statements(handler.body) or [ast.Pass()]
            if handler.name and isinstance(new := self._look_up(handler.name), str):
                handler.name = new
        item.orelse = self._statements(item.orelse)
        item.finalbody = self._statements(item.finalbody)
        if not item.body and not item.finalbody:
            return None  # all that was tried is not there any more
        item.body = item.body or [ast.Pass()]
        return item

    def visit_AsyncWith(self, item: ast.AsyncWith) -> Any:
        """A lock is what the firmware waits for in this way, and by hand it takes a third of the bytes."""
        lock = item.items[0].context_expr
        if len(item.items) > 1 or item.items[0].optional_vars or not isinstance(lock, ast.Attribute):
            raise LinkError(
                f"{self._module}: found async with {ast.unparse(lock)}, wanted one lock of an object"
            )
        call = ast.Await(ast.Call(ast.Attribute(lock, "acquire", ast.Load()), [], []))
        after = ast.Call(ast.Attribute(copy.deepcopy(lock), "release", ast.Load()), [], [])
        held = ast.Try(item.body, [], [], [ast.Expr(after)])
        return self._statements([ast.Expr(call), held])

    def generic_visit(self, item: ast.AST) -> Any:
        super().generic_visit(item)
        for part in ("body", "orelse"):
            if part == "body" and getattr(item, part, None) == []:
                item.body = [ast.Pass()]  # type: ignore[attr-defined]
        return item

    # Scopes.

    def visit_Compare(self, item: ast.Compare) -> ast.expr:
        """`not a is b` is shorter than `a is not b` wherever it decides where to go."""
        self.generic_visit(item)
        if len(item.ops) == 1 and isinstance(item.ops[0], ast.IsNot | ast.NotIn):
            item.ops = [ast.Is() if isinstance(item.ops[0], ast.IsNot) else ast.In()]
            return ast.UnaryOp(ast.Not(), item)
        return item

    def visit_ClassDef(self, item: ast.ClassDef) -> ast.stmt:
        program = self._program
        item.name = program.globals.get((self._module, item.name), item.name)
        item.bases = [self.visit(base) for base in item.bases]
        if not self._scopes and item.bases and all(_says_nothing(inner) for inner in item.body):
            # A class that only has a name takes half the bytes when it is made without a body.
            made = [ast.Constant(item.name), ast.Tuple(item.bases, ast.Load()), ast.Dict([], [])]
            return ast.Assign(
                [ast.Name(item.name, ast.Store())], ast.Call(ast.Name("type", ast.Load()), made, [])
            )
        self._in_class = True
        own = {
            name for inner in item.body if isinstance(inner, ast.Assign) for name in targets(inner.targets[0])
        }
        body: list[ast.stmt] = []
        for inner in item.body:
            if isinstance(inner, ast.AnnAssign) and inner.value is not None:
                inner = ast.Assign([inner.target], inner.value)
            if isinstance(inner, ast.Assign):
                if own & {part.id for part in ast.walk(inner.value) if isinstance(part, ast.Name)}:
                    raise LinkError(f"{self._module}: found a class body that reads its own names")
                inner.value = self.visit(inner.value)
                for part in ast.walk(inner.targets[0]):
                    if isinstance(part, ast.Name):
                        part.id = program.attribute(self._module, part.id)
                body.append(inner)
            else:
                body += self._statements([inner])
        self._in_class = False
        item.body = body or [ast.Pass()]
        return item

    def _function(self, item: Function) -> Any:
        given = item.args
        given.defaults = [self.visit(value) for value in given.defaults]
        given.kw_defaults = [self.visit(value) if value else None for value in given.kw_defaults]
        in_class, self._in_class = self._in_class, False
        body: list[ast.stmt] = item.body if isinstance(item.body, list) else [ast.Expr(item.body)]
        scope: dict[str, str | _Meant] = {name: name for name in _locals(body)}
        scope |= {argument.arg: argument.arg for argument in arguments(item)}
        for node in _within(body):
            if isinstance(node, ast.ImportFrom) and (bound := self._bound(node, node)):
                scope.update(bound)
                self._lazy[id(node)] = set()
            elif isinstance(node, ast.Global):
                for name in node.names:
                    scope.pop(name, None)
        self._name_arguments(item, scope)
        self._scopes.append(scope)
        for argument in arguments(item):
            argument.arg = str(scope[argument.arg])
            argument.annotation = None
        if isinstance(item.body, list):
            body = self._statements(item.body) or [ast.Pass()]
            item.body = _Filled(self._lazy).visit(ast.Module(body, [])).body
        else:
            item.body = self.visit(item.body)
        self._scopes.pop()
        self._in_class = in_class
        return item

    def _name_arguments(self, item: Function, scope: dict[str, str | _Meant]) -> None:
        """Give arguments letters that mean nothing else anywhere within the function."""
        mentioned = set()
        for node in ast.walk(item):
            if isinstance(node, ast.Name):
                mentioned.add(node.id)
            elif isinstance(node, ast.arg):
                mentioned.add(node.arg)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                mentioned.add(node.name)
        around = {new for outer in self._scopes for new in outer.values() if isinstance(new, str)}
        free = (letter for letter in LETTERS if letter not in mentioned and letter not in around)
        for argument in item.args.posonlyargs + item.args.args:
            if argument.arg not in self._program.keywords:
                scope[argument.arg] = next(free, argument.arg)

    def visit_FunctionDef(self, item: ast.FunctionDef) -> ast.stmt:
        return self._named(item)

    def visit_AsyncFunctionDef(self, item: ast.AsyncFunctionDef) -> ast.stmt:
        return self._named(item)

    def visit_Lambda(self, item: ast.Lambda) -> Any:
        return self._function(item)

    def _named(self, item: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
        item.decorator_list = [self.visit(value) for value in item.decorator_list]
        item.returns = None
        if self._in_class:
            item.name = self._program.attribute(self._module, item.name)
        elif not self._scopes:
            item.name = self._program.globals.get((self._module, item.name), item.name)
        self._function(item)
        return item

    def _comprehension(self, item: Comprehension) -> ast.expr:
        first = item.generators[0]
        first.iter = self.visit(first.iter)
        bound = {name for part in item.generators for name in targets(part.target)}
        self._scopes.append({name: name for name in bound})
        for part in item.generators:
            if part is not first:
                part.iter = self.visit(part.iter)
            part.ifs = [self.visit(value) for value in part.ifs]
        if isinstance(item, ast.DictComp):
            item.key, item.value = self.visit(item.key), self.visit(item.value)
        else:
            item.elt = self.visit(item.elt)
        self._scopes.pop()
        return item

    def visit_ListComp(self, item: ast.ListComp) -> ast.expr:
        return self._comprehension(item)

    def visit_SetComp(self, item: ast.SetComp) -> ast.expr:
        return self._comprehension(item)

    def visit_DictComp(self, item: ast.DictComp) -> ast.expr:
        return self._comprehension(item)

    def visit_GeneratorExp(self, item: ast.GeneratorExp) -> ast.expr:
        return self._comprehension(item)


def _within(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield what lies in a function and not in one within it, nor in a comprehension."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | Comprehension):
            waiting.extend(ast.iter_child_nodes(node))


def _locals(body: list[ast.stmt]) -> set[str]:
    """Return the names that a function binds for itself, its arguments aside."""
    found = set()
    for node in _within(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found.add(node.id)
        elif isinstance(node, Named) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return found


class _Filled(ast.NodeTransformer):
    """Puts the imports inside a function in their final form: {id of the statement: {(part, name)}}."""

    def __init__(self, lazy: dict[int, set[tuple[str, str]]]) -> None:
        self._lazy = lazy

    def visit_ImportFrom(self, item: ast.ImportFrom) -> ast.stmt | list[ast.stmt]:
        if id(item) not in self._lazy:
            return item
        parts: dict[str, list[ast.alias]] = defaultdict(list)
        for part, name in sorted(self._lazy.pop(id(item))):
            parts[part].append(ast.alias(name))
        return [ast.ImportFrom(part, names, 0) for part, names in parts.items()] or ast.Pass()


def _says_nothing(item: ast.stmt) -> bool:
    return isinstance(item, ast.Pass) or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
