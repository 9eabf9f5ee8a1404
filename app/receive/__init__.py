"""`python -m app receive`: a receiver of webhooks in a terminal, to try them out."""
