"""The shipped YAML against the paper, one test per cell.

Claims: every value of Tables A, C, E and F and of the ImageNet settings (section E.2) is in the composed
configs, and so are the linear, semi-supervised and k-NN protocols (sections E.2, E.3). What the paper
leaves out and its public code settles stands in tables of its own. "Projection layers: 3" is no key: the
method fixes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

# name in the paper -> (key in the YAML, value)
Table = dict[str, tuple[str, Any]]

IMAGENET_FILES = {epochs: f"pretrain/imagenet/intl_{epochs}ep.yaml" for epochs in (100, 200, 400, 800)}
CIFAR, IMAGENET_100 = "pretrain/cifar/intl.yaml", "pretrain/imagenet-100/intl.yaml"

# name in the paper -> (key of one view, T1, T2)
TABLE_A: dict[str, tuple[str, Any, Any]] = {
    "crop size": ("crop_size", 224, 224),
    "maximum scale of crops": ("rrc.crop_max_scale", 1.0, 1.0),
    "minimum scale of crops": ("rrc.crop_min_scale", 0.08, 0.08),
    "brightness": ("color_jitter.brightness", 0.4, 0.4),
    "contrast": ("color_jitter.contrast", 0.4, 0.4),
    "saturation": ("color_jitter.saturation", 0.2, 0.2),
    "hue": ("color_jitter.hue", 0.1, 0.1),
    "color jitter prob": ("color_jitter.prob", 0.8, 0.8),
    "horizontal flip prob": ("horizontal_flip.prob", 0.5, 0.5),
    "gaussian prob": ("gaussian_blur.prob", 1.0, 0.1),
    "solarization prob": ("solarization.prob", 0.0, 0.2),
}
TABLE_F: dict[str, tuple[str, Any, Any]] = {
    "crop size": ("crop_size", 32, 32),
    "maximum scale of crops": ("rrc.crop_max_scale", 1.0, 1.0),
    "minimum scale of crops": ("rrc.crop_min_scale", 0.08, 0.08),
    "brightness": ("color_jitter.brightness", 0.4, 0.4),
    "contrast": ("color_jitter.contrast", 0.4, 0.4),
    "saturation": ("color_jitter.saturation", 0.2, 0.2),
    "hue": ("color_jitter.hue", 0.1, 0.1),
    "color jitter prob": ("color_jitter.prob", 0.8, 0.8),
    "horizontal flip prob": ("horizontal_flip.prob", 0.5, 0.5),
    "gaussian prob": ("gaussian_blur.prob", 0.0, 0.0),
    "solarization prob": ("solarization.prob", 0.0, 0.2),
}
# Not in Tables A and F.
VIEWS_FROM_CODE: dict[str, tuple[str, Any, Any]] = {
    "grayscale prob": ("grayscale.prob", 0.2, 0.2),
    "equalization prob": ("equalization.prob", 0.0, 0.0),
    "random resized crop": ("rrc.enabled", True, True),
    "crops per entry": ("num_crops", 1, 1),
}

SCHEDULE: Table = {
    "optimizer": ("optimizer.name", "sgd"),
    "SGD momentum": ("optimizer.kwargs.momentum", 0.9),
    "learning rate warm-up": ("scheduler.warmup_epochs", 2),
    "learning rate schedule": ("scheduler.name", "warmup_cosine"),
}
TABLE_C: Table = {
    "max epoch": ("max_epochs", 400),
    "backbone": ("backbone.name", "resnet18"),
    "projection hidden dimension": ("method_kwargs.proj_hidden_dim", 4096),
    "projection output dimension": ("method_kwargs.proj_output_dim", 4096),
    "learning rate": ("optimizer.lr", 0.5),
    "weight decay": ("optimizer.weight_decay", 2.5e-5),
    "batch size": ("optimizer.batch_size", 128),
    **SCHEDULE,
}
TABLE_E: Table = {
    "max epoch": ("max_epochs", 1000),
    "backbone": ("backbone.name", "resnet18"),
    "projection hidden dimension": ("method_kwargs.proj_hidden_dim", 2048),
    "projection output dimension": ("method_kwargs.proj_output_dim", 2048),
    "learning rate": ("optimizer.lr", 0.3),
    "weight decay": ("optimizer.weight_decay", 1e-4),
    "batch size": ("optimizer.batch_size", 256),
    **SCHEDULE,
}
# Section E.2; the batch is Table D's for plain INTL.
IMAGENET: Table = {
    "backbone": ("backbone.name", "resnet50"),
    "projection hidden dimension": ("method_kwargs.proj_hidden_dim", 8192),
    "projection output dimension": ("method_kwargs.proj_output_dim", 8192),
    "weight decay": ("optimizer.weight_decay", 1e-5),
    "batch size, Table D": ("optimizer.batch_size", 512),
    **SCHEDULE,
}
IMAGENET_BASE_LR = {100: 0.5, 200: 0.4, 400: 0.4, 800: 0.3}

METHOD: Table = {
    "method": ("method", "intl"),
    "iterations T": ("method_kwargs.iterations", 4),
    "beta by the rule": ("method_kwargs.beta", None),
    "channel whitening": ("method_kwargs.axis", "channel"),
    "warm-up starts at": ("scheduler.warmup_start_lr", 0.0),
    "schedule per step": ("scheduler.interval", "step"),
}
CIFAR_FROM_CODE: Table = {
    "decay on one-dimensional parameters excluded": ("optimizer.exclude_bias_n_norm_wd", False),
    "zero-init residual": ("backbone.kwargs.zero_init_residual", False),
    "precision": ("precision", "32-true"),
}
IMAGENET_100_FROM_CODE: Table = {
    "decay on one-dimensional parameters excluded": ("optimizer.exclude_bias_n_norm_wd", True),
    "zero-init residual": ("backbone.kwargs.zero_init_residual", False),
    "precision": ("precision", "16-mixed"),
}
IMAGENET_FROM_CODE: Table = {
    "decay on one-dimensional parameters excluded": ("optimizer.exclude_bias_n_norm_wd", True),
    "zero-init residual": ("backbone.kwargs.zero_init_residual", True),
    "precision": ("precision", "16-mixed"),
}

LINEAR_SGD: Table = {
    "protocol": ("protocol", "sgd"),
    "optimizer": ("optimizer.name", "sgd"),
    "epochs": ("max_epochs", 100),
    "base lr": ("optimizer.lr", 0.2),
    "batch size": ("optimizer.batch_size", 256),
    "weight decay": ("optimizer.weight_decay", 0),
    "SGD momentum": ("optimizer.kwargs.momentum", 0.9),
    "scheduler": ("scheduler.name", "step"),
    "drops at the last 40 and 20 epochs": ("scheduler.lr_decay_steps", [60, 80]),
}
LINEAR_ADAM: Table = {
    "protocol": ("protocol", "adam"),
    "optimizer": ("optimizer.name", "adam"),
    "epochs": ("max_epochs", 500),
    "first lr": ("optimizer.lr", 1e-2),
    "last lr": ("optimizer.final_lr", 1e-6),
    "weight decay": ("optimizer.weight_decay", 5e-6),
    "batch size": ("optimizer.batch_size", 1000),
}
# Sections E.2 and, for EMA with multi-crop, its last paragraph; base rates of backbone and classifier.
FINETUNE: Table = {
    "epochs": ("max_epochs", 20),
    "optimizer": ("optimizer.name", "sgd"),
    "base lr of the classifier": ("optimizer.classifier_lr", 0.2),
    "batch size": ("optimizer.batch_size", 256),
    "weight decay": ("optimizer.weight_decay", 0),
    "SGD momentum": ("optimizer.kwargs.momentum", 0.9),
    "scheduler": ("scheduler.name", "warmup_cosine"),
    "no warm-up": ("scheduler.warmup_epochs", 0),
    "cosine to": ("scheduler.min_lr", 0.0),
    "from the checkpoint": ("from_scratch", False),
    "images of the run's seed": ("data.subset_seed", None),
    "crops": ("crop_min_scale", 0.08),
}
FINETUNE_FROM_CODE: Table = {
    "rate changes every": ("scheduler.interval", "epoch"),
    "precision": ("precision", "32-true"),
    "zero-init residual": ("backbone.kwargs.zero_init_residual", True),
}
# form -> base lr of the backbone; share of the labels by file name
FINETUNE_BACKBONE_LR = {"": 0.006, "intl_ema_multicrop_": 0.004}
LABELS = {"1percent": 0.01, "10percent": 0.1}
KNN: Table = {
    "k": ("k", 5),
    "distance": ("distance", "euclidean"),
    "vote": ("vote", "majority"),
}


def cells() -> Iterator[Any]:
    """Every (file, key, value) of the tables above, with the paper's own words as its test id."""

    def rows(table: str, file: str, entries: Table) -> Iterator[Any]:
        where = file.removesuffix(".yaml")
        for cell, (key, value) in entries.items():
            yield pytest.param(file, key, value, id=f"{table}-{where}-{cell}")

    def views(table: str, file: str, entries: dict[str, tuple[str, Any, Any]]) -> Iterator[Any]:
        for view in (0, 1):
            flat = {
                f"T{view + 1} {cell}": (f"augmentations[{view}].{key}", values[view])
                for cell, (key, *values) in entries.items()
            }
            yield from rows(table, file, flat)

    for file in (IMAGENET_100, *IMAGENET_FILES.values()):
        yield from views("Table A", file, TABLE_A)
    yield from views("Table F", CIFAR, TABLE_F)
    for file in (CIFAR, IMAGENET_100, *IMAGENET_FILES.values()):
        yield from views("views", file, VIEWS_FROM_CODE)
        yield from rows("method", file, METHOD)

    yield from rows("Table C", IMAGENET_100, TABLE_C)
    yield from rows("Table E", CIFAR, TABLE_E)
    yield from rows("public code", CIFAR, CIFAR_FROM_CODE)
    yield from rows("public code", IMAGENET_100, IMAGENET_100_FROM_CODE)
    for epochs, file in IMAGENET_FILES.items():
        schedule: Table = {
            "epochs": ("max_epochs", epochs),
            "base lr": ("optimizer.lr", IMAGENET_BASE_LR[epochs]),
        }
        yield from rows("ImageNet", file, {**IMAGENET, **schedule})
        yield from rows("public code", file, IMAGENET_FROM_CODE)

    for name in ("imagenet/intl", "imagenet-100/intl", "cifar/sgd"):
        yield from rows("linear, SGD", f"linear/{name}.yaml", LINEAR_SGD)
    yield from rows("linear, Adam", "linear/cifar/intl.yaml", LINEAR_ADAM)
    elsewhere: Table = {
        **LINEAR_ADAM,
        "batch size": ("optimizer.batch_size", "auto"),
    }  # the paper's is CIFAR's
    for name in ("digits/intl", "fashion-mnist/intl", "default"):
        yield from rows("linear, Adam", f"linear/{name}.yaml", elsewhere)
    for form, rate in FINETUNE_BACKBONE_LR.items():
        for share, fraction in LABELS.items():
            own: Table = {
                "base lr of the backbone": ("optimizer.lr", rate),
                "share of the labels": ("data.fraction", fraction),
                "backbone": ("backbone.name", "resnet50"),
                "pre-trained by": ("pretrain_method", "intl_ema" if form else "intl"),
            }
            file = f"finetune/imagenet/{form}{share}.yaml"
            yield from rows("semi-supervised", file, {**FINETUNE, **own})
            yield from rows("public code", file, FINETUNE_FROM_CODE)
    default: Table = {
        "base lr of the backbone": ("optimizer.lr", 0.006),
        "share of the labels": ("data.fraction", 0.1),
    }
    yield from rows("semi-supervised", "finetune/default.yaml", {**FINETUNE, **default})
    yield from rows("k-NN", "knn/default.yaml", KNN)


