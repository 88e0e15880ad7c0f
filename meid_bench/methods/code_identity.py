"""Code identity: the sum of a method's source, and the commit of the toolkit's own checkout."""

import ast
import hashlib
import importlib.util
import struct
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from meid_bench.errors import MethodError

TOOLKIT = __name__.partition(".")[0]

# Module -> its spec and source as it was loaded; its file may have been edited since.
_LOADED: dict[str, tuple[ModuleSpec, bytes]] = {}
_STARTED = time.time_ns()
_IMPORTERS = ("import_module", "__import__")


@contextmanager
def sources_kept(module: str) -> Iterator[None]:
    """Read the source of a module and of its helpers as they are imported inside."""
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        spec = _spec(name) if _akin(name, module) else None
        if spec is not None:
            _LOADED[name] = (spec, _read(spec))


def code_of(*loaded: Any) -> str:
    """SHA-256 of the source that classes or functions are from, with its helpers.

    Helpers are the modules that one imports, at any depth and anywhere in a file, of its own
    package; of a module that is in no package, those of its own folder. `import_module` counts
    where the name is written out. Other packages, and this toolkit, are named in a record by their
    versions. Line ends do not count.

    Args:
        loaded: A method's class, and a network's function where it runs on one.

    Returns:
        Hexadecimal, over each module's name and source in the order of names.

    Raises:
        MethodError: A file may have been edited since it was loaded.
    """
    found: dict[str, bytes] = {}
    for own in (each.__module__ for each in loaded):
        ahead = [own]
        while ahead:
            name = ahead.pop()
            spec = _spec(name)
            if name in found or spec is None:
                continue
            found[name] = source = _source(name, spec)
            ahead += [other for other in _imported(name, spec, source) if _akin(other, own)]
    digest = hashlib.sha256()
    for name, source in sorted(found.items()):
        digest.update(name.encode() + b"\0" + source + b"\0")
    return digest.hexdigest()


def _spec(name: str) -> ModuleSpec | None:
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):  # a name of a module, and no module itself
        return None


def _source(name: str, spec: ModuleSpec) -> bytes:
    """What the module was loaded from, or would be."""
    kept_spec, kept = _LOADED.get(name, (None, b""))
    if kept_spec is spec:  # a reloaded module has another
        return kept
    source = _read(spec)
    if name in sys.modules:
        if _edited(spec):
            raise MethodError(
                f"{spec.origin} has changed since it was loaded, and a run would be recorded under "
                "code that it did not run; start a new process"
            )
        _LOADED[name] = (spec, source)
    return source


def _edited(spec: ModuleSpec) -> bool:
    """Whether a file is younger than this process, and not what Python compiled last."""
    try:
        file = Path(spec.origin or "built-in").stat()
    except OSError:  # of a zip, built in, or a package that is a folder alone
        return False
    if file.st_mtime_ns <= _STARTED:
        return False
    try:  # a .pyc names the time and size of its source, modulo 2^32
        compiled = struct.unpack("<8xII", Path(spec.cached or "").read_bytes()[:16])
    except (OSError, struct.error):
        return True
    return compiled != (int(file.st_mtime) & 0xFFFFFFFF, file.st_size & 0xFFFFFFFF)


def _read(spec: ModuleSpec) -> bytes:
    """A module's source; nothing for a namespace package, or a built-in module."""
    read = getattr(spec.loader, "get_data", None)
    if read is None or spec.origin is None:
        return b""
    data: bytes = read(spec.origin)
    return data.replace(b"\r\n", b"\n")


def _imported(name: str, spec: ModuleSpec, source: bytes) -> Iterator[str]:
    """Dotted names that a module imports: each may be a module, or something within one."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # compiled: what it imports cannot be read
        return
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(_IMPORTERS):
            given = [each for each in node.args[:1] if isinstance(each, ast.Constant)]
            names = [_absolute(str(each.value), package) for each in given]
        else:
            continue
        for dotted in names:
            parts = dotted.split(".")  # a package's __init__ runs with each of its modules
            yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _absolute(name: str, package: str) -> str:
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:  # above the package: no import succeeds with it
        return ""


def _akin(name: str, module: str) -> bool:
    """Whether a module is a helper of another: of its package, or beside it if it is in none."""
    own, top = module.partition(".")[0], name.partition(".")[0]
    if top in (own, TOOLKIT):
        return top == own
    home, other = _spec(own), _spec(top)
    if home is None or other is None or home.submodule_search_locations is not None:
        return False
    places = [other.origin, *(other.submodule_search_locations or [])]
    above = {folder for place in places if place for folder in Path(place).parents}
    return Path(home.origin or "").parent in above and not above & _installed()


@cache
def _installed() -> frozenset[Path]:
    """Folders in which everybody's modules stand side by side."""
    return frozenset(Path(sysconfig.get_path(key)) for key in ("stdlib", "purelib", "platlib"))


def commit() -> str | None:
    """The commit of meid-bench's own checkout, with a + where files were changed.

    None elsewhere: the commit of another repository that holds an installed package says nothing
    of this code.
    """
    package = Path(__file__).resolve().parents[1]
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != package.parent:
        return None
    try:
        project = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if project.get("project", {}).get("name") != "meid-bench":
        return None
    return _git(package, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
