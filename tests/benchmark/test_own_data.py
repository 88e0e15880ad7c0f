"""A folder of videos and a csv: documented, run as documented, and every way it may be wrong."""

import random
import re
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import SPLITS, load_benchmark
from meid_bench.benchmark.build import build_own
from meid_bench.benchmark.build_manifest import load_build_manifest
from meid_bench.benchmark.longtail import Bins
from meid_bench.cli.main import cli
from meid_bench.errors import DataError, SettingError
from tests.made_videos import write_video

DOCUMENT = Path(__file__).parents[2] / "docs" / "building.md"
README = Path(__file__).parents[2] / "README.md"
# What makes the example quick, and keeps it from fetching ImageNet weights.
QUICKER = {
    "extract": [
        "--device",
        "cpu",
        "--encoder",
        "resnet18",
        "--weights",
        "random:0",
        "--workers",
        "1",
    ],
    "run": ["--device", "cpu", "--quick"],
}


def run_block(commands: str) -> str:
    """Run the commands of a block of code as they stand, made quicker; returns what they print."""
    output = ""
    for line in commands.splitlines():
        program, command, *arguments = shlex.split(line, comments=True)
        assert program == "meid-bench"
        done = CliRunner().invoke(cli, [command, *arguments, *QUICKER.get(command, [])])
        assert done.exit_code == 0, (line, done.output)
        output += done.output
    return output


def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEID_BENCH_HOME", raising=False)
    example = r"## Your own videos\n+```bash\ncat > labels.csv <<'CSV'\n(.*?)CSV\n(.*?)```"
    text = DOCUMENT.read_text(encoding="utf-8")
    ((labels, commands),) = re.findall(example, text, re.DOTALL)
    Path("labels.csv").write_text(labels)
    for row in labels.splitlines()[1:]:
        write_video(Path("videos") / row.split(",")[0])
    assert len(commands.splitlines()) == 5
    output = run_block(commands)
    assert "labels: separated by ';'; 3 classes: cut, pour, stir" in output
    benchmark = load_benchmark("kitchen", Path("data"))
    assert benchmark.classes == ("cut", "pour", "stir")
    assert all((benchmark.labels(split).sum(0) > 0).all() for split in ("train", "test"))


