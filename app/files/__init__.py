"""The state of each file, derived from its processed events."""
