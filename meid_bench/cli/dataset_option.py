"""The option --dataset, the same for every command that takes one."""

import click

dataset_option = click.option(
    "--dataset", default="charadeslt", show_default=True, metavar="NAME", help="A built benchmark."
)
