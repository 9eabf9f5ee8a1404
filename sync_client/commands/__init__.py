"""Commands for the terminal: `syncctl`, and parts that `python -m app` shares with it."""
