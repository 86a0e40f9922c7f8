"""CIFAR's on-disk writer is shared with the data tests; a package `tests` comes with solo-learn's wheels."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
