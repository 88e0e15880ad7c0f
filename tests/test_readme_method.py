"""README's "add your own method": the text itself is run."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from meid_bench.cli.main import cli
from meid_bench.files import runs_dir
from meid_bench.results.record import read_records
from tests.toy import toy_benchmark, toy_features, write_features

README = Path(__file__).parents[1] / "README.md"
EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n(.*?)<!-- end of example -->", re.DOTALL)


def test_the_file_and_the_commands_put_a_method_on_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((name, text),) = EXAMPLE.findall(README.read_text(encoding="utf-8"))
    (source,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (commands,) = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 22
    (tmp_path / name).write_text(source, encoding="utf-8")
    benchmark = replace(toy_benchmark(), name="charadeslt")
    items = {}
    for seed, split in enumerate(benchmark.splits):
        features = toy_features(benchmark.labels(split), seed)
        items |= dict(zip(benchmark.ids(split), features, strict=True))
    write_features(tmp_path / "data", benchmark, items)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEID_BENCH_HOME", raising=False)

    lines = [shlex.split(line, comments=True) for line in commands.splitlines()]
    assert [line[:2] for line in lines] == [["meid-bench", "check"], ["meid-bench", "run"]]
    for line in lines:
        # The toy has 48 training videos; everything else is as README has it.
        small = ["--set", "batch=16", "--set", "epochs=2"] if line[1] == "run" else []
        done = CliRunner().invoke(cli, [*line[1:], *small, *(["--device", "cpu"] * bool(small))])
        assert done.exit_code == 0, done.output
        assert "FAILED" not in done.output
    records, problems = read_records(runs_dir(tmp_path / "data", "charadeslt"))
    assert not problems
    (record,) = records.values()
    assert record.method == "my_method:Weighted" and record.settings["power"] == 0.5
    board = CliRunner().invoke(cli, ["leaderboard"])
    assert board.exit_code == 0 and "my_method:Weighted" in board.output
