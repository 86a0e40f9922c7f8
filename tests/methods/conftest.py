"""Helpers beside the tests are plain modules; a package called "tests" may belong to somebody else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
