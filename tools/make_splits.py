"""Make, or with --check compare, the lists of ids under splits/ from the official csv files.

    python tools/make_splits.py DIR            # writes splits/<name>/{train,val,test}.txt
    python tools/make_splits.py DIR --check    # exit 1 where a list is not what the recipe gives

DIR holds the official annotation files, unpacked (Charades_v1_train.csv and so on). Lists hold
video ids only, one a line, sorted; labels stay in the official files.
"""

import sys
from pathlib import Path

import click

from meid_bench.benchmark import SPLITS
from meid_bench.building.spec import Spec, find_spec, load_spec, packaged_specs
from meid_bench.charades import read_annotations, read_classes
from meid_bench.errors import DataError, MeidBenchError
from meid_bench.paths import write_text
from meid_bench.split import SplitResult, Targets, make_split


def official_file(folder: Path, spec: Spec, role: str) -> Path:
    """Where a member of the annotation archive lies under a folder it was unpacked to."""
    member = Path(spec.sources.annotations.members[role].path)
    for path in (folder / member, folder / member.name):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds no {member.name}; unpack the official annotations there")


def run_recipe(folder: Path, spec: Spec) -> SplitResult:
    """Run the recipe of one specification on the official files."""
    classes = len(read_classes(official_file(folder, spec, "classes")))
    pools = [
        read_annotations(official_file(folder, spec, role), classes) for role in ("train", "test")
    ]
    assert spec.recipe is not None
    return make_split(*pools, classes, Targets.from_dict(spec.recipe))


def with_lists() -> list[str]:
    """Packaged specifications whose lists the recipe makes."""
    specs = {name: load_spec(find_spec(name)) for name in packaged_specs()}
    return [name for name, spec in specs.items() if spec.recipe and spec.lists]


def same(folder: Path, spec: Spec, result: SplitResult) -> bool:
    """Compare the lists of a folder with a result, and print the first difference of each."""
    equal = True
    for split in SPLITS:
        path = folder / (spec.lists or {})[split]
        listed = path.read_text(encoding="utf-8").split() if path.is_file() else []
        made = list(getattr(result, split))
        if listed != made:
            first = next(iter(sorted(set(listed) ^ set(made))), "their order")
            click.echo(f"{path} differs from what the recipe gives; first: {first}")
            equal = False
    return equal


def make(folder: Path, name: str, check: bool) -> bool:
    """Make or check the lists of one specification; whether all is as it should be."""
    place = find_spec(name)
    spec = load_spec(place)
    if not (spec.recipe and spec.lists):
        raise DataError(f"{name} has no packaged lists; known: {', '.join(with_lists())}")
    result = run_recipe(folder, spec)
    for missed in result.missed:
        click.echo(f"{name}: {missed}")
    exact = not result.missed
    if check:
        exact &= same(place, spec, result)
    elif exact:
        for split in SPLITS:
            lines = "".join(f"{video}\n" for video in getattr(result, split))
            write_text(place / spec.lists[split], lines)
    sizes = " / ".join(str(len(getattr(result, split))) for split in SPLITS)
    outcome = ("as packaged" if check else f"written to {place}") if exact else "NOT as wanted"
    click.echo(f"{name}: {sizes} videos, tau {result.tau:.4f}, {outcome}")
    return exact


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", "names", multiple=True, help="Only this split; may be repeated.")
@click.option("--check", is_flag=True, help="Compare with the packaged lists; write nothing.")
def main(folder: Path, names: tuple[str, ...], check: bool) -> None:
    """Make the packaged lists from the official files in FOLDER, or check them."""
    try:
        done = [make(folder, name, check) for name in names or with_lists()]
    except MeidBenchError as error:
        raise click.ClickException(str(error)) from error
    if not all(done):
        sys.exit(1)


if __name__ == "__main__":
    main()
