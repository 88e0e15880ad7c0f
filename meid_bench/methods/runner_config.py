"""RunnerConfig: what the training loop is told, the same for every method; presets may set it."""

from dataclasses import dataclass

from meid_bench.methods.method import require


@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the runner, the same for every method.

    Attributes:
        batch: Videos a step.
        clip: Largest norm of the gradient.
        training_frames: Frames drawn of a video in each step; None for the benchmark's own rule.
        with_replacement: Whether they are drawn with replacement, as VideoLT's code does.

    Reference: VideoLT's scripts: batch 128, clip 20 (the paper names neither).
    """

    batch: int = 128
    clip: float = 20.0
    training_frames: int | None = None
    with_replacement: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.clip > 0, "clip", self.clip, "above 0")
        frames = self.training_frames
        require(frames is None or frames >= 1, "training_frames", frames, "at least 1, or none")
