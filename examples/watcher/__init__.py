"""The parts of `watch_folder.py`, an example client of Sync Service that keeps it told about one folder."""

import sys
from pathlib import Path

# The client lies beside the folder of the examples.
sys.path.append(str(Path(__file__).parents[2]))
