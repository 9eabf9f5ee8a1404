"""The state of each file, as the processed events tell it."""
