"""Clips of frames: which frames they are, and videos whose clips need more than one pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meid_bench.features.decode_pool import DecodeTask
from meid_bench.features.encoder import Encoder
from meid_bench.features.extract import extract
from meid_bench.features.frames import ROOM, DecodedFrames, FrameRule, frame_indices
from meid_bench.features.manifest import Failure, Recipe
from meid_bench.features.passes import Passes
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.transform import Transform
from tests.extraction import CPU, SETTINGS, contents, run_small, small_benchmark, small_videos
from tests.made_videos import FRAMES, Odd, write_video

pytestmark = pytest.mark.usefixtures("small_shards")


def clips(rule: FrameRule, n: int) -> list[list[int]]:
    """The rule, said again: every clip of every pass."""
    rows = []
    for centre in frame_indices(n, rule.frames).tolist():
        places = [centre + (j - rule.length // 2) * rule.stride for j in range(rule.length)]
        rows.append([min(max(place, 0), n - 1) for place in places])
    return rows


def passes(rule: FrameRule, n: int) -> list[np.ndarray[Any, Any]]:
    parts: list[np.ndarray[Any, Any]] = []
    while (first := sum(map(len, parts))) < rule.frames:
        parts.append(replace(rule, first=first).clips(n))
        assert len(parts[-1])
    return parts


@pytest.mark.parametrize("n", [1, 3, 10, 700])
@pytest.mark.parametrize("length", [1, 2, 5, 16])
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize(("frames", "group", "room"), [(1, 1, 256), (16, 1, 20), (13, 4, 30)])
def test_every_pass_fits_and_together_they_are_the_clips(
    n: int, length: int, stride: int, frames: int, group: int, room: int
) -> None:
    rule = FrameRule(frames, length, stride, group, room=room)
    parts = passes(rule, n)
    assert np.concatenate(parts).tolist() == clips(rule, n)
    for part in parts:
        assert len(np.unique(part)) <= rule.pictures <= max(room, group * length)
        assert part is parts[-1] or not len(part) % group
    if n <= room:
        assert len(parts) == 1


def test_a_pass_takes_all_the_rows_that_fit() -> None:
    # Clips of 4 overlap by half. The first is clamped: 3 + 2 + 2 + 2 frames, and then 4 + 2 + 2.
    rule = FrameRule(10, 4, 1, room=9)
    assert [len(part) for part in passes(rule, 20)] == [4, 3, 3]


def test_todays_images_are_decoded_in_one_pass() -> None:
    assert FrameRule(200).pictures == 200
    assert len(FrameRule(200).clips(10_000)) == 200
    # What a video takes of memory does not grow with T.
    assert FrameRule(64, 16).pictures == FrameRule(6400, 16).pictures == ROOM


def test_todays_feature_ids_stay() -> None:
    recipe = Recipe("resnet101", "0" * 64, str(Transform()), 200, 2048, "charades_v1_480")
    assert recipe.fingerprint == GOLDEN
    assert replace(recipe, pooling="mean").fingerprint != GOLDEN


GOLDEN = "9466d7264dedb536a2574e2343a472555c9a6acc35aa2b26104c20381775ecc6"


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that lets a pass have so many distinct pictures."""
    rule = Encoder.rule

    def make(room: int) -> None:
        monkeypatch.setattr(Encoder, "rule", lambda self, t: replace(rule(self, t), room=room))

    return make


def test_passes_do_not_change_a_store(
    tmp_path: Path, little_room: Callable[[int], None], zoo: dict[str, Odd]
) -> None:
    ids = small_videos(tmp_path, 4)
    for name, odd in zoo.items():
        if odd.damaged or name == "one.mp4":
            (tmp_path / "videos" / name).symlink_to(odd.path)
            ids.append(name)
    benchmark = small_benchmark(tmp_path, ids)
    once = run_small(benchmark, tmp_path, frames=9)
    assert once.damaged
    before = contents(once.folder)
    once.folder.rename(tmp_path / "once")
    little_room(2)
    again = run_small(benchmark, tmp_path, frames=9)
    assert contents(again.folder) == before
    assert (again.failed, again.damaged) == (once.failed, once.damaged)


