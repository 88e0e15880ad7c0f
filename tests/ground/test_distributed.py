"""Several ranks train as one: gloo on the CPU, each process with a part of every batch."""

import json
import multiprocessing
import os
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from meid_bench.distributed import (
    Ranks,
    find_ranks,
    gathered,
    joined,
    rank_slice,
    slice_sizes,
    summed,
)
from meid_bench.errors import MethodError, SettingError
from meid_bench.methods.batch_part import BatchPart
from meid_bench.methods.method import Batch
from meid_bench.methods.registry import registered
from meid_bench.methods.settings import RunnerConfig
from meid_bench.results.record import CURVE, RECORD, SCORES, VAL_SCORES
from meid_bench.training.batchnorm import RankBatchNorm, normalise_over_ranks
from meid_bench.training.execution import Execution
from meid_bench.training.fit import Training, fit, point_scores
from meid_bench.training.model import MODEL, WEIGHTS
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import RUN_LOCK, run
from tests.small_methods import toy_method
from tests.toy import BINS, TASK, toy_examples, write_toy

CPU = torch.device("cpu")
CASES = {name: (name, "nonlinear", {}) for name in sorted(registered())} | {
    "plain, netvlad": ("plain", "netvlad", {}),
    "meid, nextvlad": ("meid", "nextvlad", {}),
    "meid, unused necks": ("meid", "nonlinear", {"lambda1": 0.0}),
    "lmr, trained": ("lmr", "netvlad", {"rest": "trained"}),
    "meid, batch norm": ("meid", "nonlinear", {"norm": "batch"}),
}
STEPS = 20
TOY = "toy"
SHORT = {"epochs": "3", "milestones": "2", "batch": "16", "aggregator.dropout": "0"}


