"""The kinds of files that tools/fuzz.py damages: a sound one of each, and what reads it."""

import atexit
import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from meid_bench.benchmark import charades, videolt
from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.archives.archive import open_archive
from meid_bench.benchmark.benchmark import Benchmark, load_benchmark, save_benchmark
from meid_bench.benchmark.labels_csv import own_benchmark
from meid_bench.benchmark.longtail import Bins
from meid_bench.benchmark.scenery import encode
from meid_bench.benchmark.spec import load_spec
from meid_bench.errors import DataError
from meid_bench.features import checksum
from meid_bench.features.account import take_account
from meid_bench.features.checksum import MEMORY, stamp_of
from meid_bench.features.decoders import decode_video
from meid_bench.features.encoder_weights import load_file
from meid_bench.features.frames import FrameRule
from meid_bench.features.manifest import Failure, Recipe, make_manifest
from meid_bench.features.npy_store import open_store, read_npy
from meid_bench.features.shard import PATTERN, VideoFeatures
from meid_bench.features.store import FeatureStore, write_store
from meid_bench.features.verify import verify_store
from meid_bench.files import benchmark_dir, features_dir, packaged_splits
from meid_bench.methods.toy_task import CLASSES, FRAMES, WIDTH, toy_features, toy_labels
from meid_bench.results.kept_draws import RESAMPLES_FILE, KeptDraws
from meid_bench.results.record import load_result, load_scores, read_curve
from meid_bench.results.score_file import read_scores
from meid_bench.training.checkpoint import Checkpoint, Fit
from meid_bench.training.model import load_model
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run

SPLITS = {"train": 24, "val": 12, "test": 12}
NAMES = [f"c{number:03d}" for number in range(CLASSES)]


@dataclass(frozen=True)
class Case:
    """A kind of file.

    Attributes:
        kind: Format and what it holds.
        file: Which file of its folder is damaged.
        make: Writes the folder.
        read: Calls the public function that reads the file; its result, which pickle takes.
        text: Whether the file is text.
    """

    kind: str
    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    text: bool = False


def toy_benchmark() -> Benchmark:
    """A small long-tailed benchmark."""
    splits = {
        split: tuple(
            Annotation(f"{split}{row:02d}", tuple(map(int, np.flatnonzero(labels))))
            for row, labels in enumerate(toy_labels(videos, len(split)))
        )
        for split, videos in SPLITS.items()
    }
    return Benchmark("toy", "Toy", tuple(NAMES), splits, Bins(4, 9), FRAMES)


def make_store(root: Path) -> None:
    """The toy under a data root, with its features and one failure."""
    benchmark = toy_benchmark()
    save_benchmark(benchmark, benchmark_dir(root, "toy"))
    recipe = Recipe("toy", "0" * 64, "none", FRAMES, WIDTH, "none")
    manifest = make_manifest(benchmark, recipe, weights="toy")
    index = np.arange(FRAMES, dtype=np.int32)
    features = {}
    for split in SPLITS:
        rows = toy_features(benchmark.labels(split), len(split))
        features |= dict(zip(benchmark.ids(split), rows, strict=True))
    last = max(features)
    write_store(
        features_dir(root, "toy") / manifest.store_name,
        manifest,
        benchmark.all_ids(),
        [
            VideoFeatures(name, features[name], index, index.astype(np.float32), FRAMES)
            for name in sorted(features)
            if name != last
        ],
        [Failure(last, "no video file", "pyav")],
    )


def make_named_store(root: Path) -> None:
    """The same, its store under a name that does not depend on its recipe."""
    make_store(root)
    next(features_dir(root, "toy").iterdir()).rename(root / "store")


def verified(root: Path) -> object:
    """What `verify` says of the store; it says it, and raises nothing."""
    faults = verify_store(toy_benchmark(), root / "store")
    if faults:
        raise DataError("; ".join(map(str, faults)))
    return used(FeatureStore(root / "store"))


def used(store: FeatureStore) -> object:
    """All that a store holds."""
    times = [store.times(name).tobytes() for name in store.ids]
    return store.ids, store.read(store.ids).tobytes(), times


@cache
def trained() -> tuple[Path, Path]:
    """A data root with a finished run, and the run's folder within it."""
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    make_store(root)
    settings = {"epochs": "2", "milestones": "1", "batch": "12"}
    request = Request("plain", "toy", "nonlinear", settings=settings, allow_missing=1)
    planned = plan_run(request, root)
    run(planned, torch.device("cpu"))
    return root, planned.folder


