"""What README and docs promise is there: commands, options, files, and the lines to paste."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from meid_bench.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("splits/*/*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


def command_lines() -> list[tuple[Path, str]]:
    """Every line of a page that calls meid-bench: in blocks of code, and between backticks."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.lstrip().startswith("meid-bench ")]
        inline = re.findall(r"`(meid-bench [^`]+)`", BLOCK.sub("", text))
        found += [(page, " ".join(line.split())) for line in [*lines, *inline]]
    return found


def test_lines_are_found() -> None:
    assert len([line for page, line in command_lines() if page == README]) >= 4


@pytest.mark.parametrize(
    ("page", "line"),
    command_lines(),
    ids=lambda part: part.name if isinstance(part, Path) else part,
)
def test_every_command_and_option_exists(page: Path, line: str) -> None:
    line = re.sub(r"\[(--[^\]]*)\]", r"\1", line)  # [--option] in a synopsis
    words = shlex.split(line.partition(" #")[0].partition("   ")[0], comments=True)[1:]
    if words[0].isupper() or words[0].startswith("--"):
        return
    assert words[0] in COMMANDS, f"{page.name}: {line}"
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    used = {word.partition("=")[0].rstrip(".,;") for word in words if word.startswith("--")}
    assert used <= known, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_linked_file_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_source_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text(encoding="utf-8"))
    places = (ROOT, ROOT / "meid_bench")
    assert not [name for name in named if not any((place / name).is_file() for place in places)]


def test_every_page_of_docs_is_reached_from_readme() -> None:
    text = README.read_text(encoding="utf-8")
    missing = [page.name for page in PAGES if page.parent.name == "docs" and page.name not in text]
    assert not missing


def test_every_command_is_named_in_readme() -> None:
    text = README.read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if not re.search(rf"(`|-bench ){name}\b", text)]
    assert not missing


def test_the_checks_run_the_line_that_readme_gives() -> None:
    line = re.search(
        r"^python3 -m venv .*pytest$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert line is not None
    assert line.group().split(" && ")[-1] == ".venv/bin/pytest"
    assert "'^python3 -m venv .*pytest$' README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_example_in_python_runs(
    demo_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = (body for body in blocks(README, "python") if "load_run" in body)
    clip = min(demo_root.glob("videos/**/*.mp4"))
    shutil.copy(clip, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEID_BENCH_HOME", str(demo_root))
    exec(compile(example, "README.md", "exec"), {})
    assert len(re.findall(r"^0\.\d{3}  \w", capsys.readouterr().out, re.MULTILINE)) == 5
