"""Fixtures that several test files share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.made_videos import Odd


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root that one whole demo left, at half its frames: for whoever needs real runs.

    Read it, and write elsewhere: every test that asks for it gets the same folder.
    """
    from click.testing import CliRunner

    from meid_bench.benchmark.miniature import make_release
    from meid_bench.cli.main import cli
    from meid_bench.demo import RELEASE

    root = tmp_path_factory.mktemp("demo")
    make_release(root / RELEASE, seed=0, frames=4)
    result = CliRunner().invoke(cli, ["demo", "--dir", str(root)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (root / "output.txt").write_text(result.output, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the toy benchmark and its features; the tests of one module share it."""
    from tests.toy import write_toy

    root = tmp_path_factory.mktemp("toy")
    write_toy(root)
    return root


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, "Odd"]:
    """Odd and broken videos by file name, each with its account."""
    from tests.made_videos import make_zoo

    return make_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three videos a shard, so that a dozen videos make several."""
    from meid_bench.features import shard
    from tests.extraction import VIDEOS_PER_SHARD

    monkeypatch.setattr(shard, "VIDEOS_PER_SHARD", VIDEOS_PER_SHARD)
