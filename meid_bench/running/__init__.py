"""Around a run: requests and plans, records, many runs, protocols, the paper's tables."""
