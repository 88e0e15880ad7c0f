"""SRS: draw a class in proportion to the square root of its count, then one of its videos."""

from typing import ClassVar

from baselines.cbs import CBS
from meid_bench.methods.method import Sampler


class SRS(CBS):
    """Square-root sampling: a class by the square root of its count, then one of its videos.

    Reference:
        Kang et al. (ICLR 2020), eq. 1 with q = 1/2; VideoLT's ResamplingDataset_Mask with rstype
        "SRS" (ops/feature_loader.py at 1732d5c).

    Differs: As CBS.
    """

    sampler: ClassVar[Sampler] = "square_root"
    venue: ClassVar[str] = "ICLR 2020"