def test_the_block_in_readme_runs_on_sixty_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sub-folders, groups, commas and clips without labels; fewer frames and epochs than there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEID_BENCH_HOME", raising=False)
    few = ["--set", "epochs=1", "--aggregator", "nonlinear"]
    monkeypatch.setitem(QUICKER, "run", ["--device", "cpu", *few])
    monkeypatch.setitem(QUICKER, "build", ["--frames", "2"])
    dice, rows = random.Random(0), ["video,labels,group"]
    verbs = ["cut", "stir", "pour", "wash", "open", "close", "mix", "peel", "fry"]
    for number in range(60):
        name = f"{['monday', 'tuesday'][number % 2]}/clip {number}.mp4"
        labels = dice.choices(verbs, [1 / (n + 1) for n in range(9)], k=dice.randint(1, 3))
        if number % 12 == 0:
            labels = []
        rows.append(f'{name},"{",".join(dict.fromkeys(labels))}",cook {number % 11}')
        write_video(Path("videos") / name, frames=4, size=(32, 24))
    Path("labels.csv").write_text("\n".join(rows) + "\n")
    text = README.read_text(encoding="utf-8")
    (commands,) = re.findall(r"## Your own videos\n.*?```bash\n(.*?)```", text, re.DOTALL)
    output = run_block(commands)
    assert "labels: separated by ','; 9 classes: close, cut, fry, mix, open and 4 more" in output
    assert "without labels: 5 videos" in output and "groups: 11, of 5 to 6 videos" in output
    assert "videos: 60 of 60 in" in output and "stored    60 of 60 videos" in output
    assert "[6/6] meid seed 2: test mAP" in output


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Nine videos, each an empty file: `build` does not open them."""
    (tmp_path / "videos").mkdir()
    rows = [f"v{number},{'cut' if number % 2 else 'cut; stir'}" for number in range(9)]
    for number in range(9):
        (tmp_path / "videos" / f"v{number}.mkv").touch()
    (tmp_path / "labels.csv").write_text("video,labels\n" + "\n".join(rows) + "\n")
    return tmp_path


def command(own: Path, *arguments: str) -> tuple[int, str]:
    given = ["build", "--from", str(own / "labels.csv"), "--video-dir", str(own / "videos")]
    given += ["--name", "mine", "--root", str(own / "root"), *arguments]
    done = CliRunner().invoke(cli, given)
    return done.exit_code, done.output


def test_videos_are_used_where_they_are(own: Path) -> None:
    code, output = command(own)
    assert code == 0, output
    manifest = load_build_manifest(own / "root", "mine")
    assert manifest is not None
    assert manifest.videos is not None
    assert manifest.video_folder(own / "root") == own / "videos"
    assert (manifest.videos.archive, manifest.videos.found) == ("mine", 9)
    assert manifest.sources["labels"].path == str(own / "labels.csv")
    assert not (own / "root" / "videos").exists()


def test_features_alone_will_do(own: Path, tmp_path: Path) -> None:
    given = ["--name", "mine", "--root", str(own / "root"), "--frames", "2"]
    labels = ["build", "--from", str(own / "labels.csv"), "--videos", "none", *given]
    done = CliRunner().invoke(cli, labels)
    assert done.exit_code == 0, done.output
    assert "next: meid-bench import-features FOLDER --dataset mine" in done.output
    (tmp_path / "npy").mkdir()
    for name in load_benchmark("mine", own / "root").all_ids():
        np.save(tmp_path / "npy" / f"{name}.npy", np.ones((2, 3), np.float16))
    arguments = ["import-features", str(tmp_path / "npy"), "--dataset", "mine"]
    done = CliRunner().invoke(cli, [*arguments, "--root", str(own / "root")])
    assert done.exit_code == 0, done.output
    assert "stored    9 of 9 videos" in done.output


def test_the_same_files_give_the_same_benchmark(own: Path) -> None:
    def fingerprint(root: str) -> str:
        built = build_own(own / "labels.csv", own / "videos", "mine", own / root, frames=4)
        return built.benchmark.fingerprint

    assert fingerprint("one") == fingerprint("two")


def test_bins_fractions_and_frames_are_chosen(own: Path) -> None:
    code, output = command(own, "--bins", "3,5", "--fractions", "0.4,0.2,0.4", "--frames", "16")
    assert code == 0, output
    benchmark = load_benchmark("mine", own / "root")
    assert benchmark.bins == Bins(3, 5)
    assert benchmark.frames == 16
    sizes = {split: len(benchmark.ids(split)) for split in SPLITS}
    assert sizes["train"] < 6 <= sizes["train"] + sizes["test"]


def test_a_byte_order_mark_and_given_splits_are_read(own: Path) -> None:
    rows = [
        f"v{number}.mkv, cut ;stir,{split}"
        for number, split in enumerate(["train"] * 5 + ["val"] * 2 + ["test"] * 2)
    ]
    text = "video,labels,split\r\n" + "\r\n".join(rows) + "\r\n"
    (own / "labels.csv").write_text(text, encoding="utf-8-sig", newline="")
    code, output = command(own)
    assert code == 0, output
    benchmark = load_benchmark("mine", own / "root")
    assert benchmark.ids("val") == ("v5", "v6")
    assert benchmark.classes == ("cut", "stir")


BAD_FILES = {
    "latin-1": (
        "video,labels\nv1,fen\xeatre\n".encode("latin-1"),
        "line 2: byte 0xea is not UTF-8",
    ),
    "another folder": (b"video,labels\n../v1.mp4,a\n", "'../v1.mp4' is not a path inside the"),
    "two readings": (
        b'video,labels\nv1,"cut, dice"\nv2,stir\nv3,stir\n',
        "say which with --separator ',' or --separator ';'",
    ),
    "never trained": (
        b"video,labels,split\nv1,a,train\nv2,b,val\nv3,a,test\n",
        "label 'b' is never in train",
    ),
    "no videos": (b"video,labels\nx1,a\nx2,a\nx3,a\n", "holds none of the 3 listed videos"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_a_sentence_and_leaves_nothing(kind: str, own: Path) -> None:
    body, message = BAD_FILES[kind]
    (own / "labels.csv").write_bytes(body)
    code, output = command(own)
    assert code == 1
    assert message in output
    assert output.count("\n") == 1
    assert not (own / "root").exists()


def test_a_folder_whose_real_path_is_no_text_is_refused(own: Path) -> None:
    (own / "videos").rename(own / "v\udcff")
    (own / "videos").symlink_to("v\udcff")
    code, output = command(own)
    assert code == 1 and "the path of the videos is" in output and "\\udcff" in output
    assert not (own / "root" / "benchmarks").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bins", "9"], 1, "Bins '9' where two rising counts"),
        (["--bins", "9,3"], 1, "Bins '9,3' where"),
        (["--fractions", "0.5,0.5"], 1, "three positive numbers"),
        (["--name", "My kitchen"], 1, "'My kitchen' cannot be a name"),
        (["--name", "x" * 300], 1, "cannot be a name; use up to 100"),
        (["--name", "charadeslt"], 1, "the name of a packaged dataset"),
        (["--video-dir", "nowhere"], 1, "nowhere is no folder"),
        (["--from", "nowhere.csv"], 1, "nowhere.csv cannot be read"),
        (["--videos", "none"], 2, "--from needs either --video-dir or"),
        (["charadeslt"], 2, "DATASET is for official data"),
    ],
)
def test_bad_options_are_a_sentence(
    arguments: list[str], code: int, message: str, own: Path
) -> None:
    found, output = command(own, *arguments)
    assert found == code
    assert message in output
    assert not (own / "root" / "benchmarks").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a DATASET, or your own data with --from"),
        (["--from", "labels.csv", "--name", "x"], "--from needs either --video-dir or"),
        (
            ["--from", "a.csv", "--name", "x", "--video-dir", "x", "--videos", "none"],
            "needs either",
        ),
        (["--from", "a.csv", "--name", "x", "--video-dir", "x", "--videos", "all"], "--videos is"),
        (["--from", "labels.csv", "--video-dir", "x"], "--from also needs --name"),
        (["charadeslt", "--bins", "3,5"], "--bins is for your own data and needs --from"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(cli, ["build", *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_the_function_refuses_what_the_command_refuses(own: Path) -> None:
    root = own / "root"
    with pytest.raises(SettingError, match="cannot be a name"):
        build_own(own / "labels.csv", own / "videos", "../x", root, frames=4)
    with pytest.raises(DataError, match="every split needs one"):
        (own / "labels.csv").write_text("video,labels\nv1,a\nv2,a\n")
        fractions = (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))
        build_own(own / "labels.csv", own / "videos", "x", root, frames=4, fractions=fractions)
