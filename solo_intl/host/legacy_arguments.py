"""HEAD's ``cfg`` as 1.0.2's flat keyword arguments."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser
from typing import Any

from omegaconf import DictConfig

from solo_intl.host.mixin import plain
from solo_intl.host.stem import CIFAR_DATASETS


def _own_defaults(method: type) -> dict[str, Any]:
    """Defaults that 1.0.2 declares for the arguments of ``method`` in its command-line parser."""
    add = getattr(method, "add_model_specific_args", None)
    if add is None:
        return {}
    parser = add(ArgumentParser(add_help=False))
    # DINO's flags go through strtobool, which only ever sees strings on a command line
    return {action.dest: action.default for action in parser._actions if action.default is not None}


def own_arguments(method: type) -> list[str]:
    """Names of the arguments that ``method`` and its solo-learn base classes take."""
    names: list[str] = []
    for klass in method.__mro__:
        if klass.__module__.startswith("solo.") and "__init__" in vars(klass):
            names += [name for name in inspect.signature(klass.__init__).parameters if name not in names]
    return [name for name in names if name not in ("self", "args", "kwargs")]


def keyword_arguments(cfg: DictConfig, method: type) -> dict[str, Any]:
    """HEAD's ``cfg`` as the flat keyword arguments of a 1.0.2 method."""
    accepted = own_arguments(method)
    settings = {name: value for name, value in _own_defaults(method).items() if name in accepted}
    optimizer, scheduler = plain(cfg.optimizer), plain(cfg.scheduler)
    kwargs = dict(plain(cfg.backbone).get("kwargs") or {})
    kwargs["cifar"] = cfg.data.dataset in CIFAR_DATASETS
    settings.update(
        encoder=cfg.backbone.name,
        num_classes=cfg.data.num_classes,
        backbone_args=kwargs,
        max_epochs=cfg.max_epochs,
        batch_size=optimizer["batch_size"],
        # the host configures optimizer and schedule; these only have to be accepted
        optimizer="sgd",
        lars=False,
        exclude_bias_n_norm=False,
        extra_optimizer_args={},
        scheduler="none",
        lr=optimizer["lr"],
        weight_decay=optimizer.get("weight_decay", 0.0),
        classifier_lr=optimizer.get("classifier_lr", 0.1),
        accumulate_grad_batches=cfg.get("accumulate_grad_batches") or 1,
        min_lr=scheduler.get("min_lr") or 0.0,
        warmup_start_lr=scheduler.get("warmup_start_lr") or 0.0,
        warmup_epochs=scheduler.get("warmup_epochs", 10),
        num_large_crops=cfg.data.num_large_crops,
        num_small_crops=cfg.data.num_small_crops,
        knn_eval=False,
    )
    momentum = plain(cfg.get("momentum")) or {}
    if "base_tau_momentum" in accepted:
        settings.update(
            base_tau_momentum=momentum.get("base_tau", 0.99),
            final_tau_momentum=momentum.get("final_tau", 1.0),
            momentum_classifier=bool(momentum.get("classifier", False)),
        )
    settings.update({k: v for k, v in (plain(cfg.get("method_kwargs")) or {}).items() if k in accepted})
    if "warmup_teacher_temperature_epochs" in settings:
        # DINO's temperature table has a negative length when the run is shorter than its warm-up
        epochs = min(settings["warmup_teacher_temperature_epochs"], cfg.max_epochs)
        settings["warmup_teacher_temperature_epochs"] = epochs
    return settings