@pytest.mark.parametrize(("file", "key", "expected"), list(cells()))
def test_cell(composed: Callable[..., DictConfig], file: str, key: str, expected: Any) -> None:
    found = OmegaConf.select(composed(file), key, throw_on_missing=True, default="absent")
    if OmegaConf.is_config(found):
        found = OmegaConf.to_container(found)
    # The types too: "1e-4" left a string, or True for 1, would compare or fail in odd ways later.
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("share", "fraction"), LABELS.items())
def test_fashion_mnist_is_fine_tuned_at_the_papers_rates_per_step(
    composed: Callable[..., DictConfig], share: str, fraction: float
) -> None:
    cfg, paper = (composed(f"finetune/{place}/{share}.yaml") for place in ("fashion-mnist", "imagenet"))
    scale = cfg.optimizer.batch_size / 256
    assert (cfg.optimizer.lr * scale, cfg.optimizer.classifier_lr * scale) == (0.006, 0.2)
    assert cfg.data.fraction == fraction
    assert cfg.scheduler == paper.scheduler
    assert cfg.optimizer.kwargs == paper.optimizer.kwargs
    assert cfg.max_epochs == {"1percent": paper.max_epochs, "10percent": 10}[share]
    assert cfg.max_epochs % cfg.check_val_every_n_epoch == 0
    pretrained = composed("pretrain/fashion-mnist/intl.yaml")
    assert cfg.backbone == pretrained.backbone
    assert cfg.crop_min_scale == pretrained.augmentations[0].rrc.crop_min_scale


@pytest.mark.parametrize("file", [CIFAR, IMAGENET_100, *IMAGENET_FILES.values()])
def test_two_views(composed: Callable[..., DictConfig], file: str) -> None:
    assert len(composed(file).augmentations) == 2
