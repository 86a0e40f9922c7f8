"""The 14 cells of Table D and the six views of Table B in the shipped ImageNet YAML, one test per value.

Claims: there is one file for each cell and none besides; method, momentum coefficients, epochs, base learning
rate, batch, network and views are the paper's; beyond those a file is the plain one of the same length; the
linear protocol after EMA with multi-crop starts from 0.4. Fashion-MNIST's multi-crop is Table B at an eighth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "pretrain" / "imagenet"

# row of Table D -> (file name, method, views, batch, {epochs: base lr}); the empty cells are left out
TABLE_D: dict[str, tuple[str, str, int, int, dict[int, float]]] = {
    "plain": ("intl", "intl", 2, 512, {100: 0.5, 200: 0.4, 400: 0.4, 800: 0.3}),
    "EMA": ("intl_ema", "intl_ema", 2, 256, {100: 0.5, 200: 0.4, 800: 0.3}),
    "multi-crop": ("intl_multicrop", "intl", 6, 256, {100: 0.5, 200: 0.4, 400: 0.4}),
    "both": ("intl_ema_multicrop", "intl_ema", 6, 256, {100: 0.5, 200: 0.4, 400: 0.4, 800: 0.3}),
}
# name in the paper -> (key of a view, its six values)
TABLE_B: dict[str, tuple[str, tuple[Any, ...]]] = {
    "crop size": ("crop_size", (224, 224, 192, 160, 128, 96)),
    "maximum scale of crops": ("rrc.crop_max_scale", (1.0, 1.0, 0.857, 0.714, 0.571, 0.429)),
    "minimum scale of crops": ("rrc.crop_min_scale", (0.2, 0.2, 0.171, 0.143, 0.114, 0.086)),
    "brightness": ("color_jitter.brightness", (0.4,) * 6),
    "contrast": ("color_jitter.contrast", (0.4,) * 6),
    "saturation": ("color_jitter.saturation", (0.2,) * 6),
    "hue": ("color_jitter.hue", (0.1,) * 6),
    "color jitter prob": ("color_jitter.prob", (0.8,) * 6),
    "horizontal flip prob": ("horizontal_flip.prob", (0.5,) * 6),
    "gaussian prob": ("gaussian_blur.prob", (0.5,) * 6),
    "solarization prob": ("solarization.prob", (0.1,) * 6),
    # not in the table
    "grayscale prob": ("grayscale.prob", (0.2,) * 6),
    "equalization prob": ("equalization.prob", (0.0,) * 6),
    "random resized crop": ("rrc.enabled", (True,) * 6),
    "crops per entry": ("num_crops", (1,) * 6),
}
SECTION_E2 = {
    "backbone.name": "resnet50",
    "backbone.kwargs.zero_init_residual": True,
    "method_kwargs.proj_hidden_dim": 8192,
    "method_kwargs.proj_output_dim": 8192,
    "method_kwargs.iterations": 4,
    "method_kwargs.beta": None,
    "method_kwargs.axis": "channel",
    "optimizer.name": "sgd",
    "optimizer.kwargs.momentum": 0.9,
    "optimizer.weight_decay": 1e-5,
    "optimizer.exclude_bias_n_norm_wd": True,
    "scheduler.name": "warmup_cosine",
    "scheduler.warmup_epochs": 2,
    "scheduler.warmup_start_lr": 0.0,
    "precision": "16-mixed",
}
CELLS = [(row, epochs) for row, (*_, rates) in TABLE_D.items() for epochs in rates]
CHANGED = {"name", "method", "momentum", "augmentations"}  # and optimizer.batch_size


def file_of(row: str, epochs: int) -> str:
    return f"pretrain/imagenet/{TABLE_D[row][0]}_{epochs}ep.yaml"


def values() -> Iterator[Any]:
    for row, epochs in CELLS:
        _, method, views, batch, rates = TABLE_D[row]
        table = {
            **SECTION_E2,
            "method": method,
            "momentum.base_tau": 0.996 if method == "intl_ema" else "absent",
            "momentum.final_tau": 1.0 if method == "intl_ema" else "absent",
            "max_epochs": epochs,
            "optimizer.lr": rates[epochs],
            "optimizer.batch_size": batch,
        }
        if views == 6:
            for key, six in TABLE_B.values():
                table.update({f"augmentations[{i}].{key}": value for i, value in enumerate(six)})
        for key, value in table.items():
            yield pytest.param(file_of(row, epochs), key, value, id=f"{row}-{epochs}-{key}")


def test_there_are_fourteen_cells_and_a_file_for_each() -> None:
    assert len(CELLS) == 14
    files = {f"pretrain/imagenet/{path.name}" for path in FOLDER.glob("*.yaml")}
    assert files == {file_of(*cell) for cell in CELLS}


@pytest.mark.parametrize(("file", "key", "expected"), list(values()))
def test_cell(composed: Callable[..., DictConfig], file: str, key: str, expected: Any) -> None:
    found = OmegaConf.select(composed(file), key, throw_on_missing=True, default="absent")
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("row", "epochs"), CELLS)
def test_nothing_else_differs_from_the_plain_form(
    composed: Callable[..., DictConfig], row: str, epochs: int
) -> None:
    cfg, plain = composed(file_of(row, epochs)), composed(file_of("plain", epochs))
    assert len(cfg.augmentations) == TABLE_D[row][2]
    if len(cfg.augmentations) == 2:
        assert cfg.augmentations == plain.augmentations  # Table A
    plain.optimizer.batch_size = cfg.optimizer.batch_size
    assert {k: v for k, v in cfg.items() if k not in CHANGED} == {
        k: v for k, v in plain.items() if k not in CHANGED
    }


def test_every_run_has_a_name_of_its_own(composed: Callable[..., DictConfig]) -> None:
    assert len({composed(file_of(*cell)).name for cell in CELLS}) == 14


def test_linear_after_ema_and_multicrop(composed: Callable[..., DictConfig]) -> None:
    cfg, plain = composed("linear/imagenet/intl_ema_multicrop.yaml"), composed("linear/imagenet/intl.yaml")
    assert (cfg.optimizer.lr, plain.optimizer.lr) == (0.4, 0.2)
    assert cfg.pretrain_method == "intl_ema"
    plain.optimizer.lr = 0.4
    same = [key for key in cfg if key not in ("name", "pretrain_method")]
    assert {key: cfg[key] for key in same} == {key: plain[key] for key in same}


@pytest.mark.parametrize(("form", "method"), [("multicrop", "intl"), ("ema_multicrop", "intl_ema")])
def test_fashion_mnist_is_table_b_at_an_eighth(
    composed: Callable[..., DictConfig], form: str, method: str
) -> None:
    cfg = composed(f"pretrain/fashion-mnist/intl_{form}.yaml")
    assert cfg.method == method
    own = composed("pretrain/fashion-mnist/intl.yaml").augmentations[0].rrc.crop_min_scale
    views = zip(*(six for _, six in list(TABLE_B.values())[:3]), strict=True)
    assert len(cfg.augmentations) == 6
    for view, (size, most, least) in zip(cfg.augmentations, views, strict=True):
        assert view.crop_size == size / 8
        assert view.rrc.crop_max_scale == most
        assert view.rrc.crop_min_scale == pytest.approx(own * least / 0.2, abs=2e-3)
