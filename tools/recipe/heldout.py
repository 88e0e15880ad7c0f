"""Choosing val and test from one pool of videos so that they share no subject or script; pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.longtail import class_counts, multi_hot
from tools.recipe.swap import Ranges, choose
from tools.recipe.targets import SIDES

_ATTEMPTS = 40


def blocks_of(videos: Sequence[Annotation]) -> list[list[int]]:
    """Group videos that share a subject or a pair, directly or through others.

    Returns:
        Indices into `videos`, block by block in the order of each block's first video.
    """
    parent = list(range(len(videos)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[tuple[str, str], int] = {}
    for index, video in enumerate(videos):
        for key in ("subject", "pair"):
            value = getattr(video, key)
            if value is not None:
                one, other = root(first.setdefault((key, value), index)), root(index)
                parent[max(one, other)] = min(one, other)
    blocks: dict[int, list[int]] = {}
    for index in range(len(videos)):
        blocks.setdefault(root(index), []).append(index)
    return list(blocks.values())


@dataclass(frozen=True)
class _Pool:
    """The blocks of one pool as numbers; B blocks, S scripts that stand in several blocks."""

    members: list[list[int]]
    sizes: NDArray[np.int64]  # (B,)
    counts: NDArray[np.int64]  # (B, C)
    scripts: NDArray[np.int64]  # (B, S) videos of each such script
    names: list[str]

    def lost(self, on_val: NDArray[np.bool_], need: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
        """Which scripts (S,) val and test must each leave out, so that none stands on both."""
        per_side = np.stack([on_val, ~on_val]).astype(np.int64) @ self.scripts
        spare = self.room(on_val) - need
        lost = [np.zeros(len(self.names), dtype=np.bool_) for _ in SIDES]
        for script in np.flatnonzero((per_side > 0).all(axis=0)):
            side = int(np.argmax(spare - per_side[:, script]))
            lost[side][script] = True
            spare[side] -= per_side[side, script]
        return lost

    def room(self, on_val: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Videos on each side, (2,)."""
        return np.array([self.sizes[on_val].sum(), self.sizes[~on_val].sum()])

    def shortage(
        self, on_val: NDArray[np.bool_], need: NDArray[np.int64], least: NDArray[np.int64]
    ) -> int:
        """How many videos and positives a division of the blocks lacks; 0 where it will do."""
        room = self.room(on_val)
        for side, (blocks, lost) in enumerate(
            zip((on_val, ~on_val), self.lost(on_val, need), strict=True)
        ):
            room[side] -= int(self.scripts[blocks][:, lost].sum())
        short = np.maximum(need - room, 0).sum()
        of_val = self.counts[on_val].sum(axis=0)
        by_side = np.stack([of_val, self.counts.sum(axis=0) - of_val])
        return int(short + np.maximum(least[:, None] - by_side, 0).sum())


def hold_out(
    videos: Sequence[Annotation],
    num_classes: int,
    sizes: Mapping[str, int],
    min_positives: Mapping[str, int],
    order: Callable[[Sequence[Annotation], int], list[Annotation]],
) -> dict[str, list[Annotation]]:
    """Choose val and test from `videos`, with no subject, script or pair on both sides.

    Blocks of videos with a common subject or pair are dealt to the two sides in the order of
    their hash, moved and exchanged until both have room and positives enough, then videos are
    chosen inside each side. A script that stands on both is left out of the side with more to
    spare. The first of some attempts, each with another order, that reaches everything is
    taken, otherwise the one that lacks least.

    Args:
        videos: The pool; every video has labels.
        num_classes: C.
        sizes: Videos wanted of "val" and "test".
        min_positives: Fewest videos per class in "val" and "test".
        order: Sorts videos by hash; its second argument is the number of the attempt.
    """
    need = np.array([sizes[side] for side in SIDES])
    least = np.array([min_positives[side] for side in SIDES])
    best: dict[str, list[Annotation]] = {side: [] for side in SIDES}
    least_lacking: int | None = None
    # What the pool itself lacks, however it is divided: nothing is gained below that.
    totals = class_counts((video.labels for video in videos), num_classes)
    unavoidable = max(int(need.sum()) - len(videos), 0)
    unavoidable += int(np.maximum(least.sum() - totals, 0).sum())
    for attempt in range(_ATTEMPTS):
        ordered = order(videos, attempt)
        pool = _pool(ordered, num_classes)
        on_val = _divide(pool, need, least)
        sides, lacking = _pick(pool, ordered, num_classes, on_val, need, least)
        if least_lacking is None or lacking < least_lacking:
            best, least_lacking = sides, lacking
        if lacking <= unavoidable:
            break
    return best


