"""`meid-bench methods` and `meid-bench check`: what they say of good and of broken methods."""

import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from meid_bench.cli.main import cli
from meid_bench.cli.methods import HEADINGS
from meid_bench.methods.card import method_card
from meid_bench.methods.method import Family
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
        assert f"\n{name} (" in f"\n{done.output}"
    assert "reweight_epoch=50" in done.output
    assert "epochs=100, lr=0.001, milestones=30,60" in done.output


def test_methods_are_grouped_by_what_they_change_and_show_where_they_are_from(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    from meid_bench.methods import registry as plugins

    entries = dict(registered())
    entries["mine"] = EntryPoint("mine", "card_example:Mine", plugins.METHOD_GROUP)
    monkeypatch.setattr(plugins, "registered", lambda: entries)
    done = CliRunner().invoke(cli, ["methods"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    headings = [above for above, below in pairwise(lines) if above and set(below) == {"="}]
    assert headings[:3] == ["Losses", "Samplers", "Augmentation"] and headings[-1] == "Other"
    place = {heading: lines.index(heading) for heading in headings}
    assert place["Losses"] < lines.index("asl (ICCV 2021)") < place["Samplers"]
    assert place["Samplers"] < lines.index("srs (ICLR 2020)") < place["Augmentation"]
    assert place["Networks"] < lines.index("meid (AAAI 2023)") < place["Other"]
    assert lines.index("mine") > place["Other"]


def test_every_family_has_a_heading_and_every_project_method_a_family_and_a_venue() -> None:
    assert list(HEADINGS) == list(get_args(Family))
    for name in registered():
        card = method_card(name)
        assert card.family != "other" and re.fullmatch(r"[A-Za-z]+ 20\d\d", card.venue), name


def test_a_subclass_has_its_parents_family_but_not_its_venue(modules: Path) -> None:
    (modules / "card_child.py").write_text(
        "from baselines.plain import Plain\n\nclass Child(Plain):\n    family = 'mine'\n\n"
        "class Sibling(Plain):\n    pass\n"
    )
    assert method_card("card_child:Sibling").family == "loss"
    assert method_card("card_child:Sibling").venue == ""
    assert method_card("card_child:Child").family == "other"


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
