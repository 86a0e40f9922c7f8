from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Helpers beside the tests are plain modules; a package called "tests" may belong to somebody else.
sys.path.insert(0, str(Path(__file__).parent))

collect_ignore = ["record_2021.py"]  # imports what only the stack of 2021 has


@pytest.fixture
def default_dtype(request: pytest.FixtureRequest) -> Iterator[None]:
    """``@pytest.mark.parametrize("default_dtype", [...], indirect=True)``: every new tensor has this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)
    gc.collect()  # model and Trainer refer to each other, and a ResNet-18 in float64 is 90 MB