def _pool(videos: Sequence[Annotation], num_classes: int) -> _Pool:
    members = blocks_of(videos)
    labels = multi_hot([video.labels for video in videos], num_classes).astype(np.int64)
    blocks_with: dict[str, dict[int, int]] = {}
    for block, indices in enumerate(members):
        for index in indices:
            if (script := videos[index].script) is not None:
                blocks = blocks_with.setdefault(script, {})
                blocks[block] = blocks.get(block, 0) + 1
    recurring = {name: blocks for name, blocks in blocks_with.items() if len(blocks) > 1}
    scripts = np.zeros((len(members), len(recurring)), dtype=np.int64)
    for column, blocks in enumerate(recurring.values()):
        for block, number in blocks.items():
            scripts[block, column] = number
    return _Pool(
        members=members,
        sizes=np.array([len(indices) for indices in members], dtype=np.int64),
        counts=np.array([labels[indices].sum(axis=0) for indices in members], dtype=np.int64),
        scripts=scripts,
        names=list(recurring),
    )


def _divide(pool: _Pool, need: NDArray[np.int64], least: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Deal the blocks to val (True) and test, each getting its share of the pool."""
    on_val = np.zeros(len(pool.sizes), dtype=np.bool_)
    share = int(pool.sizes.sum()) * int(need[0]) // max(int(need.sum()), 1)
    for block in range(len(on_val)):
        if pool.sizes[on_val].sum() + pool.sizes[block] // 2 < share:
            on_val[block] = True
    short = pool.shortage(on_val, need, least)
    while short > 0:
        for move in _moves(on_val):
            on_val[move] ^= True
            if (moved := pool.shortage(on_val, need, least)) < short:
                short = moved
                break
            on_val[move] ^= True
        else:
            break
    return on_val


def _moves(on_val: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Blocks that change sides: first each one alone, then each exchange of two."""
    yield from ([block] for block in range(len(on_val)))
    on_test = np.flatnonzero(~on_val).tolist()
    yield from ([one, other] for one in np.flatnonzero(on_val).tolist() for other in on_test)


def _pick(
    pool: _Pool,
    videos: Sequence[Annotation],
    num_classes: int,
    on_val: NDArray[np.bool_],
    need: NDArray[np.int64],
    least: NDArray[np.int64],
) -> tuple[dict[str, list[Annotation]], int]:
    """Choose the videos inside both sides; also return how much they lack together."""
    sides: dict[str, list[Annotation]] = {}
    lacking = 0
    lost = pool.lost(on_val, need)
    for number, (side, blocks) in enumerate(zip(SIDES, (on_val, ~on_val), strict=True)):
        left_out = {pool.names[script] for script in np.flatnonzero(lost[number])}
        indices = sorted(i for block in np.flatnonzero(blocks) for i in pool.members[block])
        room = [videos[i] for i in indices if videos[i].script not in left_out]
        size = min(int(need[number]), len(room))
        labels = multi_hot([video.labels for video in room], num_classes)
        ranges = Ranges(
            low=np.full(num_classes, least[number]),
            high=np.full(num_classes, max(len(room), least[number])),
            labels_low=0,
            labels_high=labels.size,
        )
        chosen = choose(labels, size, ranges)
        sides[side] = [room[i] for i in np.flatnonzero(chosen)]
        lacking += int(need[number]) - size
        lacking += ranges.violation(labels[chosen].sum(axis=0, dtype=np.int64))
    return sides, lacking
