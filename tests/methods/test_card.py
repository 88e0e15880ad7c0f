"""`meid-bench methods` and `meid-bench check`: what they say of good and of broken methods."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from meid_bench.cli.main import cli
from meid_bench.methods.card import method_card
from meid_bench.methods.registry import registered

GOOD = '''
from meid_bench.methods.method import AggregatorMethod

class Mine(AggregatorMethod):
    """Squared error.

    Reference: nobody's.
    """

    def loss(self, batch, stage, epoch):
        return (self(batch.features).sigmoid() - batch.labels).square().mean()

class Bad(Mine):
    def forward(self, x):
        return super().forward(x)[:, :1]
'''


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "card_example.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["ldam", "cbs", "meid", "framestack"])
def test_a_card_says_what_a_reviewer_asks(name: str) -> None:
    card = method_card(name)
    assert card.summary.endswith(".") and card.reference and card.differs
    assert card.settings and "videolt" in card.presets


def test_every_project_method_names_its_source() -> None:
    for name in registered():
        assert method_card(name).reference, name


def test_methods_lists_settings_with_defaults_and_sources() -> None:
    done = CliRunner().invoke(cli, ["methods"])
    assert done.exit_code == 0, done.output
    for name in registered():
        assert f"\n{name}\n" in f"\n{done.output}"
    assert "reweight_epoch=50" in done.output
    assert "epochs=100, lr=0.001, milestones=30,60" in done.output


def test_a_named_method_of_a_third_party_shows_its_card(modules: Path) -> None:
    done = CliRunner().invoke(cli, ["methods", "card_example:Mine"])
    assert done.exit_code == 0, done.output
    assert "Squared error." in done.output and "source: nobody's." in done.output
    refused = CliRunner().invoke(cli, ["methods", "plein"])
    assert refused.exit_code == 1 and "did you mean 'plain'?" in refused.output


def test_a_package_that_does_not_import_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from meid_bench.methods import registry as plugins

    entries = {"plain": registered()["plain"]}
    entries["broken"] = EntryPoint("broken", "no_such_module:Thing", plugins.METHOD_GROUP)
    monkeypatch.setattr(plugins, "registered", lambda: entries)
    done = CliRunner().invoke(cli, ["methods"])
    assert done.exit_code == 0, done.output
    assert "cannot be used: There is no module 'no_such_module'" in done.output
    assert "baselines.plain:Plain" in done.output


def test_check_runs_the_contract(modules: Path) -> None:
    arguments = ["check", "card_example:Mine", "--aggregator", "nonlinear"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.output and "same seed, same losses" in done.output


def test_check_names_every_clause_that_is_broken(modules: Path) -> None:
    arguments = ["check", "card_example:Bad", "--aggregator", "nonlinear"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert "FAILED  finite logits, videos by classes" in done.output
    assert "Error: card_example:Bad breaks" in done.output
    unknown = CliRunner().invoke(cli, ["check", "card_example:Mine", "--aggregator", "vlad"])
    assert unknown.exit_code == 1 and "did you mean" in unknown.output
