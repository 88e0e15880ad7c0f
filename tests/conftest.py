"""Fixtures that several test files share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root that one whole demo left, at half its frames: for whoever needs real runs.

    Read it, and write elsewhere: every test that asks for it gets the same folder.
    """
    from click.testing import CliRunner

    from meid_bench.cli.main import cli
    from meid_bench.demo import RELEASE
    from meid_bench.miniature import make_release

    root = tmp_path_factory.mktemp("demo")
    make_release(root / RELEASE, seed=0, frames=4)
    result = CliRunner().invoke(cli, ["demo", "--dir", str(root)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (root / "output.txt").write_text(result.output, encoding="utf-8")
    return root
