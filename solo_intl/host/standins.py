"""Modules that solo-learn 1.0.2 imports and today's stack lacks, present only while it is imported."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch
import lightning.pytorch.callbacks
import lightning.pytorch.loggers
import torch


def _module(name: str, **members: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def _strtobool(text: str) -> bool:
    return text.strip().lower() in ("y", "yes", "t", "true", "on", "1")


def _stand_ins() -> dict[str, types.ModuleType]:
    # The schedule class is only a name to import: the host configures every schedule itself.
    scheduler = _module(
        "pl_bolts.optimizers.lr_scheduler",
        LinearWarmupCosineAnnealingLR=torch.optim.lr_scheduler.LRScheduler,
    )
    optimizers = _module("pl_bolts.optimizers", lr_scheduler=scheduler)
    util = _module("distutils.util", strtobool=_strtobool)
    return {
        "pl_bolts": _module("pl_bolts", optimizers=optimizers),
        "pl_bolts.optimizers": optimizers,
        "pl_bolts.optimizers.lr_scheduler": scheduler,
        # `lightning` also installs a package `pytorch_lightning` whose classes its own Trainer refuses
        "pytorch_lightning": lightning.pytorch,
        "pytorch_lightning.callbacks": lightning.pytorch.callbacks,
        "pytorch_lightning.loggers": lightning.pytorch.loggers,
        "distutils": _module("distutils", util=util),
        "distutils.util": util,
    }


@contextmanager
def legacy_imports() -> Iterator[None]:
    """Put the stand-ins into ``sys.modules`` and take them out again, whatever happens inside."""
    stand_ins = _stand_ins()
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        with quiet_imports():
            yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Silence the deprecation notices that importing either generation prints on a current stack."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield
