"""For tests and the examples of docstrings alike: no draw of one depends on which ran before it.

Each generation's adapter can only be imported where that solo-learn is installed.
"""

import os

import pytest

from solo_intl.detect import HEAD, find_host

# two workers and the processes that their tests start would only wait for each other's threads;
# OpenMP reads this once, as torch is imported: nothing above may import it
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

collect_ignore_glob = (
    ["solo_intl/host/legacy*.py"] if find_host().generation == HEAD else ["solo_intl/host/head.py"]
)


@pytest.fixture(autouse=True)
def _same_draws_alone_and_in_the_suite() -> None:
    import torch

    torch.manual_seed(0)