def make_run(folder: Path) -> None:
    """A finished run's files."""
    shutil.copytree(trained()[1], folder, dirs_exist_ok=True)


def make_memory(root: Path) -> None:
    """A store, and what it remembers of shards that were found sound."""
    make_named_store(root)
    stamps = {path.name: stamp_of(path.stat()) for path in (root / "store").glob(PATTERN)}
    (root / "store" / MEMORY).write_text(json.dumps(stamps), encoding="utf-8")


def used_anew(root: Path) -> object:
    """All that a store holds, to a process that has not seen it before."""
    checksum._known.cache_clear()
    return used(FeatureStore(root / "store"))


def make_draws(folder: Path) -> None:
    """A finished run's files, and its resamples."""
    make_run(folder)
    draws(folder)


def draws(folder: Path) -> object:
    """A run's resamples; damaged ones are drawn again."""
    full, means = KeptDraws(toy_benchmark(), 20).of_run(folder)
    return full.tobytes(), means.tobytes()


def make_checkpoint(folder: Path) -> None:
    """What an interrupted run leaves."""
    state = Fit(epoch=1, best_epoch=0, best_map=0.25, warnings=["a warning"], made_with="cpu")
    state.curve, state.diagnostics = read_curve(trained()[1]), {"share": 0.5}
    state.model = {"weight": torch.arange(600.0).view(20, 30)}
    Checkpoint(folder).save(state)


def read_checkpoint(folder: Path) -> object:
    """How far the run has come, and its network."""
    found = Checkpoint(folder).load()
    return Checkpoint(folder).load(tensors=False), found and state(found.model)


def members() -> Mapping[str, bytes]:
    """Files of an archive: text that packs well, numbers that do not, and nothing."""
    noise = np.random.default_rng(0).bytes(3000)
    return {"Made/list.csv": b"id,actions\n" * 200, "Made/v1.mp4": noise, "Made/empty.txt": b""}


def read_features(path: Path) -> bytes:
    """One video's features; `import-features` and others put a fault among the failures."""
    return read_npy(path, (FRAMES, WIDTH)).tobytes()


def read_model(folder: Path) -> object:
    """A trained network."""
    model, method = load_model(folder, torch.device("cpu"))
    return model, state(method.state_dict())


def make_zip(folder: Path) -> None:
    """An archive with and without compression."""
    with zipfile.ZipFile(folder / "x.zip", "w") as file:
        for number, (name, data) in enumerate(members().items()):
            kind = zipfile.ZIP_STORED if number == 1 else zipfile.ZIP_DEFLATED
            file.writestr(zipfile.ZipInfo(name), data, kind)


def make_tar(folder: Path) -> None:
    """An archive of the other kind."""
    with tarfile.open(folder / "x.tar", "w") as file:
        for name, data in members().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def unpack(path: Path) -> dict[str, bytes]:
    """Every file of an archive, copied out."""
    target = path.parent / "out"
    shutil.rmtree(target, ignore_errors=True)
    with open_archive(path) as archive:
        for name in archive.entries:
            archive.copy(name, target / name)
    return {
        str(file.relative_to(target)): file.read_bytes()
        for file in sorted(target.rglob("*"))
        if file.is_file()
    }


def make_video(folder: Path) -> None:
    """A second of a moving slope."""
    y, x = np.mgrid[:48, :64]
    frames = [((x + y + 9 * n) % 256)[..., None].repeat(3, -1).astype(np.uint8) for n in range(25)]
    (folder / "x.mp4").write_bytes(encode(frames))


def decode(path: Path) -> object:
    """Times and pixels of eight frames."""
    kept: dict[int, bytes] = {}

    def keep(number: int, frame: Any) -> None:
        kept[number] = frame.tobytes()

    found = decode_video(path, FrameRule(8), keep)
    return found.index.tolist(), found.time.tolist(), found.num_frames, sorted(kept.items())


def state(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, bytes]]:
    """Tensors as pickle takes them."""
    return [(name, tensors[name].numpy().tobytes()) for name in sorted(tensors)]


