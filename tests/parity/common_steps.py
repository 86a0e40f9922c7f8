"""Weights, batches and settings of the parity runs: to the bit the same under Python 3.8 with torch 1.9 and
on today's stack, so that neither weights nor images have to be stored."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

BATCH_SIZE, BATCHES, SIDE, CLASSES = 8, 3, 8, 10
OPTIM = {"lr": 0.02, "classifier_lr": 0.01, "weight_decay": 1e-3}
# coefficient of the momentum networks, first and last; constant, except where its schedule is looked at
CONSTANT_TAU, RISING_TAU = (0.9, 0.9), (0.9, 1.0)

PROJECTOR = {"proj_hidden_dim": 32, "proj_output_dim": 16}
PREDICTOR = {**PROJECTOR, "pred_hidden_dim": 24}
VARIANCE = {"sim_loss_weight": 25.0, "var_loss_weight": 20.0, "cov_loss_weight": 1.0}
# every argument is given, so that no default of either side is involved
LEGACY_METHODS = {
    "barlow_twins": {**PROJECTOR, "lamb": 0.0051, "scale_loss": 0.024},
    "byol": PREDICTOR,
    "deepclusterv2": {**PROJECTOR, "num_prototypes": [4, 4, 4], "temperature": 0.1, "kmeans_iters": 3},
    "dino": {
        **PROJECTOR,
        "num_prototypes": 24,
        "use_bn_in_head": True,
        "norm_last_layer": True,
        "clip_grad": 0.02,
        "freeze_last_layer": 1,
        "student_temperature": 0.1,
        "teacher_temperature": 0.07,
        "warmup_teacher_temperature": 0.04,
        "warmup_teacher_temperature_epochs": 2,
    },
    "mocov2plus": {**PROJECTOR, "temperature": 0.2, "queue_size": 16},
    "nnbyol": {**PREDICTOR, "queue_size": 16},
    "nnclr": {**PREDICTOR, "temperature": 0.2, "queue_size": 16},
    "nnsiam": {**PREDICTOR, "queue_size": 16},
    "ressl": {**PROJECTOR, "temperature_q": 0.1, "temperature_k": 0.04, "queue_size": 16},
    "simclr": {**PROJECTOR, "temperature": 0.2},
    "simsiam": PREDICTOR,
    "swav": {
        **PROJECTOR,
        "num_prototypes": 12,
        "sk_iters": 3,
        "sk_epsilon": 0.05,
        "temperature": 0.1,
        "queue_size": 16,
        "epoch_queue_starts": 1,
        "freeze_prototypes_epochs": 1,
    },
    "vicreg": {**PROJECTOR, **VARIANCE},
    "wmse": {
        "proj_hidden_dim": 32,
        "proj_output_dim": 2,
        "whitening_iters": 2,
        "whitening_size": 4,
        "whitening_eps": 0.01,
    },
}
HEAD_ONLY_METHODS = {
    "all4one": {**PREDICTOR, "temperature": 0.2, "queue_size": 16},
    "mae": {
        "mask_ratio": 0.75,
        "norm_pix_loss": True,
        "decoder_embed_dim": 32,
        "decoder_depth": 1,
        "decoder_num_heads": 4,
    },
    "mocov3": {**PREDICTOR, "temperature": 0.2},
    "supcon": {**PROJECTOR, "temperature": 0.2},
    "vibcreg": {**PROJECTOR, **VARIANCE, "iternorm": True},
}
WITH_MOMENTUM = ("all4one", "byol", "dino", "mocov2plus", "mocov3", "nnbyol", "ressl")
WITH_MOMENTUM_CLASSIFIER = ("mocov2plus",)
# k-means, DINO's frozen last layer, SwAV's queue and frozen prototypes: all change at the start of an epoch
EPOCHS = {"deepclusterv2": 2, "dino": 2, "swav": 2}


SCHEDULED = "byol"  # the one method that is also trained with a rising coefficient


def head_name(name):
    """The state-dict entry under the names of solo-learn HEAD."""
    for old, new in (("encoder.", "backbone."), ("momentum_encoder.", "momentum_backbone.")):
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def fill(model):
    """Give every parameter and queue a value that depends on nothing but its name and shape."""
    learnt = {name for name, _ in model.named_parameters()}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in learnt or (name == "queue" and tensor.is_floating_point()):
                tensor.copy_(torch.from_numpy(value(head_name(name), tuple(tensor.shape))))


@functools.lru_cache(maxsize=None)  # noqa: UP033 (Python 3.8 has no functools.cache)
def value(name, shape):
    # momentum networks start as copies of the online ones, the classifier on top of them does not
    if name.startswith("momentum_") and not name.startswith("momentum_classifier"):
        name = name[len("momentum_") :]
    if name.endswith("weight_g"):
        return np.ones(shape)
    draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) <= 1:
        return 0.1 * draw + (1.0 if name.endswith("weight") else 0.0)
    if name.startswith(("queue", "prototypes")):
        return draw / np.linalg.norm(draw, axis=1, keepdims=True)
    return draw * np.sqrt(2 / np.prod(shape[1:]))


class Samples(Dataset):
    """A list is no data set to Lightning 1.4, which would look for data sets inside it."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, position):
        return self.samples[position]


def loader():
    """Batches ``[indices, [view, view], labels]`` in a fixed order; the indices are a permutation."""
    random = np.random.RandomState(2021)
    count = BATCH_SIZE * BATCHES
    first = random.standard_normal((count, 3, SIDE, SIDE))
    second = 0.8 * first + 0.6 * random.standard_normal(first.shape)
    indices, labels = random.permutation(count), random.randint(0, CLASSES, count)
    dtype = torch.get_default_dtype()
    views = [torch.from_numpy(view).to(dtype) for view in (first, second)]
    samples = [(int(indices[i]), [view[i] for view in views], int(labels[i])) for i in range(count)]
    return DataLoader(Samples(samples), batch_size=BATCH_SIZE, shuffle=False, num_workers=0)


def recorded(method):
    """The class itself, keeping what ``training_step`` returns and the momentum coefficient after each step;
    the random stream starts anew at every step and epoch, as the stacks draw different amounts in between."""

    class Recorded(method):
        def on_train_epoch_start(self):
            torch.manual_seed(1000 + self.current_epoch)
            super().on_train_epoch_start()

        def training_step(self, batch, batch_idx):
            torch.manual_seed(batch_idx)
            loss = super().training_step(batch, batch_idx)
            self.losses.append(loss.item())
            return loss

        def on_train_batch_end(self, *args):
            super().on_train_batch_end(*args)
            if hasattr(self, "momentum_updater"):
                self.taus.append(self.momentum_updater.cur_tau)

    return Recorded


def mean_sizes(model):
    """Mean absolute value of every part of the model, which tells what a loss may hide."""
    sums, counts = {}, {}
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            part = head_name(name).split(".")[0]
            sums[part] = sums.get(part, 0.0) + tensor.abs().sum(dtype=torch.float64).item()
            counts[part] = counts.get(part, 0) + tensor.numel()
    return {part: sums[part] / counts[part] for part in sums}


def train(model, trainer):
    """Losses and momentum coefficients (none without momentum) of all steps, and what they leave behind."""
    fill(model)
    model.losses, model.taus = [], []
    trainer.fit(model, loader())
    return {"losses": model.losses, "taus": model.taus, "mean_sizes": mean_sizes(model)}
