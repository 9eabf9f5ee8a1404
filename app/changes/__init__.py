"""The change feed: every event in order, by pages, by long poll and as a stream."""