def losses(case: str, videos: int) -> list[float]:
    """Mean loss of each of ten epochs of two steps, a stage at a time, and val mAP of each."""
    name, aggregator, settings = CASES[case]
    schedule = {"epochs": STEPS // 2, "milestones": ()}
    method = toy_method(name, aggregator, schedule | settings, dropout=0.0)
    val = toy_examples(23, seed=2)
    outcome = fit(
        Training(
            method=method,
            train=toy_examples(videos),
            val=val,
            val_scores=point_scores(val.labels, BINS.groups(np.array(TASK.counts))),
            config=RunnerConfig(batch=16, training_frames=None if method.all_frames else 6),
            seed=0,
            log=lambda point: None,
        )
    )
    return [point.loss for point in outcome.curve if point.loss is not None]


def work(rank: int, size: int, port: int, cases: dict[str, int], folder: str) -> None:
    """One rank: trains every case, and checks what ranks ask of each other."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    with joined(Ranks(rank, size, rank, size), CPU):
        found = {case: losses(case, videos) for case, videos in cases.items()}
        found["pieces"] = pieces(rank, size)
        found["norm"] = normed(rank, size)
        if (Path(folder) / TOY).is_dir():
            found["runs"] = whole_runs(Path(folder) / TOY)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))


def pieces(rank: int, size: int) -> list[float]:
    """Gradients through the sum and the gather, and a batch's randomness and partners."""
    rows = torch.arange(5.0)[rank_slice(5, rank, size)].requires_grad_()
    weights = torch.arange(1.0, 6.0)
    everyone = gathered(rows, slice_sizes(5))
    ((everyone * weights).sum() * (rank + 1)).backward()
    assert rows.grad is not None
    total = torch.tensor([float(rank + 1)], requires_grad=True)
    (summed(total).square().sum() * (rank + 1)).backward()
    assert total.grad is not None
    generator = torch.Generator().manual_seed(0)
    features = torch.arange(5.0).view(5, 1, 1)[rank_slice(5, rank, size)]
    batch = BatchPart(features, features.view(-1, 1), None, generator, total=5)
    partner = batch.shuffled()
    chance = batch.uniform()
    return [
        *everyone.tolist(),
        *gathered(rows.grad, slice_sizes(5)).tolist(),
        float(total.grad),
        *gathered(partner.features.flatten(), slice_sizes(5)).tolist(),
        *gathered(partner.labels.flatten(), slice_sizes(5)).tolist(),
        *gathered(chance, slice_sizes(5)).tolist(),
    ]


def normed(rank: int, size: int) -> list[float]:
    """Two rows normalised over all ranks."""
    box = nn.Sequential(nn.BatchNorm1d(3))
    normalise_over_ranks(box)
    rows = torch.tensor([[0.0, 1.0, 9.0], [2.0, 5.0, 3.0]])[rank_slice(2, rank, size)]
    output = box(rows)
    output.sum().backward()  # a rank without rows takes part in the gradients' sums too
    return gathered(output.detach(), slice_sizes(2)).flatten().tolist()


def whole_runs(root: Path) -> list[float]:
    """Test mAP of a run, of the same again, and of one that chooses its learning rate."""
    plain = Request("plain", "toy", "nonlinear", settings=SHORT)
    equal = plan_run(replace(plain, settings={"batch": "16"}, protocol="equal", quick=True), root)
    plans = [plan_run(plain, root), plan_run(plain, root), replace(equal, trials=equal.trials[:1])]
    how = Execution(precision="float32")
    return [run(planned, CPU, execution=how).test.overall for planned in plans]


def together(size: int, cases: dict[str, int], folder: Path) -> list[dict[str, list[float]]]:
    """What each of `size` processes found."""
    port = free_port()
    context = multiprocessing.get_context("forkserver")  # torch is imported once for all of them
    context.set_forkserver_preload(["tests.ground.test_distributed"])
    processes = [
        context.Process(target=work, args=(rank, size, port, cases, str(folder)), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * size
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[float]]]:
    folder = tmp_path_factory.mktemp("two")
    write_toy(folder / TOY)
    found = together(2, dict.fromkeys(CASES, 31), folder)
    names = {path.name.split("-")[-1] for path in (folder / TOY).glob("runs/toy/*/*")}
    assert names == {CURVE, MODEL, RECORD, SCORES, VAL_SCORES, WEIGHTS, RUN_LOCK, "manifest.json"}
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_lose_what_one_loses(case: str, two: list[dict[str, list[float]]]) -> None:
    one = losses(case, 31)
    assert len(one) >= STEPS // 2
    assert two[0][case] == two[1][case]
    np.testing.assert_allclose(two[0][case], one, rtol=0, atol=1e-5)


def test_a_run_of_two_ranks_has_one_record(
    two: list[dict[str, list[float]]], tmp_path: Path
) -> None:
    write_toy(tmp_path)
    assert two[0]["runs"] == two[1]["runs"]
    first, again, _ = two[0]["runs"]
    assert first == again
    alone, _, _ = whole_runs(tmp_path)
    assert first == pytest.approx(alone, abs=0.02)  # a pair of videos may change places


def test_a_rank_without_a_video_takes_part(tmp_path: Path) -> None:
    """18 videos in batches of 16: of the last two, one of three ranks has none."""
    found = together(3, {"meid": 18}, tmp_path)
    np.testing.assert_allclose(found[0]["meid"], losses("meid", 18), rtol=0, atol=1e-5)
    # Two rows of three columns, of which the first rank has none.
    assert found[0]["norm"] == pytest.approx([-1, -1, 1, 1, 1, -1], abs=1e-3)


def test_sums_gathers_and_randomness_are_those_of_one_process(
    two: list[dict[str, list[float]]],
) -> None:
    assert two[0]["pieces"] == two[1]["pieces"]
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.arange(5.0).view(5, 1, 1), torch.zeros(5, 1), None, generator)
    partner, chance = batch.shuffled(), batch.uniform()
    order = partner.features.flatten().tolist()
    # d/drow of (1 + 2) times the weighted sum; d/dx of (1 + 2) times the squared sum of 1 and 2.
    expected = [*range(5), *(3.0 * w for w in range(1, 6)), 3 * 2 * 3.0]
    assert two[0]["pieces"] == [*expected, *order, *order, *chance.tolist()]


def test_batch_norm_of_one_rank_is_torchs(  # several ranks: the cases with norms above
) -> None:
    torch.manual_seed(0)
    x = torch.randn(12, 5) * 3 + 100
    ours, theirs = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
    box = nn.Sequential(ours)
    normalise_over_ranks(box)
    assert isinstance(box[0], RankBatchNorm)
    for _ in range(3):
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours(x.view(6, 5, 2)), theirs(x.view(6, 5, 2)))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_batch_norm_of_its_own_kind_is_refused() -> None:
    class Mine(nn.BatchNorm1d):
        pass

    with pytest.raises(MethodError, match=r"0 is a Mine, .* use torch's own"):
        normalise_over_ranks(nn.Sequential(Mine(3)))


