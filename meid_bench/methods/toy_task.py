"""Toy task: long-tailed labels and frames of few numbers; a method is tried on it in seconds."""

import numpy as np
from numpy.typing import NDArray

from meid_bench.methods.method import Task

CLASSES, FRAMES, WIDTH = 6, 8, 16
TASK = Task(
    width=WIDTH,
    counts=(40, 30, 18, 12, 6, 4),
    groups={"head": (0, 1), "medium": (2, 3), "tail": (4, 5)},
    frames=FRAMES,
    videos=48,
)


def toy_labels(videos: int, seed: int) -> NDArray[np.uint8]:
    """Long-tailed multi-hot labels, (N, C); every class has a positive, every video a label."""
    random = np.random.default_rng(seed)
    labels = (random.random((videos, CLASSES)) < np.geomspace(0.6, 0.08, CLASSES)).astype(np.uint8)
    labels[np.arange(CLASSES), np.arange(CLASSES)] = 1
    labels[labels.sum(1) == 0, 0] = 1
    return labels


def toy_features(labels: NDArray[np.uint8], seed: int) -> NDArray[np.float16]:
    """Frames in which a class's direction shows in half of the frames, (N, T, D)."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(CLASSES, WIDTH))
    shows = random.random((len(labels), FRAMES, CLASSES)) < 0.5
    signal = (shows * labels[:, None, :]) @ directions
    noise = 0.5 * random.normal(size=(len(labels), FRAMES, WIDTH))
    return (signal + noise).astype(np.float16)
