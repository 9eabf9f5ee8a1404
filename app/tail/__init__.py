"""`python -m app tail`: the feed in a terminal."""
