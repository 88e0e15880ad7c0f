"""`meid-bench stats`: Table 1's row, JSON, and the picture."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import Benchmark, save_benchmark
from meid_bench.benchmark.longtail import Bins, Statistics
from meid_bench.benchmark.statistics_plot import plot_classes
from meid_bench.cli.main import cli
from meid_bench.errors import SettingError
from meid_bench.files import benchmark_dir
from meid_bench.palette import GROUP_COLOURS, SPLIT_COLOURS


def made_benchmark(expected: Statistics | None = None) -> Benchmark:
    labels = {
        "train": [(0,), (0, 1), (0, 1, 2), (0,)],
        "val": [(1,), (0, 2)],
        "test": [(0,), (1,), (0, 1)],
    }
    splits = {
        split: tuple(Annotation(f"{split}{n}", label) for n, label in enumerate(rows))
        for split, rows in labels.items()
    }
    return Benchmark("made", "Made up", ("a", "b", "c"), splits, Bins(1, 2), 8, expected=expected)


@pytest.fixture
def stats(tmp_path):
    """Build, then call the command; gives its result."""

    def call(*arguments: str, expected: Statistics | None = None):
        save_benchmark(made_benchmark(expected), benchmark_dir(tmp_path, "made"))
        return CliRunner().invoke(cli, ["stats", *arguments, "--root", str(tmp_path)])

    return call


def test_the_row_stands_beside_the_papers(stats):
    result = stats("made", expected=Statistics(3, 1, 1, 1, 4, 2, 5, 1.8, 4.0))
    lines = {line.split("  ")[0]: line.split()[-3:] for line in result.output.splitlines()}
    assert result.exit_code == 0
    assert lines["imbalance ratio (train)"] == ["4.0", "4.0", "yes"]
    assert lines["test videos"] == ["3", "5", "NO"]
    assert made_benchmark().fingerprint in result.output


def test_json_holds_every_number(stats):
    result = stats("made", "--json")
    data = json.loads(result.output)
    assert data["statistics"]["labels_per_video"] == 11 / 7
    assert data["videos_per_class"] == {"train": [4, 2, 1], "val": [1, 1, 1], "test": [2, 2, 0]}
    assert (data["expected"], data["agrees"]) == (None, None)
    expected = Statistics(3, 1, 1, 1, 4, 2, 3, 1.6, 4.0)
    assert json.loads(stats("made", "--json", expected=expected).output)["agrees"] is True


def test_the_picture_shows_the_bins(stats, tmp_path):
    path = tmp_path / "made.png"
    assert stats("made", "--plot", str(path)).exit_code == 0
    picture = imread(path)[..., :3]
    shades = [(colour, 0.08) for colour in GROUP_COLOURS.values()]
    for shade, alpha in [*shades, (SPLIT_COLOURS["train"], 1.0)]:
        colour = np.array([int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        seen = 1 - alpha + alpha * colour
        assert np.isclose(picture, seen, atol=2 / 255).all(axis=-1).any(), shade


def test_a_picture_of_no_known_format_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"must end in \.png"):
        plot_classes(made_benchmark(), tmp_path / "made.docx")
    assert not list(tmp_path.iterdir())


def test_an_unknown_dataset_gets_the_nearest_name(stats):
    result = stats("mode")
    assert result.exit_code == 1
    assert "did you mean 'made'?" in result.output
