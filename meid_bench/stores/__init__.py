"""Feature stores on the disk: shards, manifests, failures, checks, ways in and out."""
