"""Webhooks on their way: written, claimed, sent, settled, cleaned up."""
