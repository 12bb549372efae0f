"""A firmware as a whole: which module goes where, what everything is called there, and what comes out."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from peilmerk_provisioning.linking.inline import inline
from peilmerk_provisioning.linking.names import FOREIGN, LETTERS, shorts
from peilmerk_provisioning.linking.parts import CORE, OUTSIDE, OUTSIDE_ATTRIBUTES
from peilmerk_provisioning.linking.rewrite import LinkError, Rewrite
from peilmerk_provisioning.linking.symbols import Symbols
from peilmerk_provisioning.linking.trim import drop_unused, usual_first

__all__ = ["LinkError", "Program"]

PRIVATE_ROOM = 52


class Program:
    """The modules of one board.

    sources: {dotted name: source}; parts: as in `parts.PARTS`; separate: modules that are never joined.
    Raises SyntaxError, and LinkError for what cannot be joined.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        parts: Mapping[str, tuple[str, ...]],
        separate: Iterable[str] = (),
    ) -> None:
        trees = {name: ast.parse(text, name) for name, text in sources.items()}
        inline(trees)
        self.symbols = {name: Symbols.of(name, tree) for name, tree in trees.items()}
        self.part = self._places(parts, frozenset(separate))
        self.constants = {name: found.constants for name, found in self.symbols.items()}
        self.keywords = frozenset(word for found in self.symbols.values() for word in found.keywords)
        self.globals = self._name_globals()
        self.attributes, self._private = self._name_attributes()
        self.modules = self._join()

    def guest(self, source: str, absent: str = "") -> str:
        """Return a script that imports from this firmware's modules as the sources have them, in the names
        that the firmware has on a board.

        Imports of modules that are not part of it stay. What was left out because the firmware itself never
        asks for it becomes `absent("module.name")`. Raises SyntaxError and LinkError.
        """
        tree = ast.parse(source)
        rewrite = Rewrite(self, "", tree, absent)
        own = {item.id for item in ast.walk(tree) if isinstance(item, ast.Name)}
        if clash := own & set(self.globals.values()) - {name for _, name in self.globals}:
            raise LinkError(f"found a variable {min(clash)}, which means something else in the firmware")
        body = rewrite.body()
        return ast.unparse(ast.fix_missing_locations(ast.Module(self._needs(rewrite.needs) + body, [])))

    def attribute(self, module: str, name: str) -> str:
        """Return what an attribute is called where `module` mentions it."""
        if not module and name in self._families_only:
            raise LinkError(f"found the attribute {name}, wanted what a module shows to others")
        return self._private.get((module, name)) or self.attributes.get(name, name)

    def plain(self, text: str) -> str:
        """Return a text with the lines of its tracebacks in the names of the sources."""
        known: dict[tuple[str, str], set[str]] = defaultdict(set)
        for (module, name), short in self.globals.items():
            known[_tail(self.part[module]), short].add(f"{module}.{name}")
        for module, found in self.symbols.items():
            for name in found.methods:
                known[_tail(self.part[module]), self.attribute(module, name)].add(f"{module}: {name}")

        def said(match: re.Match[str]) -> str:
            names = known.get((match[1], match[2]))
            return f"{match[0]} ({', '.join(sorted(names))})" if names else match[0]

        return re.sub(r'File "([\w./]+)"(?:, line \d+)?, in (\w+)', said, text)

    def _places(self, parts: Mapping[str, tuple[str, ...]], separate: frozenset[str]) -> dict[str, str]:
        place = dict.fromkeys(self.symbols, CORE) if CORE in self.symbols else {}
        for part, more in parts.items():
            if part in self.symbols:
                place |= {name: part for name in (part, *more) if name in self.symbols}
        return place | {name: name for name in self.symbols if name in separate or name not in place}

    def imports(self, body: Iterable[ast.AST]) -> Iterator[str]:
        """Yield the modules of this firmware that the import statements among these name."""
        for item in body:
            if isinstance(item, ast.ImportFrom) and item.module:
                for alias in item.names:
                    full = f"{item.module}.{alias.name}"
                    if full in self.symbols or item.module in self.symbols:
                        yield full if full in self.symbols else item.module

    def _name_globals(self) -> dict[tuple[str, str], str]:
        used: Counter[tuple[str, str]] = Counter()
        taken = set(LETTERS)
        for name, found in self.symbols.items():
            taken |= found.local | found.words
            for own in found.globals:
                used[name, own] = found.used[own]
        named = {}
        fresh = shorts(taken)
        for module, name in sorted(used, key=lambda key: (-used[key], key)):
            if (module, name) in OUTSIDE or name in self.symbols[module].exceptions or name.startswith("__"):
                named[module, name] = name
            else:
                named[module, name] = next(fresh)
        return named

    def _name_attributes(self) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
        """Return {attribute: short}, and {(module, attribute): short} for those that are nobody else's."""
        words = {word for found in self.symbols.values() for word in found.words}
        used: Counter[str] = Counter()
        for found in self.symbols.values():
            used.update(found.used)
        own = {name for found in self.symbols.values() for name in found.attributes}
        own = {name for name in own if not name.startswith("__")} - FOREIGN - words - OUTSIDE_ATTRIBUTES
        families = self._families()
        defined: dict[str, set[str]] = defaultdict(set)
        mentioned: dict[str, set[str]] = defaultdict(set)
        methods = {name for found in self.symbols.values() for name in found.methods}
        for module, found in self.symbols.items():
            for name in own & found.attributes:
                defined[name].add(families[module])
            for name in own & set(found.used):
                mentioned[name].add(families[module])
        shown = methods | {name for found in self.symbols.values() for name in found.shown}
        private = {name for name in own - shown if name.startswith("_") and mentioned[name] <= defined[name]}
        fresh = shorts(words)
        pool = [next(fresh) for _ in range(PRIVATE_ROOM)]
        placed: dict[tuple[str, str], str] = {}
        for family in sorted(set(families.values())):
            members = [module for module in self.symbols if families[module] == family]
            count: Counter[str] = Counter()
            for module in members:
                for name in private & (self.symbols[module].attributes | set(self.symbols[module].used)):
                    count[name] += self.symbols[module].used[name]
            for name, short in zip(sorted(count, key=lambda key: (-count[key], key)), pool, strict=False):
                placed |= {(module, name): short for module in members}
        self._families_only = private
        shared = sorted(own - private, key=lambda name: (-used[name], name))
        return dict(zip(shared, fresh, strict=False)), placed

    def _families(self) -> dict[str, str]:
        """Return {module: one for all whose classes inherit from each other}."""
        family = {name: name for name in self.symbols}
        for name, found in self.symbols.items():
            for item in found.tree.body:
                if not isinstance(item, ast.ImportFrom) or item.module not in self.symbols:
                    continue
                if found.bases & {alias.asname or alias.name for alias in item.names}:
                    old, new = family[name], family[item.module]
                    family = {key: new if value == old else value for key, value in family.items()}
        return family

    def _order(self) -> list[str]:
        """Return the modules, each after those that it imports when it is loaded."""
        done: list[str] = []

        def add(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                raise LinkError(f"{name}: found that it imports itself by way of {' and '.join(above)}")
            if name in done:
                return
            for needed in self.imports(self.symbols[name].tree.body):
                add(needed, (*above, name))
            done.append(name)

        for name in sorted(self.symbols):
            add(name, ())
        return done

    def _join(self) -> dict[str, str]:
        bodies: dict[str, list[ast.stmt]] = defaultdict(list)
        needs: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        foreign: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        for name in self._order():
            part = self.part[name]
            rewrite = Rewrite(self, name, self.symbols[name].tree)
            for item in rewrite.body():
                if isinstance(item, ast.Import | ast.ImportFrom):
                    self._foreign(name, item, foreign[part])
                else:
                    bodies[part].append(item)
            for other, names in rewrite.needs.items():
                needs[part][other] |= names
        made = {part: ast.Module(bodies[part], []) for part in sorted(set(self.part.values()))}
        unused = drop_unused(made, {name for _, name in OUTSIDE})
        self.dropped = {key for key, short in self.globals.items() if short in unused}
        for part, module in made.items():
            for names in needs[part].values():
                names -= unused
            module.body = _imports(foreign[part]) + self._needs(needs[part]) + module.body
            usual_first(module, {*self.globals.values(), *foreign[part]})
        return {part: ast.unparse(ast.fix_missing_locations(module)) + "\n" for part, module in made.items()}

    def _needs(self, needs: Mapping[str, set[str]]) -> list[ast.stmt]:
        return [
            ast.ImportFrom(part, [ast.alias(name) for name in sorted(names)], 0)
            for part, names in sorted(needs.items())
            if names
        ]

    def _foreign(
        self, module: str, item: ast.Import | ast.ImportFrom, known: dict[str, tuple[str, str]]
    ) -> None:
        """Note an import of what is MicroPython's; two modules may not call different things by one name."""
        for alias in item.names:
            name = alias.asname or alias.name
            meant = (item.module or "" if isinstance(item, ast.ImportFrom) else "", alias.name)
            if known.setdefault(name, meant) != meant or "." in name:
                raise LinkError(f"{module}: found {name} for {meant}, wanted {known[name]} as beside it")


def _imports(known: Mapping[str, tuple[str, str]]) -> list[ast.stmt]:
    by_module: dict[str, list[ast.alias]] = defaultdict(list)
    for name, (module, what) in sorted(known.items()):
        by_module[module].append(ast.alias(what, None if what == name else name))
    return [
        ast.ImportFrom(module, names, 0) if module else ast.Import(names)
        for module, names in by_module.items()
    ]


def _tail(module: str) -> str:
    return module.rpartition(".")[2]
