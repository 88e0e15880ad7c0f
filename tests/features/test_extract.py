"""Extraction end to end: a complete and truthful account, whatever the videos and the disk do."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock

from meid_bench.cli.main import cli
from meid_bench.errors import DataError, MeidBenchError, SettingError
from meid_bench.features.account import UnfinishedError
from meid_bench.features.decode_pool import DecodePool
from meid_bench.features.decoders import decode_video
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.extract import extract
from meid_bench.features.frames import DecodedFrames, FrameRule
from meid_bench.features.manifest import MANIFEST, load_manifest
from meid_bench.features.store import FeatureStore, find_store
from tests.extraction import (
    CPU,
    ENCODER,
    FRAMES,
    NAME,
    SETTINGS,
    contents,
    run_small,
    small_benchmark,
    small_videos,
    small_weights,
)
from tests.made_videos import Odd, write_video

pytestmark = pytest.mark.usefixtures("small_shards")
REAL = Path(__file__).parents[3] / "shared" / "data" / "videos"
REPOSITORY = Path(__file__).parents[2]


def link(root: Path, odds: dict[str, Odd]) -> list[str]:
    (root / "videos").mkdir()
    for name, odd in odds.items():
        (root / "videos" / name).symlink_to(odd.path)
    return sorted(odds)


def command(*arguments: str, root: Path) -> Any:
    return CliRunner().invoke(cli, [*arguments, "--dataset", NAME, "--root", str(root)])


def test_the_zoo_has_one_account(tmp_path: Path, zoo: dict[str, Odd]) -> None:
    odds = {name: odd for name, odd in zoo.items() if name != "many.mp4"}
    benchmark = small_benchmark(tmp_path, [*link(tmp_path, odds), "gone"])
    account = run_small(benchmark, tmp_path)
    assert account.listed == len(odds) + 1
    assert account.stored + len(account.failed) == account.listed
    assert not account.untried
    for name, odd in odds.items():
        if odd.frames is None:
            assert odd.reason in account.failed[name].error, name
        else:
            assert name not in account.failed, name
        assert (name in account.damaged) == odd.damaged, name
    assert account.failed["gone"].error == f"there is no file gone.* in {tmp_path / 'videos'}"
    store = FeatureStore(account.folder)
    for name in store.ids:
        assert store.num_frames(name) == odds[name].frames
        assert np.isfinite(store.read([name])).all()


def pictures(path: Path, frames: int, encoder: Encoder) -> tuple[DecodedFrames, torch.Tensor]:
    """The pictures of all T frames of a video, repeated ones too."""
    kept: dict[int, torch.Tensor] = {}

    def keep(number: int, frame: Any) -> None:
        kept[number] = encoder.transform.picture(frame)

    decoded = decode_video(path, FrameRule(frames), keep)
    return decoded, torch.stack([kept[row] for row in decoded.numbers[:, 0]])


def test_features_are_those_of_one_picture_after_the_other(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 5)
    benchmark = small_benchmark(tmp_path, ids)
    account = run_small(benchmark, tmp_path)
    encoder = load_encoder(ENCODER, small_weights(tmp_path), batch=4)
    store = FeatureStore(account.folder)
    for name in ids:
        decoded, shown = pictures(tmp_path / "videos" / f"{name}.mp4", FRAMES, encoder)
        assert np.array_equal(store.read([name])[0], encoder.encode(shown))
        assert np.array_equal(store.frame_index(name), decoded.index)
        assert np.allclose(store.times(name), decoded.time)


def test_a_second_run_does_only_what_is_missing(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 7)
    benchmark = small_benchmark(tmp_path, ids)
    videos = tmp_path / "videos"
    (videos / "v01.mp4").rename(tmp_path / "later.mp4")
    (videos / "v05.mp4").write_bytes(b"")
    first = run_small(benchmark, tmp_path)
    assert sorted(first.failed) == ["v01", "v05"]
    before = contents(first.folder)
    written = {path: path.stat().st_mtime_ns for path in first.folder.glob("part-*.h5")}

    same = run_small(benchmark, tmp_path)
    assert same == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.glob("part-*.h5")} == written

    (tmp_path / "later.mp4").rename(videos / "v01.mp4")
    second = run_small(benchmark, tmp_path)
    assert sorted(second.failed) == ["v05"]
    after = contents(second.folder)
    assert sorted(after) == [name for name in ids if name != "v05"]
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 2}, "was begun with batch 4, this run has 2"),
        ({"precision": "float32", "compiled": True}, "begun with precision"),
        ({"decoder": "decord"}, "was begun with decoder 'pyav', this run has 'decord'"),
    ],
)
def test_what_the_user_chose_does_not_change_within_a_store(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meid_bench.features.extract.decoder_version", lambda _: "1")
    monkeypatch.setattr("meid_bench.features.encoder.require_compiler", lambda _: None)
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 2))
    folder = run_small(benchmark, tmp_path).folder
    before = (folder / MANIFEST).read_text()
    with pytest.raises(SettingError, match=f"{message}.*rename that folder to begin another"):
        run_small(benchmark, tmp_path, **change)
    assert (folder / MANIFEST).read_text() == before
    folder.rename(folder.with_name("another"))
    assert find_store(tmp_path, benchmark).name == "another"


def test_another_version_of_a_decoder_goes_on_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = small_videos(tmp_path, 2)
    benchmark = small_benchmark(tmp_path, [*ids, "later"])

    def version(number: str) -> str:
        monkeypatch.setattr("meid_bench.features.extract.decoder_version", lambda _: number)
        return str(
            load_manifest(run_small(benchmark, tmp_path).folder).provenance["decoder_version"]
        )

    assert version("1") == "1"
    assert version("2") == "1 + 2"
    assert version("1") == "1 + 2"
    shutil.copy(tmp_path / "videos" / f"{ids[0]}.mp4", tmp_path / "videos" / "later.mp4")
    assert version("2") == "1 + 2"
    assert version("3") == "1 + 2"  # nothing was left to do


def test_another_folder_is_the_same_recipe_where_the_user_says_which_videos(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 2))
    for name in ("here", "there"):
        shutil.copytree(tmp_path / "videos", tmp_path / f"{name}_files")
    named = [
        run_small(benchmark, tmp_path, video_dir=tmp_path / f"{name}_files", videos="480p").folder
        for name in ("here", "there")
    ]
    assert named[0] == named[1]
    run_small(benchmark, tmp_path, video_dir=tmp_path / "here_files")
    with pytest.raises(SettingError, match="begun with videos 'here_files', this run has 'there"):
        run_small(benchmark, tmp_path, video_dir=tmp_path / "there_files")


def test_other_labels_of_the_same_videos_keep_the_features(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 3)
    account = run_small(small_benchmark(tmp_path, ids), tmp_path)
    before = contents(account.folder)
    other = small_benchmark(tmp_path, ids)
    splits = dict(zip(other.splits, reversed(other.splits.values()), strict=True))
    other = replace(other, splits=splits)
    again = run_small(other, tmp_path)
    assert again.folder == account.folder
    assert contents(again.folder) == before
    assert FeatureStore(again.folder).benchmark_fingerprint == other.fingerprint
    with pytest.raises(DataError, match="with other videos"):
        run_small(small_benchmark(tmp_path, [*ids, "v99"]), tmp_path)


def test_nothing_is_mixed_in_one_store(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 2))
    folders = {
        run_small(benchmark, tmp_path, **changes).folder
        for changes in (
            {},
            {"weights": "random:1"},
            {"frames": 2},
            {"encoder": "shufflenet_v2_x1_0", "weights": "random:1"},
            {"video_dir": tmp_path / "videos" / ".." / "videos" / "."},
        )
    }
    assert len(folders) == 5


def test_vanished_videos_are_nobodys_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = small_videos(tmp_path, 8)
    benchmark = small_benchmark(tmp_path, ids)
    release, seen = DecodePool.release, []

    def vanish(*arguments: Any) -> None:
        seen.append(arguments)
        if len(seen) == 4:
            (tmp_path / "videos").rename(tmp_path / "unmounted")
        release(*arguments)

    monkeypatch.setattr(DecodePool, "release", vanish)
    with pytest.raises(UnfinishedError, match="has gone or is empty now") as stopped:
        run_small(benchmark, tmp_path)
    account = stopped.value.account
    assert account.stored + len(account.untried) == len(ids)
    assert account.untried
    with pytest.raises(DataError, match="is not there"):
        run_small(benchmark, tmp_path)
    (tmp_path / "unmounted").rename(tmp_path / "videos")
    monkeypatch.undo()
    account = run_small(benchmark, tmp_path)
    assert account.stored == len(ids)
    assert not account.failed


def test_several_processes_on_one_machine(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 8)
    benchmark = small_benchmark(tmp_path, ids)
    alone = run_small(benchmark, tmp_path)
    shutil.move(alone.folder, tmp_path / "alone")
    settings = replace(SETTINGS, weights=small_weights(tmp_path))
    together = extract(benchmark, tmp_path, settings, CPU * 2, say=lambda line: None)
    assert together is not None
    assert together.stored == len(ids)
    assert contents(together.folder) == contents(tmp_path / "alone")


def extract_command(root: Path) -> list[str]:
    return [
        *("-m", "tests.small_shards_main", "extract", "--device", "cpu", "--dataset", NAME),
        *("--root", str(root), "--encoder", ENCODER, "--weights", small_weights(root)),
        *("--batch", "4"),
    ]


def test_ranks_share_the_work(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 14)
    alone = run_small(small_benchmark(tmp_path, ids), tmp_path)
    reference = contents(alone.folder)
    shutil.rmtree(alone.folder)
    ranks = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", *extract_command(tmp_path)),
        ],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ranks.returncode == 0, ranks.stderr
    assert ranks.stdout.count("stored    14 of 14 videos") == 1
    assert "extract 1/2: " in ranks.stderr
    assert "extract 2/2: " in ranks.stderr
    assert contents(alone.folder) == reference


def test_a_rank_that_dies_leaves_the_shards_of_the_others(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 14)
    benchmark = small_benchmark(tmp_path, ids)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "DIE_AT": "1:4"}
    ranks = [
        subprocess.Popen(
            [sys.executable, *extract_command(tmp_path)],
            cwd=REPOSITORY,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    prints, says = zip(*(rank.communicate(timeout=300) for rank in ranks), strict=True)
    assert ranks[1].returncode == -signal.SIGKILL
    assert ranks[0].returncode == 1
    assert "run the same command again to go on" in says[0]
    assert "Traceback" not in says[0]
    folder = next((tmp_path / "features" / NAME).iterdir())
    standing = contents(folder)
    # Rank 0 has three of the five shards, and ended them all.
    assert 8 <= len(standing) < len(ids)
    assert f"stored    {len(standing)} of 14 videos" in prints[0]
    assert f"not tried {14 - len(standing)} videos" in prints[0]
    account = run_small(benchmark, tmp_path)
    assert account.folder == folder
    assert account.stored == len(ids)
    whole = contents(folder)
    assert standing.items() <= whole.items()
    shutil.rmtree(folder)
    assert contents(run_small(benchmark, tmp_path).folder) == whole


def test_the_command_prints_its_account(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 3)
    small_benchmark(tmp_path, [*ids, "gone"])
    options = ["--device", "cpu", "--encoder", ENCODER, "--weights", "random:0"]
    result = command("extract", *options, root=tmp_path)
    assert result.exit_code == 1
    assert "UNTRAINED" in result.output
    assert "stored    3 of 4 videos" in result.output
    assert "gone: there is no file gone.*" in result.output
    assert "1 of 4 videos have no features, --allow-missing allows 0" in result.output
    assert command("extract", *options, "--allow-missing", "1", root=tmp_path).exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder", "resnet_101"], "did you mean 'resnet101'"),
        (["--weights", "random:x"], "has no seed"),
        (["--weights", "./none.pth"], "There are no weights at"),
        (["--decoder", "pyavv"], "did you mean 'pyav'"),
        (["--decoder", "pillow"], "--decoder pillow cannot read the video files in"),
        (["--precision", "float16"], "did you mean"),
        (["--gpu", "zero"], "is no list of GPU numbers"),
        (["--gpu", "99"], "is not there"),
        (["--gpu", "0", "--device", "cpu"], "exclude each other"),
        (["--video-dir", "/nowhere"], "is not there"),
        (["--video-dir", str(REPOSITORY)], "holds none of the 1 listed videos of small, neither"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path: Path, options: list[str], message: str) -> None:
    small_benchmark(tmp_path, ["a"])
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    given = ["--encoder", ENCODER, "--weights", "random:0", *options]
    result = command("extract", *given, root=tmp_path)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "features").exists()


def test_a_benchmark_without_videos_says_so(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, ["a"])
    (tmp_path / "benchmarks" / NAME / "manifest.json").unlink()
    with pytest.raises(DataError, match="was built without videos"):
        run_small(benchmark, tmp_path)


def test_decoders_make_the_same_features(tmp_path: Path) -> None:
    ids = small_videos(tmp_path, 2)
    benchmark = small_benchmark(tmp_path, ids)
    ours = run_small(benchmark, tmp_path)
    before = contents(ours.folder)
    shutil.rmtree(ours.folder)
    for decoder in ("decord", "torchcodec"):
        try:
            theirs = run_small(benchmark, tmp_path, decoder=decoder)
        except DataError as error:
            assert "cannot be loaded on this machine" in str(error)
            continue
        assert theirs.folder == ours.folder
        assert contents(theirs.folder) == before
        shutil.rmtree(theirs.folder)


def test_a_model_that_looks_at_neighbours_is_shown_whole_segments(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "short.mp4", 3, (32, 32))
    write_video(tmp_path / "videos" / "long.mp4", 30, (32, 32))
    benchmark = small_benchmark(tmp_path, ["short", "long"])
    changes = {"encoder": "tsm_resnet50", "weights": "random:0", "frames": 10, "batch": 16}
    account = run_small(benchmark, tmp_path, **changes)
    store = FeatureStore(account.folder)
    encoder = load_encoder("tsm_resnet50", "random:0", batch=8)
    for name in store.ids:
        _, shown = pictures(tmp_path / "videos" / f"{name}.mp4", 10, encoder)
        padded = torch.cat([shown, shown[-1:].expand(6, -1, -1, -1)])
        assert np.array_equal(store.read([name])[0], encoder.encode(padded)[:10])


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_real_files_among_broken_ones(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in REAL.iterdir():
        shutil.copy(path, videos)
    (videos / "zero.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("no video\n" * 9)
    ids = [path.stem for path in REAL.iterdir()]
    account = run_small(small_benchmark(tmp_path, [*ids, "zero", "text", "missing"]), tmp_path)
    assert sorted(account.failed) == ["missing", "text", "zero"]
    assert account.stored == len(ids)
    assert account.damaged == {"corrupted": 2}


def test_a_manifest_tells_how_the_features_were_made(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 1))
    folder = run_small(benchmark, tmp_path, weights="random:0").folder
    manifest = load_manifest(folder)
    assert manifest.untrained
    assert (manifest.recipe.source, manifest.recipe.frames) == ("made", FRAMES)
    assert folder.name == f"{ENCODER}-random0-{FRAMES}-{manifest.fingerprint[:8]}"
    conditions = {"decoder", "decoder_version", "precision", "batch", "processor", "torch"}
    assert set(manifest.provenance) == conditions | {"torchvision", "videos", "tool", "date"}
    assert set(manifest.conditions) == conditions | {"torchvision"}
    assert not list(folder.glob(".*.tmp"))


def test_one_extraction_at_a_time_in_a_store(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 2))
    folder = run_small(benchmark, tmp_path).folder
    with (
        FileLock(folder / ".extract.lock"),
        pytest.raises(DataError, match="Another extraction is at work"),
    ):
        run_small(benchmark, tmp_path)
    assert run_small(benchmark, tmp_path).stored == 2


def test_a_gpu_without_memory_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Encoder, "launch", full)
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 2))
    with pytest.raises(MeidBenchError, match=r"Batches of 4 do not fit .* try a smaller --batch"):
        run_small(benchmark, tmp_path)


def test_features_beyond_float16_are_that_videos_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, seen = Encoder.launch, []

    def hot(encoder: Encoder, pictures: torch.Tensor) -> Any:
        result = launch(encoder, pictures)
        seen.append(pictures)
        return (lambda: np.full_like(result(), np.inf)) if len(seen) == 1 else result

    monkeypatch.setattr(Encoder, "launch", hot)
    account = run_small(small_benchmark(tmp_path, small_videos(tmp_path, 3)), tmp_path)
    (failure,) = account.failed.values()
    assert (failure.error, failure.decoder) == ("its features are not finite in float16", "encoder")
    assert account.stored == 2
