"""Shared by the whole suite.

The suite runs on one host; SOLO_EXPECT=head|1.0.2 makes a wrong or missing one fail here, never skip.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from solo_intl.host import HOST
from solo_intl.register import register

register()


def pytest_report_header(config: pytest.Config) -> str:
    return f"host: {HOST}"


@pytest.fixture(autouse=True)
def _no_run_folder_left_from_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)


VIEW: dict[str, Any] = {
    "rrc": {"enabled": True, "crop_min_scale": 0.5, "crop_max_scale": 1.0},
    "color_jitter": {"prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1},
    "grayscale": {"prob": 0.2},
    "gaussian_blur": {"prob": 0.5},
    "solarization": {"prob": 0.2},
    "equalization": {"prob": 0.1},
    "horizontal_flip": {"prob": 0.5},
    "crop_size": 16,
    "num_crops": 2,
}


@pytest.fixture
def make_cfg(tmp_path: Path) -> Callable[..., DictConfig]:
    """A composed configuration, as Hydra would hand it over, small enough for one quick step on digits."""

    def make(**overrides: Any) -> DictConfig:
        cfg = OmegaConf.create(
            {
                "method": "intl",
                "seed": 0,
                "backbone": {"name": "resnet18", "kwargs": {}, "stem_stride": 2},
                "method_kwargs": {"proj_hidden_dim": 32, "proj_output_dim": 64},
                "data": {"dataset": "digits", "max_images": 32, "num_workers": 0},
                "augmentations": [VIEW],
                "optimizer": {
                    "name": "sgd",
                    "batch_size": 16,
                    "lr": 0.3,
                    "classifier_lr": 0.1,
                    "weight_decay": 1e-4,
                },
                "scheduler": {"name": "warmup_cosine", "warmup_epochs": 0},
                "checkpoint": {"enabled": True, "dir": str(tmp_path / "runs")},
                "max_epochs": 1,
                "devices": "1",
                "accelerator": "cpu",
                "precision": "32-true",
            }
        )
        for key, value in overrides.items():
            OmegaConf.update(cfg, key.replace("__", "."), value, merge=False, force_add=True)
        return cfg

    return make
