"""Webhooks: tells every subscriber of every event, signed, in order per file."""
