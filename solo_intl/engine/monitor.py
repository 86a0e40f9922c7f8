"""The spectrum of the embeddings while a method trains, and one clear warning when they collapse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from solo_intl.engine.spectrum import Spectrum, measure_spectrum

SPECTRUM_FILE = "spectrum.npz"
IMAGES = 256  # of a batch at most: bounds the cost, and keeps effective ranks of large batches comparable
ALL_EQUAL = 0.9975  # mean cosine between embeddings
ONE_DIRECTION = 0.9  # of the variance over images, in the greatest eigenvalue
NOT_BY_LENGTH = 0.5  # of it at length 1 too: a single long embedding is no collapse


def embedding_module(model: nn.Module) -> tuple[str, nn.Module]:
    """The module whose output is the embedding, and its name: the projector, or what stands in its place."""
    head = getattr(getattr(model, "head", None), "mlp", None)  # DINO's projector, before the prototypes
    for name, module in (("projector", getattr(model, "projector", None)), ("head.mlp", head)):
        if isinstance(module, nn.Module):
            return name, module
    backbone: Any = model.backbone
    return "backbone", backbone  # MAE has none


class SpectrumMonitor(Callback):
    """Measures the first view's embeddings at the first step and every n steps, from the forward pass itself.

    With several processes, those of the first one. Measures go to the loggers as ``spectrum_*``; steps,
    measures and eigenvalues to ``spectrum.npz`` in the run folder. The first sign of collapse is warned of,
    once in a run and the runs that continue it: checkpoints hold the warning's step and reason.

    Args:
        every_n_steps: n >= 1, in optimizer steps.
        folder: the run folder.
        iterations: T of INTL's whitening, for the trace excess.
        axis: what INTL whitens, for the trace excess.
    """

    def __init__(self, every_n_steps: int, folder: Path, iterations: int = 4, axis: str = "channel") -> None:
        self.every = every_n_steps
        self.file = folder / SPECTRUM_FILE
        self.settings: dict[str, Any] = {"iterations": iterations, "axis": axis}
        self.steps: list[int] = []
        self.found: list[Spectrum] = []
        self.seconds = 0.0
        self.warned: dict[str, Any] | None = None  # step and reason
        self._due = False
        self._z: Tensor | None = None
        self._handle: Any = None

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.source, source = embedding_module(module)
        self._handle = source.register_forward_hook(self._catch)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step, first = trainer.global_step, batch_idx % trainer.accumulate_grad_batches == 0
        wanted = step == 0 or (step + 1) % self.every == 0
        self._due = wanted and first and trainer.is_global_zero
        self._step = step

    def _catch(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._due:
            self._due = False  # the first view only
            z = output[0] if isinstance(output, tuple) else output
            self._z = z.detach()[:IMAGES].float()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        z, self._z, self._due = self._z, None, False
        if z is None:
            return
        started = time.perf_counter()
        if not bool(z.isfinite().all()):
            self._warn("embeddings are not finite")  # nothing to measure
        elif z.ndim == 2 and min(z.shape) > 1:
            spectrum = measure_spectrum(z, **self.settings)
            self.steps.append(self._step)
            self.found.append(spectrum)
            values = {f"spectrum_{name}": value for name, value in spectrum.measures.items()}
            for logger in trainer.loggers:
                logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=self._step)
            found = spectrum.eigenvalues.tolist(), spectrum.mean_cosine, spectrum.direction_share
            self._warn(collapse(*found))
        self.seconds += time.perf_counter() - started

    def _warn(self, reason: str | None) -> None:
        if reason and not self.warned:
            self.warned = {"step": self._step, "reason": reason}
            rank_zero_warn(
                f"collapse begins, step {self._step}: {reason}; "
                f"the run goes on, its spectrum is in {self.file}"
            )

    def state_dict(self) -> dict[str, Any]:
        # empty, Lightning leaves it out, and resuming without a monitor is not complained about
        return {"warned": self.warned} if self.warned else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.warned = state_dict["warned"]

    def summary(self) -> dict[str, Any]:
        """The last measures, the monitor's seconds, and step and reason of the warning, or None for it."""
        measures = self.found[-1].measures if self.found else {}
        return {**measures, "seconds": round(self.seconds, 3), "warned": self.warned}

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.write()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self.write()

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if self._handle is not None:  # setting up may have failed before
            self._handle.remove()

    def write(self) -> None:
        """Put all measures so far into the file; nothing when there are none."""
        if not self.found:
            return
        started = time.perf_counter()
        columns: dict[str, Any] = {
            name: np.asarray([spectrum.measures[name] for spectrum in self.found])
            for name in self.found[0].measures
        }
        eigenvalues = torch.stack([s.eigenvalues for s in self.found]).float().numpy()
        partial = self.file.with_name(f"{self.file.stem}.partial.npz")
        np.savez(  # compressing saves a tenth, and a long run's file is written anew every epoch
            partial,
            step=np.asarray(self.steps),
            eigenvalues=eigenvalues,
            source=np.asarray(self.source),
            **columns,
        )
        partial.replace(self.file)
        self.seconds += time.perf_counter() - started


def collapse(eigenvalues: Sequence[float], mean_cosine: float, direction_share: float) -> str | None:
    """Why embeddings with these measures count as collapsed, with the limit; None if they don't.

    Args:
        eigenvalues: shares of the variance, falling; the others as `Spectrum` has them.

    Example:
        >>> collapse([0.95, 0.05], mean_cosine=0.1, direction_share=0.8)
        "one direction holds 95.0% of the embeddings' variance (above 90%)"
    """
    share = float(eigenvalues[0])
    if share == 0:
        return "all embeddings are equal"
    if mean_cosine > ALL_EQUAL:
        return f"all embeddings are nearly equal (mean cosine {mean_cosine:.5f}, above {ALL_EQUAL})"
    if share > ONE_DIRECTION and direction_share > NOT_BY_LENGTH:
        return f"one direction holds {share:.1%} of the embeddings' variance (above {ONE_DIRECTION:.0%})"
    return None