def test_tsm_in_passes_of_whole_segments(
    tmp_path: Path, little_room: Callable[[int], None]
) -> None:
    write_video(tmp_path / "videos" / "v.mp4", FRAMES, (32, 32))
    benchmark = small_benchmark(tmp_path, ["v"])
    settings = replace(SETTINGS, encoder="tsm_resnet50", weights="random:0", batch=8, frames=18)
    stores = []
    for room in (256, 8):
        little_room(room)
        account = extract(benchmark, tmp_path, settings, CPU, say=lambda line: None)
        assert account is not None
        stores.append(contents(account.folder))
        account.folder.rename(tmp_path / str(room))
    assert stores[0] == stores[1]
    assert stores[0]


def decoded(rule: FrameRule, n: int, damaged: int = 0) -> DecodedFrames:
    rows = rule.clips(n)
    return DecodedFrames(rows, rows[:, 0] * 1.0, n, damaged)


def features(task: DecodeTask, rows: DecodedFrames) -> VideoFeatures:
    count = len(rows.index)
    return VideoFeatures(
        id=task.id,
        features=np.arange(task.first, task.first + count, dtype=np.float16)[:, None],
        frame_index=rows.index.astype(np.int32),
        frame_time=rows.time.astype(np.float32),
        num_frames=rows.num_frames,
    )


def test_rows_come_in_order_whatever_the_threads_do() -> None:
    done: list[Any] = []
    order = Passes(6, "pyav", done.append)
    rule, task = FrameRule(6, room=2), DecodeTask("v", Path("v"))
    waiting = []
    following: DecodeTask | None = task
    while following is not None:
        task = following
        part = decoded(replace(rule, first=task.first), 60)
        wanted, following = order.take(task, part)
        assert wanted
        waiting.append((task, features(task, part)))
    for item in reversed(waiting):
        assert not done
        order.put(*item)
    (video,) = done
    assert video.features[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert video.frame_index.tolist() == frame_indices(60, 6).tolist()


def test_a_failed_pass_is_the_videos_failure() -> None:
    done: list[Any] = []
    order = Passes(4, "pyav", done.append)
    first = DecodeTask("v", Path("v"))
    part = decoded(FrameRule(4, room=2), 40)
    wanted, second = order.take(first, part)
    assert wanted
    assert second == replace(first, first=2)
    order.fail(second, "it burnt")
    order.put(first, features(first, part))  # late
    assert done == [Failure("v", "it burnt", "pyav")]


def test_no_pass_follows_where_features_are_not_finite() -> None:
    done: list[Any] = []
    order = Passes(4, "pyav", done.append)
    first = DecodeTask("v", Path("v"))
    _, second = order.take(first, decoded(FrameRule(4, room=2), 40))
    assert second is not None
    order.put(first, Failure("v", "its features are not finite in float16", "encoder"))
    assert order.take(second, decoded(FrameRule(4, room=2, first=2), 40)) == (False, None)
    assert len(done) == 1


def test_passes_that_disagree_begin_again_frame_by_frame_and_then_fail() -> None:
    done: list[Any] = []
    order = Passes(4, "pyav", done.append)
    first = DecodeTask("v", Path("v"))
    early = decoded(FrameRule(4, room=2), 40)
    _, second = order.take(first, early)
    assert second is not None
    wanted, again = order.take(second, decoded(FrameRule(4, room=2, first=2), 39, damaged=1))
    assert not wanted
    assert again == replace(first, sequential=True)
    order.put(first, features(first, early))  # of the first try, and late
    _, second = order.take(again, decoded(FrameRule(4, room=2), 39, damaged=1))
    assert second == replace(first, sequential=True, first=2)
    assert order.take(second, decoded(FrameRule(4, room=2, first=2), 38)) == (False, None)
    assert done == [Failure("v", "decodes to 39 frames, and then to 38", "pyav")]
