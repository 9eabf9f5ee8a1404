"""The background sweep over unprocessed events."""
