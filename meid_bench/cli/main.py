"""`meid-bench`: finds a command's file only when that command is named."""

import errno
import importlib
import sys
from typing import Any

import click

from meid_bench import __version__
from meid_bench.errors import MeidBenchError, unknown

# Command name -> "module:function"; the order is that of a first day's work.
COMMANDS: dict[str, str] = {
    "demo": "meid_bench.cli.demo:demo",
    "build": "meid_bench.cli.build:build",
    "stats": "meid_bench.cli.stats:stats",
    "extract": "meid_bench.cli.extract:extract",
    "verify": "meid_bench.cli.extract:verify",
    "run": "meid_bench.cli.run:run",
    "methods": "meid_bench.cli.methods:methods",
    "check": "meid_bench.cli.methods:check",
    "leaderboard": "meid_bench.cli.leaderboard:leaderboard",
    "evaluate": "meid_bench.cli.leaderboard:evaluate",
    "reproduce": "meid_bench.cli.reproduce:reproduce",
    "report": "meid_bench.cli.report:report",
    "inspect": "meid_bench.cli.inspect:inspect",
    "predict": "meid_bench.cli.inspect:predict",
    "import-features": "meid_bench.cli.features:import_features",
    "export-features": "meid_bench.cli.features:export_features",
}


# What a path that a user gave may run into, and no bug of ours.
USERS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ENOSPC),
    errno.ENAMETOOLONG,
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            ctx.fail(str(unknown("command", cmd_name, COMMANDS)))
        module, function = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments that are no text: no record could name them."""
        for argument in args:
            try:
                argument.encode()
            except UnicodeEncodeError:
                ctx.fail(f"The argument {argument!r} is not UTF-8; give the file or name another")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Turn the errors a user can mend into one sentence and exit code 1."""
        try:
            return super().invoke(ctx)
        except MeidBenchError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            full = error.errno == errno.ENOSPC  # says so while writing, without a file's name
            if error.errno not in USERS or (error.filename is None and not full):
                raise
            raise click.ClickException(
                f"{error.filename or 'Writing'}: {error.strerror}; "
                "check the path, its rights and the disk"
            ) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meid-bench")
def cli() -> None:
    """Long-tailed, multi-label video recognition: benchmarks, features, methods, one board.

    \b
    meid-bench demo                    everything below, on made-up videos
    meid-bench build charadeslt        official files -> benchmark
    meid-bench extract --gpu 0         videos -> features
    meid-bench run --method meid       features -> trained method, record
    meid-bench leaderboard             records -> table

    Data live under $MEID_BENCH_HOME, or ./data; every step resumes when run again.
    """


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="meid-bench" if not sys.argv[0].endswith("__main__.py") else None)
