"""Seal a folder with a spec.json: state its benchmark's fingerprint and check bytes in it.

    python tools/seal.py splits/charadeslt DIR            # rewrites spec.json and checks.txt
    python tools/seal.py splits/charadeslt DIR --check    # exit 1 where they would change

DIR holds the official files. Done once, when the lists are final; from then on `meid-bench build`
refuses annotation files that give another benchmark.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from meid_bench.benchmark.assemble import assemble, checks
from meid_bench.benchmark.source import Source, annotation_files
from meid_bench.benchmark.spec import SPEC_FILE, find_spec, load_spec
from meid_bench.errors import MeidBenchError
from meid_bench.files import write_text


def sealed(folder: Path, source: Path) -> dict[Path, str]:
    """What the files of a sealed folder hold: path to text."""
    spec = load_spec(folder)
    annotations, origin = spec.sources.annotations, Source(folder=source)
    with (
        TemporaryDirectory() as root,
        annotation_files(annotations, origin, Path(root), folder, False) as (files, _),
    ):
        benchmark = assemble(replace(spec, fingerprint=None), folder, files)
    # Only what the file itself says is written back, not what it takes from its base.
    data = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
    data["fingerprint"] = benchmark.fingerprint
    texts = {folder / SPEC_FILE: json.dumps(data, indent=2) + "\n"}
    if spec.checks is not None:
        lines = "".join(f"{name} {byte}\n" for name, byte in checks(benchmark).items())
        texts[folder / spec.checks] = lines
    return texts


@click.command()
@click.argument("which")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Compare with what is there; write nothing.")
def main(which: str, source: Path, check: bool) -> None:
    """State in WHICH, a packaged name or a folder, what the official files in SOURCE give."""
    try:
        texts = sealed(find_spec(which), source)
    except MeidBenchError as error:
        raise click.ClickException(str(error)) from error
    changed = [p for p, text in texts.items() if not p.is_file() or p.read_text() != text]
    for path in changed:
        if not check:
            write_text(path, texts[path])
        click.echo(f"{path}: {'differs' if check else 'written'}")
    if check and changed:
        sys.exit(1)


if __name__ == "__main__":
    main()
