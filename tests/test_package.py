"""The package as users get it: version, entry points, and a wheel that holds all its data."""

import os
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner

from meid_bench import __version__
from meid_bench.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return ZipFile(path)


def run_python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    environment = os.environ | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_one_version_everywhere(tmp_path: Path) -> None:
    assert distribution("meid-bench").version == __version__
    said = f"meid-bench, version {__version__}\n"
    assert CliRunner().invoke(cli, ["--version"]).output == said
    assert run_python("-m", "meid_bench", "--version", cwd=tmp_path) == said
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_console_script_is_the_command_line() -> None:
    (script,) = entry_points(group="console_scripts", name="meid-bench")
    assert script.value == "meid_bench.cli.main:main"


@pytest.mark.parametrize("group", ["meid_bench.methods", "meid_bench.networks"])
def test_every_entry_point_loads(group: str) -> None:
    ours = [entry for entry in entry_points(group=group) if entry.dist.name == "meid-bench"]
    assert ours
    for entry in ours:
        assert callable(entry.load())


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {command}")


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["leaderbord"])
    assert result.exit_code == 2
    assert "There is no command 'leaderbord'; did you mean 'leaderboard'?" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["import-features", "f\udcff"], ["extract", "--video-dir", "v\udcff"], ["n\udcff"]],
)
def test_an_argument_that_is_no_text_is_a_usage_error(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert f"The argument {arguments[-1]!r} is not UTF-8; give" in result.output


def test_the_wheel_holds_every_file_of_the_packages_and_splits(wheel: ZipFile) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "meid_bench", "baselines", "meid", "splits"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    expected = {
        f"meid_bench/{name}" if name.startswith("splits/") else name
        for name in tracked
        if (ROOT / name).is_file()
    }
    assert {"meid_bench/splits/charadeslt/train.txt", "meid/method.py"} <= expected
    assert expected <= set(wheel.namelist())


def test_the_wheel_holds_nothing_else(wheel: ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"meid_bench", "baselines", "meid", f"meid_bench-{__version__}.dist-info"}


def test_an_unpacked_wheel_finds_its_own_files(wheel: ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = (
        "from meid_bench.files import packaged_splits as splits\n"
        "from meid_bench.benchmark.spec import packaged_specs\n"
        "print(splits(), 'charadeslt' in packaged_specs())"
    )
    said = run_python("-c", code, cwd=tmp_path, path=tmp_path / "site")
    assert said.split() == [str(tmp_path / "site" / "meid_bench" / "splits"), "True"]
