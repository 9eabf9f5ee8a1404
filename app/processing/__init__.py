"""The sweep: runs every handler over every event, exactly once."""
