"""LMR: parity with its authors' two codes, and our rules for videos with several labels."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.lmr import LMR, LMRConfig, rebuilt, rebuilt_shares
from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.method import Batch, Task
from meid_bench.methods.settings import changed
from tests.methods.closed_form import wave
from tests.small_methods import toy_method

COUNTS = (400, 90, 21, 20, 6, 1)
CLASS = torch.tensor([0, 3, 2, 5, 1, 4, 0, 5])  # of eight videos with one label each
VECTORS = wave(8, 6, start=1.0)
GROUPS = {"head": (0,), "medium": (1, 2), "tail": (3, 4, 5)}

# simple_example.py of lmr-release at a85ab2a: its epsilon is ours times decay, and it has no h.
EXAMPLE = {"weakest": 0.0, "epsilon": 5.0}
SHARES = [0.0, 0.02643908, 0.084724814, 0.087774195, 0.205882147, 0.6]
REBUILT = [
    [0.841470957, 0.989906073, 0.636222959, -0.075335905, -0.762007356, -0.993666053],
    [-0.558621645, 0.259015381, 0.887842953, 0.817979991, 0.092131495, -0.717443824],
    [-0.871731341, -0.16956836, 0.69319582, 0.833354592, 0.112072736, -0.736380994],
    [-0.517166257, 0.318315744, 0.761926949, 0.248705193, -0.442082018, -0.535532773],
    [0.143245369, 0.987631559, 0.292690217, -0.877645254, -0.581224144, 0.71186018],
    [0.56210196, -0.372763813, -0.537953079, 0.431347817, 0.60411942, -0.50708431],
    [-0.804181516, 0.655393004, 0.683020294, -0.812897623, -0.44885397, 0.960144162],
    [-0.131193936, -0.128390551, 0.531476617, 0.338694781, -0.527744174, -0.257547736],
]
# pairwise_mix of these, its draws replaced by RAND, ALPHA and BETA.
RAND = torch.tensor([0.7, 0.2, 0.9, 0.4, 0.6, 0.1, 0.8, 0.55])
ALPHA = torch.tensor([0.3, 0.9, 0.05, 0.5, 0.77, 0.2, 0.61, 0.99])
BETA = torch.tensor([3, 0, 5, 3, 7, 1, 2, 6])
MIXED = {
    0: [-0.109575085, 0.519792855, 0.724215746, 0.151492864, -0.538059652, -0.672972739],
    1: REBUILT[1],
    2: [0.490410298, -0.362604022, -0.476395637, 0.451448143, 0.579517066, -0.518549144],
    3: REBUILT[3],
    4: [0.080124326, 0.730946481, 0.347611099, -0.597887039, -0.568923771, 0.48889631],
    5: REBUILT[5],
    6: [-0.830525935, 0.333658069, 0.686988771, -0.170859292, -0.230092555, 0.298499376],
    7: [-0.137923807, -0.120552726, 0.532992065, 0.327178866, -0.526955247, -0.245370835],
}
MIXED_LABELS = {  # video -> class -> label
    0: {0: 0.3, 5: 0.7}, 1: {3: 1.0}, 2: {2: 0.05, 4: 0.95}, 3: {5: 1.0},
    4: {1: 0.77, 5: 0.23}, 5: {4: 1.0}, 6: {0: 0.61, 2: 0.39}, 7: {0: 0.01, 5: 0.99},
}  # fmt: skip
# VisionTransformer.forward with videos 1 and 4 having a second, rarer label: rows 1, 3, 4, 7.
FORWARD = {
    (0.6, 0.001, 0.25): [
        [-0.558441877, 0.259092391, 0.887605369, 0.817395806, 0.091817133, -0.717126191],
        [-0.517166317, 0.318315715, 0.761927009, 0.248705238, -0.442082047, -0.535532832],
        [0.142833531, 0.987295806, 0.293060929, -0.877111256, -0.581115603, 0.711235166],
        [-0.131193921, -0.12839064, 0.531476557, 0.338694811, -0.527744234, -0.257547736],
    ],
    (1.0, 0.01, 0.15): [
        [-0.540364385, 0.266833663, 0.863712132, 0.758657694, 0.060212322, -0.685189903],
        [-0.287834227, 0.435224473, 0.6193313, 0.061430927, -0.306890935, -0.282491982],
        [0.131975934, 0.978444219, 0.302834272, -0.863033712, -0.578253746, 0.6947577],
        [-0.268659621, 0.444259524, 0.614360571, 0.056981873, -0.312291771, -0.287110299],
    ],
}


def golden_method(counts: tuple[int, ...] = COUNTS, **settings: Any) -> LMR:
    make = aggregator_maker("nonlinear", NonlinearConfig(), 1)
    method = LMR(Task(6, counts, GROUPS, 1, 8), changed(LMRConfig(), settings), make)
    method.begin_stage(method.stages()[1])
    return method


def close(found: Tensor, expected: object, atol: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=atol)


def test_parity_with_the_simple_example() -> None:
    method = golden_method(**EXAMPLE)
    close(method.strength, SHARES)
    close(rebuilt(VECTORS, *method.roles(F.one_hot(CLASS, 6).float())), REBUILT)


@dataclass
class Drawn(Batch):
    """A batch that draws what was drawn there."""

    def uniform(self, *shape: int) -> Tensor:
        assert shape == (3,)
        return torch.stack([1 - RAND, (BETA + 0.5) / 8, ALPHA], dim=1)


def test_parity_of_the_mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    method = golden_method(**EXAMPLE)
    labels = torch.zeros(8, 6)
    for video, of in MIXED_LABELS.items():
        for c, value in of.items():
            labels[video, c] = value
    logits = method.classifier(torch.tensor([MIXED[video] for video in range(8)]))
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    monkeypatch.setattr(LMR, "embedded", lambda self, x: x)
    batch = Drawn(VECTORS, F.one_hot(CLASS, 6).float(), None, torch.Generator())
    found = method.loss(batch, method.stages()[1], 0)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("settings", FORWARD)
def test_parity_with_their_network_on_several_labels(settings: tuple[float, float, float]) -> None:
    """Its `forward` alone ran, with our vectors as features, no bank, a norm without weights."""
    strongest, weakest, decay = settings
    counts = (*COUNTS[:5], 4) if decay == 0.15 else COUNTS  # with 1 its logarithm is negative
    same = {"strongest": strongest, "weakest": weakest, "decay": decay, "counted": "first"}
    labels = F.one_hot(CLASS, 6).float()
    labels[1, 5] = labels[4, 2] = 1
    found = rebuilt(VECTORS, *golden_method(counts, **same).roles(labels))
    close(found[[1, 3, 4, 7]], FORWARD[settings])


def test_the_rarest_label_says_how_much_and_one_frequent_label_makes_a_source() -> None:
    method = golden_method()
    labels = torch.tensor(
        [[1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    ).float()
    share, is_source = method.roles(labels)
    shares = method.strength
    assert torch.equal(share, torch.stack([shares[5], shares[4], shares[2], torch.tensor(0.0)]))
    assert is_source.tolist() == [True, False, True, False]
    first = golden_method(counted="first").roles(labels)
    assert torch.equal(first[0][:2], shares[[0, 3]]) and first[1].tolist()[:2] == [True, False]


def test_a_video_is_rebuilt_from_sources_other_than_itself() -> None:
    whole = torch.ones(8)
    is_source = torch.tensor([True, True, *[False] * 6])
    found = rebuilt(VECTORS, whole, is_source)
    close(found[0], VECTORS[1].tolist())
    close(found[1], VECTORS[0].tolist())
    mean = found[5]  # between the two
    inner = (mean - VECTORS[1]) / (VECTORS[0] - VECTORS[1])
    assert 0 < inner.mean() < 1 and inner.std() < 1e-4
    for sources in (torch.zeros(8, dtype=torch.bool), is_source & (torch.arange(8) < 1)):
        alone = rebuilt(VECTORS, whole, sources)
        assert torch.equal(alone[0], VECTORS[0])  # without another source it stays
    one = rebuilt(VECTORS[:1], whole[:1], is_source[:1])
    assert torch.equal(one, VECTORS[:1])


def test_shares_fall_from_the_rarest_class_to_the_most_frequent() -> None:
    shares = rebuilt_shares((500, 40, 9, 0), LMRConfig())
    assert shares[0] == pytest.approx(0.001) and shares[2] == pytest.approx(0.6)
    assert shares[3] == shares[2] > shares[1] > shares[0]
    assert rebuilt_shares((7, 7), LMRConfig()) == [0.001, 0.001]
    assert rebuilt_shares((0, 0), LMRConfig()) == [0.001, 0.001]


def test_a_decay_that_would_turn_the_order_round_is_refused() -> None:
    """With decay 0.15 a class of one video gives a negative logarithm, and the smallest share."""
    with pytest.raises(SettingError, match=r"decay is 0.15; it must be above 0.167 with these"):
        golden_method(decay=0.15)


@pytest.mark.parametrize("preset", LMR.presets)
def test_every_preset_is_of_its_settings(preset: str) -> None:
    assert toy_method("lmr", "nonlinear", LMR.presets[preset]).stages()[1].name == "classifier"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"strongest": 1.5}, "strongest is 1.5"),
        ({"mixed": -0.1}, "mixed is -0.1"),
        ({"decay": 0.0}, "decay is 0.0; it must be above 0"),
        ({"epsilon": -1.0}, "epsilon is -1.0"),
        ({"omega": -1}, "omega is -1"),
        ({"counted": "last"}, "counted"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        changed(LMRConfig(), settings)
