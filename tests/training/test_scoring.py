"""AP on the device is the AP of the records, and scikit-learn's, ties included."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from meid_bench.results.metrics import average_precision
from meid_bench.training.scoring import device_average_precision


@pytest.mark.parametrize("levels", [3, 50, None], ids=["many ties", "some ties", "no ties"])
@pytest.mark.parametrize("positives", [1, 20, 400])
def test_it_is_scikit_learns(levels: int | None, positives: int) -> None:
    random = np.random.default_rng(positives)
    scores = random.random((500, 70)).astype(np.float32)
    if levels:
        scores = (np.round(scores * levels) / levels).astype(np.float32)
    labels = np.zeros((500, 70), dtype=np.uint8)
    for column in range(70):
        labels[random.choice(500, random.integers(1, positives + 1), replace=False), column] = 1
    found = device_average_precision(torch.from_numpy(scores), torch.from_numpy(labels).float())
    expected = [average_precision_score(labels[:, c], scores[:, c]) for c in range(70)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(found.numpy(), average_precision(scores, labels), atol=1e-6)


def test_a_class_without_positives_has_none_and_a_score_of_0_counts() -> None:
    labels = torch.tensor([[1, 0], [0, 0], [1, 0]])
    scores = torch.tensor([[0.0, 0.3], [0.5, 0.2], [1.0, 0.1]])
    found = device_average_precision(scores, labels)
    assert found[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found[1].isnan()
