"""Devices are chosen and named alike by every command."""

import pytest
import torch

from meid_bench.device import choose_device, choose_devices, describe, device_of_rank
from meid_bench.errors import SettingError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("gpu", "device", "message"),
    [
        ("x", None, "is no list of GPU numbers"),
        ("0,0", None, "is no list of GPU numbers"),
        ("", None, "is no list of GPU numbers"),
        ("-1", None, "is no list of GPU numbers"),
        ("64", None, "Device cuda:64 is not there"),
        (None, "gpu0", "There is no device 'gpu0'"),
        (None, "meta", "There is no device 'meta'"),
        ("0", "cpu", "exclude each other"),
    ],
)
def test_what_is_not_there_is_refused(gpu: str | None, device: str | None, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        choose_devices(gpu, device)


def test_the_named_device_is_taken() -> None:
    assert choose_devices(None, "cpu") == [CPU]
    assert choose_device(None, "cpu") == CPU
    assert describe(CPU).startswith("cpu (")


def test_the_first_gpu_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpus = [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert choose_devices() == gpus[:1]
    assert choose_devices("1,0") == gpus[::-1]
    with pytest.raises(SettingError, match="torchrun --nproc-per-node 2"):
        choose_device("0,1")
    assert device_of_rank([gpus[0]], named=False, local=3) == gpus[1]
    assert device_of_rank([gpus[0]], named=True, local=3) == gpus[0]
    assert device_of_rank(gpus, named=True, local=1) == gpus[1]
    assert device_of_rank([CPU], named=False, local=1) == CPU


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_devices() == [CPU]
