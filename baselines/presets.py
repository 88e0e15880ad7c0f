"""Presets: what MEID's authors' scripts give every baseline alike on the Charades benchmarks."""

from typing import Any

# charades_baseline.sh, charades_framestack.sh, ops/feature_loader.py and models/net_module.py of
# github.com/abcdvzz/MEID at be39ade. Their epoch is the best on the test list, of every fifth; here
# it is chosen on val.
AUTHORS: dict[str, Any] = {
    "lr": 1e-4,
    "batch": 1024,
    "with_replacement": True,
    "aggregator.form": "meid",
}
