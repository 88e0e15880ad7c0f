"""Level and power of the board's marks, on made-up rows of which the truth is known.

    python tools/simulate_marks.py [--rows 2,5,9,30] [--trials 400] [--subjects 36] [--seeds 3]

A board is wrong where any of equal rows is told from the best: that may happen in 5 % of boards.
Power is the share of a better row's rivals that are told from it, where it is first at all.

A row's scores are its skill, what it makes of each subject and class, and noise, of which a part is
the video's own and the same for all rows; `--spread` is the standard deviation over seeds as a
multiple of that over test sets.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meid_bench.results.bootstrap import resample
from meid_bench.results.joint_intervals import Joint

RATES = np.geomspace(0.5, 0.06, 12)
GROUPS = {"head": np.arange(4), "medium": np.arange(4, 8), "tail": np.arange(8, 12)}
VIDEOS_OF_SUBJECT = 6
SKILL = 1.2
# How far one unit of `spread` moves the skill: found by trial, so that it does what is said above.
SEED_SKILL = 0.07


@dataclass(frozen=True)
class Setting:
    """What boards are made up: `gain` is the skill that the first row has more than others."""

    rows: int
    seeds: int = 3
    subjects: int = 36
    spread: float = 0.5
    gain: float = 0.0
    resamples: int = 400


def make_board(
    setting: Setting, rng: np.random.Generator
) -> tuple[dict[str, list[NDArray[np.float32]]], NDArray[np.uint8], NDArray[np.int64]]:
    """Scores of every row and seed, labels and the cluster of each video."""
    clusters = np.repeat(np.arange(setting.subjects), VIDEOS_OF_SUBJECT)
    labels = (rng.random((len(clusters), len(RATES))) < RATES).astype(np.uint8)
    labels[rng.choice(len(clusters), len(RATES), replace=False), np.arange(len(RATES))] = 1
    common = rng.normal(size=labels.shape)
    scores = {}
    for row in range(setting.rows):
        liked = 0.6 * rng.normal(size=(setting.subjects, len(RATES)))[clusters]
        own = rng.normal(size=labels.shape)
        scores[f"row {row}"] = []
        for _ in range(setting.seeds):
            skill = SKILL + (setting.gain if row == 0 else 0.0)
            skill += setting.spread * SEED_SKILL * rng.normal()
            noise = (2 * common + own) / np.sqrt(5)
            logits = labels * (skill + liked) + noise
            scores[f"row {row}"].append((1 / (1 + np.exp(-logits))).astype(np.float32))
    return scores, labels, clusters


def told(setting: Setting, rng: np.random.Generator) -> tuple[str, int]:
    """The best row of one board, and how many of the others are told from it."""
    scores, labels, clusters = make_board(setting, rng)
    resampled = resample(scores, labels, clusters, GROUPS, setting.resamples)
    joint = Joint(resampled, "overall")
    best = max(scores, key=lambda name: float(resampled.runs[name][:, 0].mean()))
    found = [joint.interval(best, name) for name in scores if name != best]
    return best, sum(1 for interval in found if interval is not None and interval.low > 0)


def level(setting: Setting, trials: int, seed: int = 0) -> float:
    """Share of boards of equal rows on which one is told from the best."""
    rng = np.random.default_rng(seed)
    return float(np.mean([told(setting, rng)[1] > 0 for _ in range(trials)]))


def power(setting: Setting, trials: int, seed: int = 0) -> float:
    """Share of its rivals that are told from the better row; none where another is first."""
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(trials):
        best, number = told(setting, rng)
        shares.append(number / (setting.rows - 1) if best == "row 0" else 0.0)
    return float(np.mean(shares))


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="2,5,9,30")
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--subjects", type=int, default=36)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spread", type=float, default=0.5)
    parser.add_argument("--gain", type=float, default=0.3)
    arguments = parser.parse_args()
    print(f"{arguments.subjects} subjects, {arguments.seeds} seeds, spread {arguments.spread:g}")
    print("rows  level   power at gain", arguments.gain)
    for rows in map(int, arguments.rows.split(",")):
        equal = Setting(rows, arguments.seeds, arguments.subjects, arguments.spread)
        better = Setting(
            rows, arguments.seeds, arguments.subjects, arguments.spread, arguments.gain
        )
        found = level(equal, arguments.trials), power(better, arguments.trials, seed=1)
        print(f"{rows:4}  {found[0]:.3f}   {found[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
