"""`meid-bench methods` and `meid-bench check`: what can be run, and the tests of its contract."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from meid_bench.methods.card import MethodCard


HEADINGS = {
    "loss": "Losses",
    "sampler": "Samplers",
    "augmentation": "Augmentation",
    "two-stage": "Two stages",
    "network": "Networks",
    "other": "Other",
}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def methods(names: tuple[str, ...]) -> None:
    """List methods with their settings and sources; all registered ones by family, or those named.

    \b
    meid-bench methods
    meid-bench methods ldam my_module:MyMethod
    """
    from dataclasses import asdict

    from meid_bench.methods.card import method_card
    from meid_bench.methods.method import MethodConfig

    if names:
        for name in names:
            _print_card(method_card(name), full=True)
            click.echo()
    else:
        _print_all()
    click.echo(f"Every method has: {_shown(asdict(MethodConfig()))}")
    click.echo("Change one with `meid-bench run --method NAME --set KEY=VALUE`.")


@click.command()
@click.argument("name")
@click.option("--aggregator", help="One alone; all of them otherwise.")
def check(name: str, aggregator: str | None) -> None:
    """Try NAME (registered, or module:Class) against what the runner relies on, in seconds.

    \b
    meid-bench check my_module:MyMethod
    """
    from meid_bench.methods.aggregators import AGGREGATORS
    from meid_bench.methods.contract import check_method
    from meid_bench.methods.registry import find_method

    kind = find_method(name)
    broken = 0
    for chosen in [aggregator] if aggregator else AGGREGATORS:
        click.echo(f"{name} with {chosen}")
        for clause in check_method(kind, chosen):
            broken += clause.problem is not None
            click.echo(f"  {'FAILED' if clause.problem else 'ok':6}  {clause.name}")
            if clause.problem:
                click.echo(textwrap.indent(textwrap.fill(clause.problem, 88), " " * 10))
    if broken:
        raise click.ClickException(f"{name} breaks {broken} clauses of the contract")
    click.echo(f"Next: meid-bench run --method {name}")


def _print_all() -> None:
    from meid_bench.errors import MeidBenchError
    from meid_bench.methods.card import method_card
    from meid_bench.methods.registry import registered

    cards, broken = [], []
    for name in registered():
        try:
            cards.append(method_card(name))
        except MeidBenchError as error:
            broken.append(f"{name}\n  cannot be used: {error}\n")  # hides no other
    for family, heading in HEADINGS.items():
        members = [card for card in cards if card.family == family]
        if members:
            click.echo(f"{heading}\n{'=' * len(heading)}\n")
        for card in members:
            _print_card(card, full=False)
            click.echo()
    for line in broken:
        click.echo(line)


def _print_card(card: "MethodCard", full: bool) -> None:
    click.echo(f"{card.name} ({card.venue})" if card.venue else card.name)
    lines = [card.summary or "(no docstring)"]
    lines += [f"settings: {_shown(card.settings)}"] if card.settings else []
    lines += [f"preset {name}: {_shown(values)}" for name, values in card.presets.items()]
    lines += [f"source: {card.reference}"] if card.reference else []
    lines += [f"differs: {card.differs}"] if full and card.differs else []
    for line in [*lines, f"class: {card.place}"]:
        click.echo(_filled(line))


def _shown(settings: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return ", ".join(f"{name}={text(value)}" for name, value in settings.items())


def _filled(line: str) -> str:
    return textwrap.fill(
        line, 96, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )
