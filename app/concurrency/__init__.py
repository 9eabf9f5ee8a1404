"""Building blocks for background tasks and for waiting."""
