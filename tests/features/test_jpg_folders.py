"""Folders of jpgs, one a frame, are read as video files are, and their faults are named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from meid_bench.benchmark.official_videos import record_videos
from meid_bench.benchmark.video_folder import find_videos
from meid_bench.errors import DataError, SettingError
from meid_bench.features.decoders import JPG_DECODER, decode_video
from meid_bench.features.encoder import load_encoder
from meid_bench.features.frames import DecodedFrames, FrameRule, frame_indices
from meid_bench.features.manifest import load_manifest
from meid_bench.features.store import FeatureStore
from meid_bench.features.verify import verify_store
from tests.extraction import (
    ENCODER,
    FRAMES,
    contents,
    run_small,
    small_benchmark,
    small_weights,
)
from tests.made_videos import write_jpgs, write_video

pytestmark = pytest.mark.usefixtures("small_shards")
RGB = "Made_rgb"


def decode(folder: Path, wanted: int = FRAMES) -> tuple[DecodedFrames, dict[int, Any]]:
    kept: dict[int, Any] = {}
    return decode_video(folder, FrameRule(wanted), kept.__setitem__, decoder=JPG_DECODER), kept


def frame(folder: Path, number: int) -> Path:
    return folder / f"{folder.name}-{number:06d}.jpg"


def small_folders(root: Path, count: int) -> list[str]:
    """`count` folders of jpgs under `root`/Made_rgb; their ids."""
    ids = [f"v{number:02d}" for number in range(count)]
    for number, name in enumerate(ids):
        write_jpgs(root / RGB / name, 6 + number % 3, (32, 32))
    return ids


@pytest.mark.parametrize(("n", "wanted"), [(1, 4), (3, 8), (24, 4), (25, 24)])
def test_frames_are_those_that_another_program_reads(tmp_path: Path, n: int, wanted: int) -> None:
    folder = write_jpgs(tmp_path / "P7R2X", n)
    decoded, kept = decode(folder, wanted)
    assert decoded.index.tolist() == frame_indices(n, wanted).tolist()
    assert decoded.time.tolist() == [index / 24 for index in decoded.index]
    assert (decoded.num_frames, decoded.num_damaged) == (n, 0)
    assert len(kept) == len(decoded.distinct)
    for number, index in enumerate(decoded.distinct):
        theirs = decode_image(str(frame(folder, int(index) + 1)), ImageReadMode.RGB)
        assert np.array_equal(kept[number], theirs.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_become_rgb(tmp_path: Path, mode: str) -> None:
    folder = write_jpgs(tmp_path / "v", 2)
    Image.open(frame(folder, 2)).convert(mode).save(frame(folder, 2))
    _, kept = decode(folder)
    assert kept[1].shape == kept[0].shape == (48, 64, 3)
    assert np.abs(kept[1].astype(float).mean() - kept[0].mean()) < 40


def test_exif_does_not_turn_a_frame(tmp_path: Path) -> None:
    folder = write_jpgs(tmp_path / "v", 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.open(frame(folder, 1)).save(frame(folder, 1), exif=exif)
    assert decode(folder)[1][0].shape == (48, 64, 3)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def to_text(path: Path) -> None:
    path.write_text("no jpg\n" * 50)


def to_png(path: Path) -> None:
    Image.new("RGB", (64, 48)).save(path, "PNG")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


# What is done to a folder of eight jpgs, all wanted, and the reason why it fails.
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "gap": (lambda v: frame(v, 3).unlink(), "v-000003.jpg is missing"),
    "gaps": (
        lambda v: [frame(v, n).unlink() for n in (1, 2, 5)],
        "v-000001.jpg and 2 more of 8 are missing",
    ),
    "from 0": (
        lambda v: shutil.copy(frame(v, 1), frame(v, 0)),
        "its jpgs are numbered from 0 (v-000000.jpg), those of the official release from 1",
    ),
    "no jpg": (
        lambda v: [frame(v, n).unlink() for n in range(1, 9)],
        "its folder holds no v-000001.jpg and on",
    ),
    "another's": (
        lambda v: frame(v, 3).rename(v / "w-000003.jpg"),
        "w-000003.jpg is no frame of it; expected v-000001.jpg and on",
    ),
    "another name": (
        lambda v: frame(v, 3).rename(v / "v-3.jpg"),
        "v-3.jpg is no frame of it; expected v-000001.jpg and on",
    ),
    "twice": (
        lambda v: shutil.copy(frame(v, 3), v / "v-000003.JPG"),
        "v-000003.JPG and v-000003.jpg are the same frame",
    ),
    "two sizes": (
        lambda v: Image.new("RGB", (32, 24)).save(frame(v, 5)),
        "its jpgs have two sizes: v-000001.jpg is 64 x 48 pixels, v-000005.jpg 32 x 24",
    ),
    "empty": (lambda v: empty(frame(v, 5)), "v-000005.jpg is empty"),
    "text": (lambda v: to_text(frame(v, 5)), "v-000005.jpg is no jpg"),
    "png": (lambda v: to_png(frame(v, 5)), "v-000005.jpg is no jpg"),
    "cut": (lambda v: cut(frame(v, 5)), "v-000005.jpg cannot be decoded: image file is truncated"),
    "link": (lambda v: dangle(frame(v, 5)), "v-000005.jpg cannot be read: No such file"),
    "folder": (shutil.rmtree, "v is no folder of jpgs"),
    "file": (lambda v: (shutil.rmtree(v), v.touch()), "v is no folder of jpgs"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_folder_that_is_no_whole_video_says_why(tmp_path: Path, name: str) -> None:
    spoil, reason = FAULTS[name]
    folder = write_jpgs(tmp_path / "v", 8)
    assert decode(folder, 8)[0].num_frames == 8
    spoil(folder)
    with pytest.raises(DataError) as failed:
        decode(folder, 8)
    assert str(failed.value).startswith(reason)


def test_of_jpgs_that_are_not_wanted_an_empty_one_counts_and_a_broken_one_is_not_seen(
    tmp_path: Path,
) -> None:
    folder = write_jpgs(tmp_path / "v", 8)
    whole, frames = decode(folder, 2)
    assert whole.index.tolist() == [2, 6]
    empty(frame(folder, 1))
    to_text(frame(folder, 2))
    decoded, same = decode(folder, 2)
    assert (decoded.num_frames, decoded.num_damaged) == (8, 1)
    assert decoded.index.tolist() == [2, 6]
    assert all(np.array_equal(same[number], frames[number]) for number in frames)


def test_other_files_and_upper_case_are_no_matter(tmp_path: Path) -> None:
    folder = write_jpgs(tmp_path / "v.1", 3)
    frame(folder, 2).rename(folder / "v.1-000002.JPG")
    for name in ("Thumbs.db", "._v.1-000001.jpg", "list.txt"):
        (folder / name).touch()
    assert decode(folder)[0].num_frames == 3


def test_a_video_file_is_no_folder_and_a_folder_no_video_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v\.mp4 is no folder of jpgs"):
        decode(write_video(tmp_path / "v.mp4", 2))
    with pytest.raises(DataError, match="v is a folder, not a video file"):
        decode_video(write_jpgs(tmp_path / "v", 2), FrameRule(2), lambda number, pixels: None)


def test_folders_of_jpgs_are_found_by_id(tmp_path: Path) -> None:
    wanted = ["b", "a.mp4", "c", "empty", "gone", "file"]
    for name in ("b", "a.mp4", "c", "unlisted"):
        write_jpgs(tmp_path / name, 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    write_video(tmp_path / "unlisted.mp4", 1)
    found = find_videos(tmp_path, wanted)
    assert found == {name: tmp_path / name for name in wanted[:4]}
    assert list(found) == wanted[:4]


def test_both_kinds_are_refused_and_folders_of_something_else_are_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", 1)
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").touch()
    assert find_videos(tmp_path, ["a", "b"])["b"] == tmp_path / "b.mp4"
    write_jpgs(tmp_path / "b", 1)
    mixed = r"both as files, such as a\.mp4, and as folders of jpgs, such as b; put one"
    with pytest.raises(DataError, match=mixed):
        find_videos(tmp_path, ["a", "b"])
    assert find_videos(tmp_path, ["a"]) == {"a": tmp_path / "a.mp4"}


def test_folders_are_not_walked_to_be_found(tmp_path: Path, monkeypatch: Any) -> None:
    ids = [f"v{number:03d}" for number in range(200)]
    for name in ids:
        (tmp_path / name).mkdir()
        frame(tmp_path / name, 1).touch()
    seen = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(path) or scandir(path))
    assert len(find_videos(tmp_path, ids[::3])) == 67
    assert seen == [tmp_path, tmp_path / "v000"]


def test_features_are_those_of_the_frames(tmp_path: Path) -> None:
    ids = small_folders(tmp_path, 5)
    benchmark = small_benchmark(tmp_path, ids)
    account = run_small(benchmark, tmp_path, video_dir=tmp_path / RGB)
    assert (account.stored, account.failed, account.damaged) == (5, {}, {})
    assert verify_store(benchmark, account.folder) == []
    manifest = load_manifest(account.folder)
    assert manifest.recipe.source == "rgb frames"
    assert (manifest.provenance["decoder"], manifest.provenance["videos"]) == ("pillow", RGB)
    assert manifest.provenance["decoder_version"].startswith("pillow ")
    store = FeatureStore(account.folder)
    encoder = load_encoder(ENCODER, small_weights(tmp_path), batch=4)
    for number, name in enumerate(ids):
        index = frame_indices(6 + number % 3, FRAMES)
        paths = [frame(tmp_path / RGB / name, int(i) + 1) for i in index]
        shown = [np.array(Image.open(path)) for path in paths]
        pictures = torch.stack([encoder.transform.picture(pixels) for pixels in shown])
        assert np.array_equal(store.read([name])[0], encoder.encode(pictures))
        assert np.array_equal(store.frame_index(name), index)
        assert np.allclose(store.times(name), index / 24)


def test_the_account_names_what_failed_and_a_second_run_does_the_rest(tmp_path: Path) -> None:
    ids = small_folders(tmp_path, 10)
    benchmark = small_benchmark(tmp_path, [*ids, "gone"])
    rgb = tmp_path / RGB
    whole = tmp_path / "whole"
    shutil.copytree(rgb, whole)
    frame(rgb / "v01", 2).unlink()
    cut(frame(rgb / "v04", 3))
    empty(frame(rgb / "v05", 1))  # Not among the four of eight.
    (rgb / "v07").rename(rgb / "elsewhere")
    first = run_small(benchmark, tmp_path, video_dir=rgb)
    assert {name: failure.error.partition(":")[0] for name, failure in first.failed.items()} == {
        "gone": f"there is no folder gone in {rgb}",
        "v01": "v01-000002.jpg is missing",
        "v04": "v04-000003.jpg cannot be decoded",
        "v07": f"there is no folder v07 in {rgb}",
    }
    assert {failure.decoder for failure in first.failed.values()} == {"pillow"}
    assert (first.stored, first.damaged) == (7, {"v05": 1})
    before = contents(first.folder)
    shutil.rmtree(rgb)
    whole.rename(rgb)
    second = run_small(benchmark, tmp_path, video_dir=rgb, workers=1)
    assert second.folder == first.folder
    assert list(second.failed) == ["gone"]
    after = contents(second.folder)
    assert {name: after[name] for name in before} == before


def test_video_files_and_jpgs_never_share_a_store(tmp_path: Path) -> None:
    ids = small_folders(tmp_path, 3)
    benchmark = small_benchmark(tmp_path, ids)
    rgb = tmp_path / RGB
    ours = run_small(benchmark, tmp_path, video_dir=rgb)
    before = contents(ours.folder)
    rgb.rename(tmp_path / "jpgs")
    for name in ids:
        write_video(rgb / f"{name}.mp4", 6, (32, 32))
    assert run_small(benchmark, tmp_path, video_dir=rgb).folder != ours.folder
    assert contents(ours.folder) == before
    (rgb / "v02.mp4").unlink()
    (tmp_path / "jpgs" / "v02").rename(rgb / "v02")
    stores = sorted(ours.folder.parent.iterdir())
    with pytest.raises(DataError, match=r"both as files, such as v00\.mp4"):
        run_small(benchmark, tmp_path, video_dir=rgb)
    with pytest.raises(DataError, match="both as files"):
        record_videos(rgb, "made", ids, tmp_path)
    shutil.rmtree(rgb)
    rgb.mkdir()
    with pytest.raises(DataError, match="holds none of the 3 listed videos"):
        run_small(benchmark, tmp_path, video_dir=rgb)
    assert sorted(ours.folder.parent.iterdir()) == stores


def test_decoders_of_video_files_refuse_jpgs(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_folders(tmp_path, 1))
    with pytest.raises(SettingError, match="--decoder pyav cannot read the folders of jpgs"):
        run_small(benchmark, tmp_path, video_dir=tmp_path / RGB, decoder="pyav")
    assert not (tmp_path / "features").exists()


def test_what_build_found_in_place_is_extracted(tmp_path: Path) -> None:
    ids = small_folders(tmp_path, 2)
    benchmark = small_benchmark(tmp_path, ids)
    found = record_videos(tmp_path / RGB, "made", [*ids, "gone"], tmp_path)
    assert (found.folder, found.found, found.missing) == (RGB, 2, ("gone",))
    (tmp_path / RGB).rename(tmp_path / "videos")  # Where the small benchmark has its videos.
    account = run_small(benchmark, tmp_path)
    assert account.stored == 2
    assert load_manifest(account.folder).recipe.source == "rgb frames"
