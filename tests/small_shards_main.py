"""The command line with three videos a shard; `DIE_AT=RANK:COUNT` kills a rank at its n-th video.

Under torchrun: `torchrun --nproc-per-node 2 -m tests.small_shards_main extract ...`.
"""

import os
import signal
from typing import Any

from meid_bench.cli.main import main
from meid_bench.features import shard
from meid_bench.features.decode_pool import DecodePool
from tests.extraction import VIDEOS_PER_SHARD


def die_at(rank: int, count: int) -> None:
    """Kill this process, if it has that rank, when it takes that many decoded videos."""
    release, seen = DecodePool.release, 0

    def deadly(*arguments: Any) -> None:
        nonlocal seen
        seen += 1
        if seen >= count and os.environ.get("RANK") == str(rank):
            os.kill(os.getpid(), signal.SIGKILL)
        release(*arguments)

    DecodePool.release = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    shard.VIDEOS_PER_SHARD = VIDEOS_PER_SHARD
    if "DIE_AT" in os.environ:
        die_at(*map(int, os.environ["DIE_AT"].split(":")))
    main()
