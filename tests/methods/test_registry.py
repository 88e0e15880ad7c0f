"""Methods by name: entry points of other packages, module:Class, and what can be wrong."""

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from meid_bench.errors import MethodError, SettingError
from meid_bench.methods import registry as plugins
from meid_bench.methods.registry import METHOD_GROUP, find_method, find_network, registered

PACKAGE = '''
from meid_bench.methods.method import AggregatorMethod

class Theirs(AggregatorMethod):
    """A third party's."""

    def loss(self, batch, stage, epoch):
        return self(batch.features).square().mean()

NUMBER = 3
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with an entry point, as an installer leaves it."""
    (tmp_path / "their_package.py").write_text(PACKAGE)
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{METHOD_GROUP}]\ntheirs = their_package:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return info


def test_an_installed_packages_method_is_found(installed: Path) -> None:
    assert "theirs" in registered()
    assert find_method("theirs").__name__ == "Theirs"


def test_two_packages_that_claim_one_name_are_both_named(installed: Path) -> None:
    (installed / "entry_points.txt").write_text(f"[{METHOD_GROUP}]\nplain = their_package:Theirs\n")
    with pytest.raises(
        SettingError,
        match=r"'plain' is claimed by baselines.plain:Plain and by their_package:Theirs; uninstall",
    ):
        registered()
    assert find_method("their_package:Theirs").__name__ == "Theirs"


def test_one_package_seen_twice_is_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install beside a wheel lists its entry points twice."""
    twice = EntryPoints([EntryPoint("plain", "baselines.plain:Plain", METHOD_GROUP)] * 2)
    monkeypatch.setattr(plugins, "entry_points", lambda group: twice)
    assert list(registered()) == ["plain"]


def test_a_module_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lies_here.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    assert find_method("lies_here:Theirs").__doc__ == "A third party's."


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("plian", SettingError, "There is no method 'plian'; did you mean 'plain'?"),
        ("no_such:Thing", SettingError, "no module 'no_such' here or among the installed"),
        ("baselines.plain:Plane", SettingError, "did you mean 'Plain'?"),
        ("their_package:NUMBER", MethodError, "is no subclass of meid_bench.methods.method.Method"),
        ("baselines.plain:PlainConfig", MethodError, "is no subclass of"),
        ("broken_module:Thing", MethodError, "cannot be imported: SyntaxError"),
        ("needs_more:Thing", MethodError, "cannot be imported: No module named 'not_there'"),
    ],
)
def test_what_cannot_be_found_is_named(
    installed: Path, name: str, error: type[Exception], sentence: str
) -> None:
    folder = installed.parent
    (folder / "broken_module.py").write_text("def f(:\n")
    (folder / "needs_more.py").write_text("import not_there\n")
    with pytest.raises(error) as caught:
        find_method(name)
    assert sentence in str(caught.value)


def test_networks() -> None:
    assert callable(find_network("e1"))
    with pytest.raises(SettingError, match="There is no network 'e3'"):
        find_network("e3")
