"""Who may import whom, read from the imports themselves, and how long an idea may be."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("meid_bench", "baselines", "meid")

# What stands on top of the toolkit; nothing that is below may reach up to it.
TOP = {"build", "extract", "run", "leaderboard", "report", "demo"}
BELOW = {
    *("errors", "paths", "benchmark", "charades", "longtail", "download", "video"),
    *("encoder", "features", "data", "sampling", "method", "aggregators", "losses", "plugins"),
    *("config", "train", "metrics", "results"),
}
# All of the toolkit that a method needs, and so all that a method may lean on.
FOR_METHODS = {"method", "layers", "losses", "frame_draws", "sampling", "metrics", "errors"}
PURE = {"metrics", "longtail", "losses", "frame_draws"}
PURE |= {"board.bootstrap", "board.joint", "building.stratify"}
IMPURE = {"os", "io", "sys", "pathlib", "shutil", "tempfile", "json", "csv", "logging", "random"}
IMPURE |= {"click", "h5py", "pandas", "requests", "tqdm"}
HEAVY = {"torch", "torchvision", "h5py", "pandas", "av", "decord", "bokeh", "matplotlib", "sklearn"}

LONGEST_FILE = 330
LONGEST_FUNCTION = 50  # without signature and docstring


@cache
def modules() -> dict[str, Path]:
    """Dotted name to file, of every module of the project."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {_dotted(file): file for file in files}


def _dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(module: str, at_load: bool = False) -> frozenset[str]:
    """What a module imports: the project's by module, others by package.

    Anywhere in its file, or only what is imported when the module is (`at_load`).
    """
    found = set()
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import, which this test cannot follow"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else str(node.module) for name in names]
        else:
            continue
        found |= {name if name in modules() else name.partition(".")[0] for name in names}
    return frozenset(found)


@cache
def reachable(module: str, at_load: bool = False) -> frozenset[str]:
    """The project's modules that a module imports, directly or not."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = {name for name in imports(ahead.pop(), at_load) if name in modules()} - found
        found |= new
        ahead += new
    return frozenset(found)


def own(*names: str) -> set[str]:
    """Modules of the toolkit by their names within it."""
    return {f"meid_bench.{name}" for name in names}


def test_the_reader_sees_imports() -> None:
    assert {"meid_bench.training.fit", "meid_bench.methods.method", "torch"} <= imports(
        "meid_bench.training.run"
    )
    assert "meid_bench.errors" in reachable("meid_bench.cli.run")


def test_every_named_module_is_there() -> None:
    missing = own(*BELOW, *FOR_METHODS, *PURE, *TOP) - set(modules())
    assert not missing


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_module_imports_itself_in_a_ring(module: str) -> None:
    assert module not in reachable(module, at_load=True)


@pytest.mark.parametrize("module", sorted(m for m in modules() if m.startswith("meid_bench.")))
def test_the_toolkit_reaches_methods_by_entry_points_only(module: str) -> None:
    assert not [name for name in imports(module) if name.split(".")[0] in ("baselines", "meid")]


@pytest.mark.parametrize("module", sorted(m for m in modules() if m != "meid_bench.__main__"))
def test_nothing_but_the_command_line_imports_the_command_line(module: str) -> None:
    if not module.startswith("meid_bench.cli"):
        assert not [name for name in imports(module) if name.startswith("meid_bench.cli")]


@pytest.mark.parametrize("name", sorted(BELOW))
def test_nothing_reaches_up(name: str) -> None:
    assert not reachable(f"meid_bench.{name}") & own(*TOP)


@pytest.mark.parametrize("module", sorted(m for m in modules() if not m.startswith("meid_bench")))
def test_methods_lean_on_the_extension_interface_alone(module: str) -> None:
    package = module.split(".", maxsplit=1)[0]
    for name in imports(module) & set(modules()):
        assert name in own(*FOR_METHODS) or name.split(".")[0] == package, name


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_touch_no_files_and_no_terminal(name: str) -> None:
    direct = imports(f"meid_bench.{name}")
    assert not direct & (IMPURE | own("paths", "download", "features", "results", "progress"))


def test_frame_indices_is_pure() -> None:
    tree = ast.parse(modules()["meid_bench.features.frames"].read_text(encoding="utf-8"))
    (function,) = (
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "frame_indices"
    )
    names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    assert names <= {"num_frames", "wanted", "int", "np", "NDArray", "ValueError"}


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from meid_bench.cli.main import COMMANDS, cli
for arguments in [[], *([name] for name in COMMANDS)]:
    cli.main([*arguments, "--help"], standalone_mode=False)
print("heavy:", sorted(set(sys.modules) & {HEAVY!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("module", sorted(modules()))
def test_one_idea_a_file_and_a_function(module: str) -> None:
    text = modules()[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
            assert (node.end_lineno or 0) - first.lineno < LONGEST_FUNCTION, node.name
