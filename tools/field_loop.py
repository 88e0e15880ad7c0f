"""A training loop of the kind in use in the field, to measure ours against.

One .npy file per video, loaded by a Dataset and picked by DataLoader workers; frames stacked and
classes drawn sample by sample in Python; float32, Adam as it comes, the loss read every step; the
Nonlinear classifier averaged after its last layer; AP by an argsort per class.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from meid_bench.methods.losses import focal_loss
from meid_bench.methods.method import Batch, Method, Stage

WORKERS = 2


class FieldNonlinear(nn.Module):
    """Two linear layers on each frame; logits are averaged over frames."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width_in, width_in)
        self.output = nn.Linear(width_in, width_out)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, width_out)."""
        logits: Tensor = self.output(self.dropout(torch.relu(self.hidden(x)))).mean(1)
        return logits


class NpyFolder(Dataset[tuple[Tensor, Tensor]]):
    """One video a file; balanced draws choose a class, then one of its videos."""

    def __init__(self, folder: Path, labels: NDArray[np.uint8], balanced: bool) -> None:
        self.folder, self.labels, self.balanced = folder, labels, balanced
        self.members = [np.flatnonzero(column) for column in labels.T]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Frames (T, D) float32 and labels (C,) float32."""
        if self.balanced:
            members: NDArray[np.int64] = np.empty(0, dtype=np.int64)
            while not len(members):
                members = self.members[np.random.randint(len(self.members))]
            index = int(np.random.choice(members))
        frames = np.load(self.folder / f"{index}.npy").astype(np.float32)
        return torch.from_numpy(frames), torch.from_numpy(self.labels[index].astype(np.float32))


class FieldLoop:
    """One stage of a method, trained the field's way.

    Args:
        method: Its stage has begun and its trainable parameters are selected.
        stage: The stage.
        folder: `<row>.npy` of each training video.
        labels: (N, C).
        batch: Videos a step.
        stacks: Whether frames of two videos are stacked.
        device: Where the method is.
    """

    def __init__(
        self,
        method: Method,
        stage: Stage,
        folder: Path,
        labels: NDArray[np.uint8],
        batch: int,
        stacks: bool,
        device: torch.device,
    ) -> None:
        self.method, self.stage, self.stacks, self.device = method, stage, stacks, device
        data = NpyFolder(folder, labels, stage.sampler == "class_balanced")
        self.loader = DataLoader(data, batch, shuffle=True, num_workers=WORKERS)
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=stage.lr)
        self.ap = np.full(labels.shape[1], 0.5)

    def epoch(self) -> float:
        """Train one epoch; returns the mean loss."""
        total, scores, targets = 0.0, [], []
        generator = torch.Generator(self.device)
        for frames, labels in self.loader:
            features, wanted = frames.to(self.device), labels.to(self.device)
            if self.stacks:
                features, mixed = stacked(features, wanted, self.ap)
                logits = self.method(features)
                scores.append(logits.detach().sigmoid().cpu().numpy())
                targets.append(labels.numpy())
                loss = focal_loss(logits, mixed, 1.0).mean()
            else:
                loss = self.method.loss(Batch(features, wanted, None, generator), self.stage, 0)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 20.0)
            self.optimiser.step()
            total += loss.item()
        if self.stacks:
            self.ap = np.nan_to_num(argsort_ap(np.concatenate(scores), np.concatenate(targets)))
        return total / len(self.loader)


def stacked(features: Tensor, labels: Tensor, ap: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """The first half of a batch stacked with partners, sample by sample."""
    frames = features.shape[1]
    out, mixed = features.clone(), labels.clone()
    half = len(features) // 2
    for row, partner in enumerate(np.random.permutation(half)):
        own = float((labels[row].cpu().numpy() * ap).mean())
        other = float((labels[partner].cpu().numpy() * ap).mean())
        share = own / (own + other) if own + other > 1e-5 else 0.5
        count = int(share * frames)
        first = np.linspace(0, frames - 1, count, dtype=np.int64)
        second = np.linspace(0, frames - 1, frames - count, dtype=np.int64)
        out[row] = torch.cat([features[partner][first], features[row][second]])
        mixed[row] = share * labels[partner] + (1 - share) * labels[row]
    return out, mixed


def argsort_ap(scores: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float64]:
    """AP of every class from the order of its scores; ties as they fall."""
    result = np.full(scores.shape[1], np.nan)
    for column in range(scores.shape[1]):
        hits = labels[np.argsort(-scores[:, column]), column]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            result[column] = precision[hits > 0].mean()
    return result
