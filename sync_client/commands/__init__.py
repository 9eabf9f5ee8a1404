"""Commands for the terminal: follow the feed, and receive webhooks to try them out."""
