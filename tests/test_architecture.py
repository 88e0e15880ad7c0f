"""Who may import whom, read from the imports themselves, and how long an idea may be."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("meid_bench", "baselines", "meid")

# The rooms, and what each may import beside itself. The ground floor is the files of meid_bench/
# itself, but for those that stand on top of all.
GROUND = {"ground"}
ROOMS: dict[str, set[str]] = {
    "ground": set(),
    "benchmark": GROUND,
    "features": GROUND | {"benchmark"},
    "methods": GROUND | {"benchmark"},
    "results": GROUND | {"benchmark"},
}
ROOMS["training"] = set(ROOMS)
ROOMS["inference"] = set(ROOMS)
ROOMS["cli"] = set(ROOMS)
TOP = {"__main__", "api", "demo"}
# A method leans on the room that says what a method is, and on these.
FOR_METHODS = {"meid_bench.results.metrics", "meid_bench.errors"}
PURE = {"results.metrics", "results.bootstrap", "results.joint_intervals"}
PURE |= {"benchmark.longtail", "benchmark.stratify", "methods.losses", "methods.frame_draws"}
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
def imports(module: str) -> frozenset[str]:
    """What a module imports, inside functions too: the project's by module, others by package."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
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
def reachable(module: str) -> frozenset[str]:
    """The project's modules that a module imports, directly or not."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = {name for name in imports(ahead.pop()) if name in modules()} - found
        found |= new
        ahead += new
    return frozenset(found)


def room(module: str) -> str:
    """The room of one of the toolkit's modules."""
    parts = module.split(".")
    if len(parts) < 2 or (len(parts) == 2 and parts[1] not in ROOMS):
        return "cli" if parts[-1] in TOP else "ground"
    return parts[1]


TOOLKIT = sorted(module for module in modules() if module.startswith("meid_bench"))
METHODS = sorted(module for module in modules() if not module.startswith("meid_bench"))


def test_the_reader_sees_imports_inside_functions_too() -> None:
    assert {"meid_bench.training.fit", "torch"} <= imports("meid_bench.training.run")
    assert "meid_bench.training.run" in imports("meid_bench.cli.run")
    assert "meid_bench.errors" in reachable("meid_bench.cli.run")


def test_every_folder_is_a_room() -> None:
    assert {room(module) for module in TOOLKIT} == set(ROOMS)


@pytest.mark.parametrize("module", TOOLKIT)
def test_a_room_imports_only_rooms_below_it(module: str) -> None:
    allowed = ROOMS[room(module)] | {room(module)}
    own = [name for name in imports(module) if name in modules() and name != "meid_bench"]
    assert not [name for name in own if name not in TOOLKIT or room(name) not in allowed]


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_circle_of_files(module: str) -> None:
    assert module not in reachable(module)


@pytest.mark.parametrize("module", METHODS)
def test_methods_lean_on_the_extension_interface_alone(module: str) -> None:
    package = module.split(".", maxsplit=1)[0]
    for name in imports(module) & set(modules()):
        own = name.split(".")[0] == package
        assert own or room(name) == "methods" or name in FOR_METHODS, name


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_touch_no_files_and_no_terminal(name: str) -> None:
    direct = imports(f"meid_bench.{name}")
    assert not direct & (IMPURE | {"meid_bench.files", "meid_bench.progress"})


def test_the_documented_tree_is_the_files() -> None:
    command = [sys.executable, "tools/code_map.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


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
