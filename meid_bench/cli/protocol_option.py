"""The option --protocol, the same for every command that trains."""

import click

protocol_option = click.option(
    "--protocol",
    type=click.Choice(["paper", "equal"]),
    default="paper",
    show_default=True,
    help="paper: the method's own schedule; equal: the same epochs for all, the rate from val.",
)
