"""A run knows its code: what is part of its sum, and that two versions are never one row."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from meid_bench.errors import MethodError
from meid_bench.methods import code_identity
from meid_bench.methods.code_identity import code_of, commit
from meid_bench.methods.registry import find_method, registered
from meid_bench.results.board import load_board
from meid_bench.results.record import CURVE, RECORD, load_result
from meid_bench.training.execution import Execution
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.toy import on_toy, write_toy

METHOD = """
import json
import torch
from meid_bench.methods.method import AggregatorMethod
{imports}

class Scaled(AggregatorMethod):
    def loss(self, batch, stage, epoch):
        return {factor} * (self(batch.features).sigmoid() - batch.labels).square().mean()
"""


def write_method(folder: Path, factor: object = 1, imports: str = "", name: str = "mine") -> None:
    (folder / f"{name}.py").write_text(METHOD.format(imports=imports, factor=factor))


SETTINGS = {"epochs": "2", "milestones": "1", "batch": "16"}


def start_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are loaded as by a new process."""
    own = ("mine", "tool", "lib", "pack", "other")
    for module in [m for m in sys.modules if m.split(".")[0] in own]:
        del sys.modules[module]
    importlib.invalidate_caches()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # versions of one second, one .pyc
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def loaded(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class as a new process would load it."""
    start_anew(folder, monkeypatch)
    return find_method(name)


def test_modules_beside_the_method_count_and_packages_of_others_do_not(tmp_path, monkeypatch):
    imports = "from tool import twice\nimport lib.deep.helper as helper\nimport numpy"
    write_method(tmp_path, "twice(1)", imports)
    (tmp_path / "tool.py").write_text("import lib.other\ndef twice(x):\n    return 2 * x\n")
    (tmp_path / "lib" / "deep").mkdir(parents=True)  # a namespace package: no __init__
    for name in ("deep/helper", "other"):
        (tmp_path / "lib" / f"{name}.py").write_text("A = 1\n")
    (tmp_path / "idle.py").write_text("B = 1\n")
    sums = [code_of(loaded(tmp_path, "mine:Scaled", monkeypatch))]
    for name in ("mine.py", "tool.py", "lib/deep/helper.py", "lib/other.py"):
        path = tmp_path / name
        path.write_text(path.read_text() + "\nX = 1\n")
        sums.append(code_of(loaded(tmp_path, "mine:Scaled", monkeypatch)))
    assert len(set(sums)) == 5
    (tmp_path / "idle.py").write_text("B = 2\n")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert code_of(loaded(tmp_path, "mine:Scaled", monkeypatch)) == sums[-1]


def test_a_package_counts_what_it_imports_of_itself(tmp_path, monkeypatch):
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "sub" / "__init__.py").write_text("from ..losses import A\n")
    (tmp_path / "pack" / "losses.py").write_text("A = 1\n")
    (tmp_path / "pack" / "other.py").write_text("C = 1\n")
    write_method(tmp_path / "pack", "A", "from .sub import A", "method")
    first = code_of(loaded(tmp_path, "pack.method:Scaled", monkeypatch))
    (tmp_path / "pack" / "other.py").write_text("C = 2\n")
    assert code_of(loaded(tmp_path, "pack.method:Scaled", monkeypatch)) == first
    (tmp_path / "pack" / "losses.py").write_text("A = 2\n")
    assert code_of(loaded(tmp_path, "pack.method:Scaled", monkeypatch)) != first


def test_modules_that_are_imported_by_a_written_name_count(tmp_path, monkeypatch):
    (tmp_path / "pack").mkdir()
    imports = "import importlib\nfrom importlib import import_module"
    calls = {
        "one": 'importlib.import_module("pack.one").A',
        "two": 'import_module(".two", __package__).A',
        "three": '__import__("pack.three").three.A',
    }
    for name in ("__init__", *calls):
        (tmp_path / "pack" / f"{name}.py").write_text("A = 1\n")
    write_method(tmp_path / "pack", " * ".join(calls.values()), imports, "method")
    sums = [code_of(loaded(tmp_path, "pack.method:Scaled", monkeypatch))]
    for name in calls:
        (tmp_path / "pack" / f"{name}.py").write_text("A = 2\n")
        sums.append(code_of(loaded(tmp_path, "pack.method:Scaled", monkeypatch)))
    assert len(set(sums)) == 4


def test_what_was_loaded_counts_and_not_what_its_file_says_later(tmp_path, monkeypatch):
    write_method(tmp_path, 1)
    kind = loaded(tmp_path, "mine:Scaled", monkeypatch)
    first = code_of(kind)
    write_method(tmp_path, 5)
    assert code_of(kind) == first
    assert code_of(loaded(tmp_path, "mine:Scaled", monkeypatch)) != first


def test_another_class_of_an_edited_module_is_the_code_that_was_loaded(tmp_path, monkeypatch):
    """In a sweep each run is planned when its turn comes: B ran as loaded, under the new sum."""
    text = METHOD.format(imports="import tool", factor="tool.A") + "class B(Scaled):\n    pass\n"
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "tool.py").write_text("A = 1\n")
    first = code_of(loaded(tmp_path, "mine:Scaled", monkeypatch))
    (tmp_path / "other.py").write_text("import tool\n" + METHOD.format(imports="", factor=1))
    before = code_of(find_method("other:Scaled"))
    (tmp_path / "mine.py").write_text(text + "C = 1\n")
    (tmp_path / "tool.py").write_text("A = 2\n")
    assert code_of(find_method("mine:B")) == first
    del sys.modules["other"]
    assert code_of(find_method("other:Scaled")) == before  # of a helper too


@pytest.mark.parametrize("compiled", [True, False])
def test_a_module_that_was_edited_between_import_and_plan_is_refused(
    compiled, tmp_path, monkeypatch
):
    write_method(tmp_path, 1)
    start_anew(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "dont_write_bytecode", not compiled)
    module = importlib.import_module("mine")
    if compiled:  # the .pyc says that the file is still what was loaded
        first = code_of(module.Scaled)
        write_method(tmp_path, 234)
        importlib.reload(module)
        assert code_of(module.Scaled) != first
        importlib.reload(module)
    write_method(tmp_path, 15)
    with pytest.raises(MethodError, match=r"mine.py has changed since it was loaded.*new process"):
        code_of(find_method("mine:Scaled"))


def test_methods_of_the_project_have_sums_of_their_own():
    sums = {name: code_of(find_method(name)) for name in registered()}
    assert len(set(sums.values())) == len(sums)


def test_an_edited_method_is_trained_anew_and_stands_in_a_row_of_its_own(tmp_path, monkeypatch):
    write_toy(tmp_path)
    folders = []
    for factor, seed in ((1, 0), (5, 0), (5, 1)):
        write_method(tmp_path, factor)
        loaded(tmp_path, "mine:Scaled", monkeypatch)
        request = Request("mine:Scaled", "toy", "nonlinear", seed=seed, settings=SETTINGS)
        planned = plan_run(request, tmp_path)
        assert not planned.finished
        result = run(planned, torch.device("cpu"))
        assert result.code == planned.code and len(planned.code) == 64
        folders.append(planned.folder)
    assert len(set(folders)) == 3
    rows = load_board("toy", tmp_path).rows
    assert sorted(row.seeds for row in rows) == [(0,), (0, 1)]
    assert all("/code=" in row.name and "/epochs=2" in row.name for row in rows)


def test_again_trains_a_finished_run_once_more(tmp_path):
    write_toy(tmp_path)

    def call(*more: str) -> str:
        done = on_toy(tmp_path, ["run", "--method", "plain", *more], SETTINGS)
        assert done.exit_code == 0, done.output
        return done.output

    call()
    (path,) = (tmp_path / "runs" / "toy").glob(f"*/{RECORD}")
    first, wrong = load_result(path), path.read_text().replace('"seed": 0', '"seed": 7')
    path.write_text(wrong)
    assert "there already" in call()
    assert path.read_text() == wrong
    assert "there already" not in call("--again")
    again = load_result(path)
    assert again.seed == 0 and again.test == first.test
    assert "1/2] plain seed 0: test mAP" in call("--again", "--seeds", "0,1")
    assert "was there already" not in call("--again", "--seeds", "0,1")


def test_again_keeps_the_old_result_until_there_is_a_new_one(tmp_path):
    write_toy(tmp_path)
    settings = {**SETTINGS, "epochs": "3"}
    request = Request("plain", "toy", "nonlinear", settings=settings)
    folder = plan_run(request, tmp_path).folder
    run(plan_run(request, tmp_path), torch.device("cpu"))
    planned = plan_run(replace(request, again=True), tmp_path)
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    seen: list[object] = []

    def interrupt(point: object) -> None:
        seen.append(point)
        if len(seen) == 2:
            raise KeyboardInterrupt

    how = Execution(checkpoint_minutes=0)
    with pytest.raises(KeyboardInterrupt):
        run(planned, torch.device("cpu"), interrupt, how)
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert old == {name: left[name] for name in old}
    assert plan_run(request, tmp_path).finished
    run(planned, torch.device("cpu"), seen.append, how)
    assert len(seen) == 2 + 2  # the first epoch was kept
    assert (folder / RECORD).read_bytes() != old[RECORD]
    assert (folder / CURVE).read_bytes() == old[CURVE]


def test_settings_that_differ_from_the_preset_are_recorded_by_name(tmp_path):
    write_toy(tmp_path)

    def changed(**settings: str) -> set[str]:
        request = Request("ldam", "toy", "nonlinear", settings=settings, preset="videolt")
        return set(plan_run(request, tmp_path).changed)

    assert changed() == set()
    assert changed(**SETTINGS) == {"epochs", "milestones", "batch"}
    assert changed(**{"aggregator.dropout": "0.1"}) == {"aggregator.dropout"}
    lr = find_method("ldam").presets["videolt"]["lr"]
    assert changed(lr=str(lr)) == set()  # said, and not changed
    assert changed(lr="0.5") == {"lr"}
    equal = Request("plain", "toy", "nonlinear", protocol="equal", settings={"batch": "16"})
    assert plan_run(equal, tmp_path).changed == ("batch",)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("where", ["own checkout", "venv within another", "committed in another"])
def test_only_the_toolkits_own_commit_is_recorded(where, tmp_path, monkeypatch):
    package = tmp_path / ("lib/site-packages" if where == "venv within another" else ".")
    package = (package / "meid_bench" / "running").resolve()
    package.mkdir(parents=True)
    (package / "record.py").write_text("")
    (package.parent / "__init__.py").write_text("")
    name = "meid-bench" if where == "own checkout" else "my-thesis"
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    (tmp_path / ".gitignore").write_text("lib\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "one")
    monkeypatch.setattr(code_identity, "__file__", str(package / "record.py"))
    if where != "own checkout":
        assert commit() is None
        return
    found = commit()
    assert found is not None and len(found) == 40
    (package.parent / "__init__.py").write_text("changed\n")
    assert commit() == found + "+"
