"""The benchmark suite: the service and its baselines, measured in the same run."""
