"""The simulation tool: repeatable, marked as what it is, and with its parts where they belong."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.annotation import Annotation, Interval
from meid_bench.benchmark.benchmark import load_benchmark, save_benchmark
from meid_bench.features.store import FeatureStore, find_store
from meid_bench.files import benchmark_dir
from tests.toy import toy_benchmark

TOOL = Path(__file__).parents[2] / "tools" / "simulate_features.py"
SPEC = importlib.util.spec_from_file_location("simulate_features", TOOL)
assert SPEC is not None and SPEC.loader is not None
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

CLASSES = ("Holding a cup", "Washing a cup", "Opening a door")
VIDEO = Annotation("v1", (0,), (Interval(0, 5.0, 15.0),), subject="s1", length=20.0)


def simulator(**changes: float) -> object:
    return tool.Simulator(replace(tool.Simulation(seed=0, width=64, frames=20), **changes), CLASSES)


def test_a_video_is_the_same_every_time_and_differs_from_others() -> None:
    first, again = simulator().features(VIDEO), simulator().features(VIDEO)  # type: ignore[attr-defined]
    assert first.shape == (20, 64) and first.dtype == np.float16
    assert np.isfinite(first).all() and (first >= 0).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, simulator().features(replace(VIDEO, id="v2")))  # type: ignore[attr-defined]
    assert not np.array_equal(first, simulator(seed=1).features(VIDEO))  # type: ignore[attr-defined]


def test_an_action_shows_in_its_interval_and_nowhere_else() -> None:
    bare = {"noise": 0.0, "scene": 0.0, "motion": 0.0, "visible": 1.0}
    frames = simulator(**bare).features(VIDEO).astype(float)  # type: ignore[attr-defined]
    shows = frames.sum(1) > 0
    times = (np.arange(20) + 0.5) / 20 * 20.0
    assert np.array_equal(shows, (times >= 5) & (times <= 15))
    assert np.ptp(frames[shows], axis=0).max() == 0  # the object part stands still


def test_motion_moves_and_the_scene_does_not() -> None:
    still = {"noise": 0.0, "object": 0.0, "visible": 1.0}
    moving = simulator(scene=0.0, **still).features(VIDEO).astype(float)  # type: ignore[attr-defined]
    inside = moving[moving.sum(1) > 0]
    assert (np.abs(np.diff(inside, axis=0)).sum(1) > 0).all()
    scene = simulator(motion=0.0, **still).features(VIDEO).astype(float)  # type: ignore[attr-defined]
    assert np.ptp(scene, axis=0).max() == 0 and scene.sum() > 0


def test_classes_with_the_same_object_look_alike() -> None:
    objects = simulator().objects  # type: ignore[attr-defined]
    cosine = objects @ objects.T / np.linalg.norm(objects, axis=1) ** 2
    assert cosine[0, 1] > 0.3 > abs(cosine[0, 2])


def test_an_action_between_two_frames_is_seen() -> None:
    short = replace(VIDEO, intervals=(Interval(0, 10.6, 10.7),))
    bare = {"noise": 0.0, "scene": 0.0, "visible": 1.0}
    frames = simulator(**bare).features(short)  # type: ignore[attr-defined]
    assert (frames.sum(1) > 0).sum() == 1


def test_the_store_fits_its_benchmark_and_is_marked(tmp_path: Path) -> None:
    benchmark = toy_benchmark()
    save_benchmark(benchmark, benchmark_dir(tmp_path, "toy"))
    arguments = ["toy", "--root", str(tmp_path), "--width", "16", "--frames", "8"]
    done = CliRunner().invoke(tool.main, arguments)
    assert done.exit_code == 0, done.output
    store = FeatureStore(find_store(tmp_path, load_benchmark("toy", tmp_path)))
    assert store.folder.name.startswith("simulated-seed0-8-")
    assert (store.frames, store.width, store.untrained) == (8, 16, True)
    assert set(store.ids) == set(benchmark.all_ids())
    other = CliRunner().invoke(tool.main, [*arguments, "--seed", "1"])
    assert other.exit_code == 0
    assert len({path.name[-8:] for path in store.folder.parent.iterdir() if path.is_dir()}) == 2


def test_a_benchmark_that_is_not_built_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(tool.main, ["charadeslt", "--root", str(tmp_path)])
    assert done.exit_code == 1 and "run `meid-bench build charadeslt`" in done.output


@pytest.mark.parametrize("setting", ["--width", "--frames"])
def test_sizes_must_be_positive(tmp_path: Path, setting: str) -> None:
    done = CliRunner().invoke(tool.main, ["toy", setting, "0", "--root", str(tmp_path)])
    assert done.exit_code == 2