@pytest.mark.parametrize("total", [0, 1, 5, 16])
def test_shares_cover_everything_once(total: int) -> None:
    parts = [rank_slice(total, number, 3) for number in range(3)]
    assert [row for part in parts for row in range(total)[part]] == list(range(total))
    assert max(p.stop - p.start for p in parts) - min(p.stop - p.start for p in parts) <= 1


def test_ranks_are_read_from_torchrun() -> None:
    assert find_ranks({}) == Ranks()
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert find_ranks(torchrun) == Ranks(5, 8, 1, 4)
    with pytest.raises(SettingError, match="WORLD_SIZE are 8 and 8; expected a rank of 0 to 7"):
        find_ranks(torchrun | {"RANK": "8"})
    with pytest.raises(SettingError, match=r"WORLD_SIZE are one and 8, .* start with torchrun"):
        find_ranks(torchrun | {"RANK": "one"})


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def sbatch(ntasks: int, nodes: str) -> dict[str, str]:
    """What a batch script sees: the job's sizes, and a PROCID although srun started nothing."""
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": str(ntasks), "SLURM_TASKS_PER_NODE": nodes}
    first = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_GTIDS": "0"}
    return {**job, "SLURM_NPROCS": str(ntasks), "SLURM_JOB_NUM_NODES": "2", **first}


def srun(job: dict[str, str], rank: int, counts: list[int], nodes: str) -> dict[str, str]:
    """What task `rank` of a step sees, with `counts` tasks on its machines."""
    machine = next(m for m in range(len(counts)) if rank < sum(counts[: m + 1]))
    step = {"SLURM_STEP_ID": "0", "SLURM_STEPID": "0", "SLURM_STEP_NUM_TASKS": str(sum(counts))}
    step |= {"SLURM_NTASKS": str(sum(counts)), "SLURM_STEP_TASKS_PER_NODE": nodes}
    place = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank - sum(counts[:machine])}
    return {**job, **step, **{k: str(v) for k, v in place.items()}, "SLURM_NODEID": str(machine)}


@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_ID": "4294967291"}, {"SLURM_STEPID": "-5"}])
def test_a_command_in_a_batch_script_is_alone(step: dict[str, str]) -> None:
    """`run --method all` silently did one eighth of its runs."""
    assert find_ranks(sbatch(8, "4(x2)") | step) == Ranks()


@pytest.mark.parametrize(
    ("nodes", "counts"), [("4", [4]), ("2(x2)", [2, 2]), ("3,1", [3, 1]), ("2(x2),1", [2, 2, 1])]
)
def test_tasks_of_srun_know_who_is_on_their_machine(nodes: str, counts: list[int]) -> None:
    """Without --ntasks-per-node each believed that it had the machine's memory to itself."""
    job, size = sbatch(8, "4(x2)"), sum(counts)
    found = [find_ranks(srun(job, rank, counts, nodes)) for rank in range(size)]
    wanted = [Ranks(0, size, task, count) for count in counts for task in range(count)]
    assert found == [replace(ranks, rank=rank) for rank, ranks in enumerate(wanted)]


def test_a_step_within_torchrun_and_a_step_of_one() -> None:
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert find_ranks(srun(sbatch(8, "8"), 0, [1], "1") | torchrun) == Ranks(1, 2, 1, 2)
    assert find_ranks(srun(sbatch(8, "8"), 0, [1], "1")) == Ranks()
    older = {"SLURM_STEPID": "3", "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "2"}
    assert find_ranks(older | {"SLURM_TASKS_PER_NODE": "4"}) == Ranks(2, 4, 2, 4)
    with pytest.raises(SettingError, match="SLURM_PROCID and SLURM_STEP_NUM_TASKS are 9 and 4"):
        find_ranks(older | {"SLURM_PROCID": "9"})


def test_a_rank_says_that_it_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("meid_bench.distributed.SAY_AFTER", 0.05)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    sentence = (
        r"Rank 0 of 2 waits for the others at 127\.0\.0\.1:\d+, and not all came \(.*\); start 2"
    )
    with (
        pytest.raises(SettingError, match=sentence),
        joined(Ranks(0, 2), CPU, timedelta(seconds=1)),
    ):
        pass
    assert "Rank 0 of 2 waits for the others at 127.0.0.1" in caplog.text


def test_ranks_that_cannot_meet_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(SettingError, match="MASTER_ADDR"), joined(Ranks(0, 2), CPU):
        pass
