"""The parts of `watch_folder.py`, an example client of Sync Service that keeps it told about one folder."""
