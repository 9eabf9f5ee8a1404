"""The benchmark suite: the service side by side with what it is compared with, in the same run."""
