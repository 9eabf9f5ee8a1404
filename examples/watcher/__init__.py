"""The parts of `watch_folder.py`, an example client that reports the changes of one folder to Sync Service."""

import sys
from pathlib import Path

# The client lies beside the folder of the examples.
sys.path.append(str(Path(__file__).parents[2]))
