"""Sync Service: the event backbone of a distributed file system."""
