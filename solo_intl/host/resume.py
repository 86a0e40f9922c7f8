"""What a method needs to go on from a checkpoint where it stood, on either generation."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

# SwAV's queue and DeepCluster V2's memory: created when training starts, so a new model has no place for them
LATE_BUFFERS = ("queue", "local_memory_index", "local_memory_embeddings")
CACHE = ".cached_penc"  # All4One's positions, computed in the first forward pass, and saved


class ResumeMixin:
    """State that solo-learn keeps in a checkpoint but does not take back, or does not keep at all."""

    trainer: Any
    last_step: int
    _late: dict[str, Tensor]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lay buffers aside that a new model does not have yet; loading would refuse them."""
        super().on_load_checkpoint(checkpoint)  # type: ignore[misc]
        state, own = checkpoint["state_dict"], self.state_dict()  # type: ignore[attr-defined]
        self._late = {name: state.pop(name) for name in LATE_BUFFERS if name in state and name not in own}
        for name in [name for name in state if name.endswith(CACHE) and name not in own]:
            del state[name]  # made anew, from the shape alone

    def on_train_start(self) -> None:
        super().on_train_start()  # type: ignore[misc]
        for name, value in getattr(self, "_late", {}).items():
            buffer = getattr(self, name)
            if buffer.shape == value.shape:
                buffer.copy_(value)
            else:
                rank_zero_warn(
                    f"resume_from_checkpoint: {name} is {list(buffer.shape)} in this run and "
                    f"{list(value.shape)} in the checkpoint; it starts anew"
                )
        step = self.trainer.global_step
        if step and hasattr(self, "momentum_updater"):
            self.last_step = step  # else a batch that only accumulates would count as a step
            total = self.trainer.estimated_stepping_batches
            self.momentum_updater.update_tau(cur_step=step, max_steps=total)
        if self.trainer.fit_loop.restarted_mid_epoch:
            # Lightning does not start that epoch again; DINO and DeepCluster V2 take their bearings there
            self.on_train_epoch_start()  # type: ignore[attr-defined]
