"""One cell of a comparison: features of one network on one data set, judged by k-NN and a linear layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from solo_intl import host
from solo_intl.data import eval_transform, normalization, open_split
from solo_intl.engine.precision import uses_gpu
from solo_intl.engine.pretrain import prepare, pretrain
from solo_intl.engine.resume import readable, same_run
from solo_intl.engine.run_folder import read_json
from solo_intl.evaluation import (
    Features,
    adam_probe,
    extract_features,
    knn_accuracy,
    load_backbone,
    raw_pixel_features,
)

Accuracies = dict[str, float]  # "knn" and "linear", top-1 in percent
FEATURES_FILE, KEPT_IMAGES = "features.npz", 2000
_FIT = ("train_top1", "train_loss", "epochs", "batch_size")  # whether the layer had converged


class Judged(NamedTuple):
    """What features are worth, and how well the linear layer fitted those it was trained on."""

    accuracies: Accuracies
    layer: dict[str, Any]


def read_config(folder: Path, name: str, overrides: list[str] | None = None) -> DictConfig:
    """The configuration that ``--config-path FOLDER --config-name NAME`` would give."""
    with initialize_config_dir(str(folder), version_base="1.2"):
        return OmegaConf.create(host.plain(compose(name, overrides=overrides or [])))


def judge(train: Features, val: Features, seed: int, keep: Path | None = None, device: str = "cpu") -> Judged:
    """5-NN and the paper's CIFAR linear protocol (section E.3) on features of both splits.

    Fewer images than CIFAR's get its number of steps, in smaller batches.

    Args:
        train: features of the training split.
        val: features of the validation split.
        seed: of the linear layer's training.
        keep: a folder for ``features.npz``, validation features to draw later.
        device: where the linear layer is trained.
    """
    if keep is not None:
        keep_features(val, keep)
    layer = adam_probe(train, val, seed=seed, device=device, batch_size="auto").metrics
    accuracies = {"knn": float(knn_accuracy(train, val, k=5)["top1"]), "linear": float(layer["top1"])}
    return Judged(accuracies, {key: layer[key] for key in _FIT})


def device_of(cfg: DictConfig) -> str:
    """The one device that a cell's pre-training has, for its evaluation too."""
    if not uses_gpu(str(cfg.get("accelerator", "auto"))):
        return "cpu"
    devices = host.plain(cfg.get("devices"))
    return f"cuda:{devices[0] if isinstance(devices, list) else 0}"


def keep_features(val: Features, folder: Path) -> None:
    """Write ``index`` [k], ``x`` float16 [k, d] up to a common factor and ``y`` [k], k at most 2,000."""
    folder.mkdir(parents=True, exist_ok=True)
    index = np.unique(np.linspace(0, len(val.x) - 1, min(len(val.x), KEPT_IMAGES)).round().astype(int))
    x = val.x.numpy()[index]
    scaled = (x / max(float(np.abs(x).max()), np.finfo(np.float32).tiny)).astype(np.float16)
    np.savez_compressed(folder / FEATURES_FILE, index=index, x=scaled, y=val.y.numpy()[index])


def raw_pixels(cfg: DictConfig) -> tuple[Features, Features]:
    """Both splits with their pixels as features."""
    train, val = (raw_pixel_features(open_split(cfg.data, split)) for split in ("train", "val"))
    return train, val


def judge_network(cfg: DictConfig, backbone: nn.Module, keep: Path | None = None) -> Judged:
    """Judge a network's features under the evaluation transform of its configuration."""
    mean, std = normalization(cfg.data, cfg.augmentations)
    transform = eval_transform(cfg.augmentations[0].crop_size, mean, std)
    train, val = (
        extract_features(
            backbone,
            open_split(cfg.data, split, transform),
            num_workers=int(cfg.data.num_workers),
            device=device_of(cfg),
        )
        for split in ("train", "val")
    )
    return judge(train, val, cfg.seed, keep, device_of(cfg))


def judge_untrained(cfg: DictConfig, keep: Path | None = None) -> Judged:
    """Judge the very weights that pre-training with ``cfg`` starts from."""
    model: Any = prepare(DictConfig({**host.plain(cfg), "dry_run": True})).model
    return judge_network(cfg, model.backbone, keep)


def judge_pretrained(cfg: DictConfig, keep: Path | None = None) -> tuple[Judged, Path, dict[str, Any], float]:
    """Pre-train with ``cfg``, or take the run in ``cfg.checkpoint.dir`` that was killed only after its end.

    Returns:
        What was judged, run folder, the run's final figures, and the seconds of training spent before.
    """
    done = finished_run(cfg) if cfg.auto_resume.enabled else None
    run, final = done or pretrain(cfg)
    total = max(float(final["metrics"].get("seconds", 0)), float(final["seconds"]))
    elsewhere = done or final["peak_memory_gib"] is None  # known to the process that trained
    before = total if elsewhere else max(0.0, total - float(final["seconds"]))
    backbone = load_backbone(_weights(run)).backbone
    return judge_network(cfg, backbone, keep), run, final, before


def finished_run(cfg: DictConfig) -> tuple[Path, dict[str, Any]] | None:
    """Folder and final figures of a pre-training with ``cfg`` that has ended and left its weights."""
    for file in sorted((Path(cfg.checkpoint.dir) / "pretrain").glob("*/metrics.json"), reverse=True):
        final = read_json(file)
        if not final or not readable(_weights(file.parent), "compare"):  # removed, to free the disk, say
            continue
        complete = prepare(DictConfig({**host.plain(cfg), "dry_run": True})).base_cfg
        if same_run(OmegaConf.load(file.parent / "config.yaml"), complete):
            print(
                f"solo-intl compare: the pre-training of {file.parent.name} has ended, its evaluation follows"
            )
            return file.parent, final
    return None


def _weights(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"
