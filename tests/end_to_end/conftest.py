"""A small trained run. CIFAR's on-disk writer is shared with the data tests; a package `tests` comes with
solo-learn's wheels, so shared modules are found by their folder."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "data")]

from small_run import SMALL  # noqa: E402

from solo_intl.cli import main  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of one small pre-training run on digits."""
    place = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
        assert main(["pretrain", *SMALL]) == 0
    return place
