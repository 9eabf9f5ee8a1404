"""Sending HTTP requests to others: addresses, connections, secrets, signatures."""
