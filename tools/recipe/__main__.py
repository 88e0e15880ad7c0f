"""Make, or with --check compare, the subject-disjoint lists from the official csv files.

    python -m tools.recipe charadeslt-sd DIR            # writes splits/<name>/{train,val,test}.txt
    python -m tools.recipe charadeslt-sd DIR --check    # exit 1 where a list is another one

DIR holds the official annotation files, unpacked (Charades_v1_train.csv and so on). What the
lists are to reach stands in <name>.json beside this file. Lists hold video ids only, one a line,
sorted; labels stay in the official files.
"""

import json
import sys
from pathlib import Path

import click

from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.charades import read_annotations, read_classes
from meid_bench.benchmark.spec import Spec, find_spec, load_spec
from meid_bench.errors import DataError, MeidBenchError, unknown
from meid_bench.files import write_text
from tools.recipe.split import SplitResult, make_split
from tools.recipe.targets import Targets

HERE = Path(__file__).parent


def load_targets(name: str) -> Targets:
    """What the lists of one benchmark are to reach.

    Raises:
        MeidBenchError: There are no such targets, or they contradict themselves.
    """
    known = {path.stem: path for path in HERE.glob("*.json")}
    if name not in known:
        raise unknown("subject-disjoint benchmark", name, known)
    return Targets.from_dict(json.loads(known[name].read_text(encoding="utf-8")))


def run_recipe(folder: Path, spec: Spec, targets: Targets) -> SplitResult:
    """Run the recipe on the official files in `folder`."""
    classes = len(read_classes(_official_file(folder, spec, "classes")))
    pools = [
        read_annotations(_official_file(folder, spec, role), classes) for role in ("train", "test")
    ]
    return make_split(*pools, classes, targets)


def _official_file(folder: Path, spec: Spec, role: str) -> Path:
    member = Path(spec.sources.annotations.members[role])
    for path in (folder / member, folder / member.name):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds no {member.name}; unpack the official annotations there")


def differing(folder: Path, result: SplitResult) -> list[str]:
    """A sentence for each list of a folder that is not what the recipe gave."""
    sentences = []
    for split in SPLITS:
        path = folder / f"{split}.txt"
        listed = path.read_text(encoding="utf-8").split() if path.is_file() else []
        made = list(getattr(result, split))
        if listed != made:
            first = next(iter(sorted(set(listed) ^ set(made))), "their order")
            sentences.append(f"{path} differs from what the recipe gives; first: {first}")
    return sentences


def make(name: str, official: Path, folder: Path, check: bool) -> bool:
    """Make or check the lists of one benchmark in `folder`; whether all is as it should be."""
    result = run_recipe(official, load_spec(find_spec(name)), load_targets(name))
    wrong = [f"{name}: {missed}" for missed in result.missed]
    if check:
        wrong += differing(folder, result)
    elif not wrong:
        for split in SPLITS:
            lines = "".join(f"{video}\n" for video in getattr(result, split))
            write_text(folder / f"{split}.txt", lines)
    sizes = " / ".join(str(len(getattr(result, split))) for split in SPLITS)
    outcome = "NOT as wanted" if wrong else "as packaged" if check else f"written to {folder}"
    for sentence in [*wrong, f"{name}: {sizes} videos, tau {result.tau:.4f}, {outcome}"]:
        click.echo(sentence)
    return not wrong


@click.command()
@click.argument("name")
@click.argument("official", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Compare with the packaged lists; write nothing.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Of the lists; splits/NAME if left out."
)
def main(name: str, official: Path, check: bool, folder: Path | None) -> None:
    """Make the lists of NAME from the official files in OFFICIAL, or check them."""
    try:
        load_targets(name)
        done = make(name, official, folder or find_spec(name), check)
    except MeidBenchError as error:
        raise click.ClickException(str(error)) from error
    if not done:
        sys.exit(1)


if __name__ == "__main__":
    main()
