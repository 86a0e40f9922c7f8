"""Lets the tests of the theory import what they share, properties.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