WEIGHTS = {"conv.weight": torch.arange(96.0).view(4, 24), "fc.bias": torch.zeros(4)}
ANNOTATIONS = "id,subject,scene,script,objects,actions,length,egocentric\n" + "".join(
    f'V{n:02d},S{n % 3},Kitchen,"A person, number {n}, sits.",chair,'
    f"c00{n % 6} {n}.50 12.00;c001 0.00 {n}.25,{20 + n}.5,{'Yes' if n % 2 else 'No'}\n"
    for n in range(16)
)
LABELS = "video,labels,split\n" + "".join(
    f"clip{n:02d}.mp4,walk;{'run' if n % 2 else 'sit down'},{('train', 'val', 'test')[n % 3]}\n"
    for n in range(18)
)
SCORES = np.linspace(0, 1, 5 * CLASSES).reshape(5, CLASSES)
SCORES_TXT = "".join(f"v{n} {' '.join(map(str, row))}\n" for n, row in enumerate(SCORES))
SCORES_CSV = f"id,{','.join(NAMES)}\n" + SCORES_TXT.replace(" ", ",")


def written(name: str, text: str) -> Callable[[Path], object]:
    """Writes a text."""
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


CASES = (
    Case(
        "csv annotations",
        "x.csv",
        written("x.csv", ANNOTATIONS),
        lambda folder: charades.read_annotations(folder / "x.csv", CLASSES),
        text=True,
    ),
    Case(
        "csv labels",
        "x.csv",
        written("x.csv", LABELS),
        lambda folder: own_benchmark(folder / "x.csv", "own", FRAMES),
        text=True,
    ),
    Case(
        "csv scores",
        "x.csv",
        written("x.csv", SCORES_CSV),
        lambda folder: read_scores(folder / "x.csv", NAMES),
        text=True,
    ),
    Case(
        "txt scores",
        "x.txt",
        written("x.txt", SCORES_TXT),
        lambda folder: read_scores(folder / "x.txt", NAMES),
        text=True,
    ),
    Case(
        "txt classes",
        "x.txt",
        written("x.txt", "".join(f"{name} Doing {name}\n" for name in NAMES)),
        lambda folder: charades.read_classes(folder / "x.txt"),
        text=True,
    ),
    Case(
        "txt list",
        "x.lst",
        written("x.lst", "".join(f"video{n} {n % 6},{(n + 1) % 6}\n" for n in range(20))),
        lambda folder: videolt.read_list(folder / "x.lst", CLASSES),
        text=True,
    ),
    Case(
        "json benchmark",
        "benchmarks/toy/benchmark.json",
        make_store,
        lambda root: load_benchmark("toy", root),
        text=True,
    ),
    Case(
        "json manifest",
        "store/manifest.json",
        make_named_store,
        lambda root: open_store(root / "store").manifest,
        text=True,
    ),
    Case(
        "json spec",
        "spec.json",
        lambda folder: shutil.copytree(
            packaged_splits() / "charadeslt", folder, dirs_exist_ok=True
        ),
        load_spec,
        text=True,
    ),
    Case("json record", "result.json", make_run, load_result, text=True),
    Case("json model", "model.json", make_run, read_model, text=True),
    Case("jsonl curve", "curve.jsonl", make_run, read_curve, text=True),
    Case(
        "jsonl failures",
        "store/failures.jsonl",
        make_named_store,
        lambda root: take_account(toy_benchmark(), root / "store"),
        text=True,
    ),
    Case("json memory", f"store/{MEMORY}", make_memory, used_anew, text=True),
    Case("npz scores", "scores.npz", make_run, load_scores),
    Case("npz resamples", RESAMPLES_FILE, make_draws, draws),
    Case(
        "npy features",
        "x.npy",
        lambda folder: np.save(folder / "x.npy", toy_features(toy_labels(6, 0), 0)[0]),
        lambda folder: read_features(folder / "x.npy"),
    ),
    Case("h5 verified", "store/part-00000.h5", make_named_store, verified),
    Case(
        "h5 used",
        "store/part-00000.h5",
        make_named_store,
        lambda root: used(FeatureStore(root / "store")),
    ),
    Case("safetensors model", "model.safetensors", make_run, read_model),
    Case(
        "safetensors checkpoint",
        "checkpoint.safetensors",
        make_checkpoint,
        read_checkpoint,
    ),
    Case(
        "safetensors weights",
        "x.safetensors",
        lambda folder: save_file(WEIGHTS, folder / "x.safetensors"),
        lambda folder: state(load_file(folder / "x.safetensors")),
    ),
    Case(
        "pth weights",
        "x.pth",
        lambda folder: torch.save(WEIGHTS, folder / "x.pth"),
        lambda folder: state(load_file(folder / "x.pth")),
    ),
    Case("zip videos", "x.zip", make_zip, lambda folder: unpack(folder / "x.zip")),
    Case("tar videos", "x.tar", make_tar, lambda folder: unpack(folder / "x.tar")),
    Case("mp4 video", "x.mp4", make_video, lambda folder: decode(folder / "x.mp4")),
)
