"""Demo: the whole path over a made-up release, as the very commands that a user would type."""

from pathlib import Path

from meid_bench.benchmark.miniature import NAME

RELEASE = "release"
WEIGHTS = "random:0"
SEEDS = "0,1"
# A short schedule, and a small aggregator, for 72 videos of 8 frames. The paper's would take
# hours on them; here both methods see every video 20 times.
AGGREGATOR = ("aggregator.clusters=16", "aggregator.hidden=128", "aggregator.expansion=1")
SETTINGS = {
    "plain": ("epochs=20", "milestones=16", "batch=12", *AGGREGATOR),
    "meid": ("epochs=10", "milestones=8", "lr2=1e-3", "batch=12", *AGGREGATOR),
}


def commands(root: Path, device: str = "cpu") -> list[list[str]]:
    """The arguments of `meid-bench`, command by command, from release to leaderboard.

    Args:
        root: The demo's folder, which is also its data root; its release is in `RELEASE`.
        device: Where to extract and to train.
    """
    release = str(root / RELEASE)
    where = ["--root", str(root)]
    on = ["--device", device]
    runs = [
        ["run", "--dataset", NAME, "--method", method, "--seeds", SEEDS]
        + [part for setting in settings for part in ("--set", setting)]
        for method, settings in SETTINGS.items()
    ]
    return [
        ["build", release, "--source", release, *where],
        ["extract", "--dataset", NAME, "--weights", WEIGHTS, *on, *where],
        *(run + on + where for run in runs),
        ["leaderboard", "--dataset", NAME, *where],
    ]
