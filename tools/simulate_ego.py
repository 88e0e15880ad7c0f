"""A made-up Charades-Ego release: annotation files of the official shape and size, no videos.

    python tools/simulate_ego.py DIR
    meid-bench build charadesegolt --source DIR --videos none

7,860 videos, 3,935 of them first-person, 157 long-tailed classes, 112 subjects of very different
activity, scripts that recur between subjects, rows without actions, views without their pair:
what the recipe of CharadesEgoLT has to cope with. Every value is drawn from a seed.
"""

import csv
import random
from itertools import accumulate, pairwise
from pathlib import Path

import click

NUM_CLASSES = 157
PAIRS = 3918
ALONE = {"Yes": 17, "No": 7}  # views without their pair: 3,935 first and 3,925 third person
SUBJECTS = 112
TEST_SUBJECTS = 24
TEST_PAIRS = 860
LABELS = 8  # a scene's classes, on average
COLUMNS = (
    *("id", "subject", "scene", "quality", "relevance", "verified", "script", "objects"),
    *("descriptions", "actions", "length", "egocentric", "charades_video"),
)
# How frequent a class of Charades is, by its rank; straight lines between these on a log scale.
PROFILE = {0: 1417, 39: 400, 122: 100, 156: 25}


def class_weights() -> list[float]:
    """How frequent each class is; the frequent ones stand anywhere among the indices."""
    ranks = sorted(PROFILE)
    weights = [float(PROFILE[0])]
    for start, end in pairwise(ranks):
        step = (PROFILE[end] / PROFILE[start]) ** (1 / (end - start))
        weights += [PROFILE[start] * step**rank for rank in range(1, end - start + 1)]
    random.Random("classes").shuffle(weights)
    return weights


def draw_labels(stream: random.Random, cumulative: list[float]) -> list[int]:
    """The classes of one scene: a few to about twenty, each once."""
    wanted = max(1, round(stream.gammavariate(4, LABELS / 4)))
    labels: list[int] = []
    while len(labels) < min(wanted, 24):
        (label,) = stream.choices(range(NUM_CLASSES), cum_weights=cumulative)
        if label not in labels:
            labels.append(label)
    return labels


def row(
    stream: random.Random, name: str, subject: str, script: str, labels: list[int], view: str
) -> dict[str, str]:
    """One line of the csv: the view sees most of the scene's classes, now and then none."""
    length = stream.uniform(10, 50)
    seen = [] if stream.random() < 0.02 else [c for c in labels if stream.random() < 0.95]
    actions = []
    for label in seen:
        start = stream.uniform(0, length * 0.8)
        actions.append(f"c{label:03d} {start:.2f} {start + stream.uniform(1, 12):.2f}")
    return dict.fromkeys(COLUMNS, "made up") | {
        "id": name,
        "subject": subject,
        "script": script,
        "actions": ";".join(actions),
        "length": f"{length:.2f}",
        "egocentric": view,
    }


def make_release(seed: str = "0") -> dict[str, list[dict[str, str]]]:
    """Rows of the train and of the test file; subjects are in one of them only."""
    stream = random.Random(f"charadesego {seed}")
    cumulative = list(accumulate(class_weights()))
    scenes: list[tuple[str, ...]] = [("No", "Yes")] * PAIRS
    scenes += [(view,) for view, number in ALONE.items() for _ in range(number)]
    subjects = [f"S{number:03d}" for number in range(SUBJECTS)]
    activity = [stream.paretovariate(0.9) for _ in subjects]
    sides = {"test": subjects[:TEST_SUBJECTS], "train": subjects[TEST_SUBJECTS:]}
    weights = dict(zip(subjects, activity, strict=True))
    release: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    scripts: list[str] = []
    for number, views in enumerate(scenes):
        side = "test" if number < TEST_PAIRS else "train"
        members = sides[side]
        (subject,) = stream.choices(members, [min(weights[name], 12) for name in members])
        if scripts and stream.random() < 0.03:
            script = stream.choice(scripts)
        else:
            script = f"Scene {number}: somebody does what was written, then stops."
            scripts.append(script)
        labels = draw_labels(stream, cumulative)
        name = f"{number:05X}"
        for view in views:
            video = name + "EGO" * (view == "Yes")
            release[side].append(row(stream, video, subject, script, labels, view))
    return release


def write_release(folder: Path, seed: str = "0") -> None:
    """Write the two annotation files and the class list into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in make_release(seed).items():
        path = folder / f"CharadesEgo_v1_{split}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    classes = "".join(f"c{label:03d} Doing thing {label}\n" for label in range(NUM_CLASSES))
    (folder / "Charades_v1_classes.txt").write_text(classes, encoding="utf-8")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default="0", show_default=True, help="Another one gives another release.")
def main(folder: Path, seed: str) -> None:
    """Write a made-up Charades-Ego release, annotations only, into FOLDER."""
    write_release(folder, seed)
    click.echo(f"Wrote {folder}")


if __name__ == "__main__":
    main()
