"""Records solo-learn 1.0.2 on the stack its authors had: losses of some optimizer steps of each method.

No test: it runs under Python 3.8 and writes `stack_2021.json`, which `test_2021_stack.py` compares with.

    python3.8 -m venv old
    old/bin/pip install "setuptools<60" wheel
    old/bin/pip install torch==1.9.1 torchvision==0.10.1 "numpy<1.24" scipy einops tqdm "pillow<10" \
        "protobuf<3.21" "tensorboard<2.10" six "wandb<0.13" pyyaml fsspec packaging future pyDeprecate
    old/bin/pip install --no-deps pytorch-lightning==1.4.7 torchmetrics==0.5.1 lightning-bolts==0.4.0 \
        timm==0.4.12 solo-learn==1.0.2
    old/bin/python tests/parity/record_2021.py
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import common_steps
import numpy
import pytorch_lightning
import torch
from solo.methods import METHODS

RECORD = Path(__file__).with_name("stack_2021.json")


def build(name, tau):
    """One of 1.0.2's own classes, with plain SGD at a constant rate."""
    settings = {
        "encoder": "resnet18",
        "backbone_args": {"cifar": True, "zero_init_residual": False},
        "num_classes": common_steps.CLASSES,
        "max_epochs": common_steps.EPOCHS.get(name, 1),
        "batch_size": common_steps.BATCH_SIZE,
        "optimizer": "sgd",
        "lars": False,
        "exclude_bias_n_norm": False,
        "accumulate_grad_batches": 1,
        "extra_optimizer_args": {},
        "scheduler": "none",
        "min_lr": 0.0,
        "warmup_start_lr": 0.0,
        "warmup_epochs": 0,
        "num_large_crops": 2,
        "num_small_crops": 0,
    }
    if name in common_steps.WITH_MOMENTUM:
        settings.update(
            base_tau_momentum=tau[0],
            final_tau_momentum=tau[1],
            momentum_classifier=name in common_steps.WITH_MOMENTUM_CLASSIFIER,
        )
    settings.update(common_steps.OPTIM)
    settings.update(common_steps.LEGACY_METHODS[name])
    return common_steps.recorded(METHODS[name])(**settings)


def figures(name, tau=common_steps.CONSTANT_TAU):
    trainer = pytorch_lightning.Trainer(
        max_epochs=common_steps.EPOCHS.get(name, 1),
        logger=False,
        checkpoint_callback=False,
        progress_bar_refresh_rate=0,
        weights_summary=None,
        num_sanity_val_steps=0,
    )
    print(name, tau, flush=True)
    return {"dtype": "float64", **common_steps.train(build(name, tau), trainer)}


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    methods = {name: figures(name) for name in sorted(common_steps.LEGACY_METHODS)}
    scheduled = {common_steps.SCHEDULED: figures(common_steps.SCHEDULED, common_steps.RISING_TAU)}
    stack = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch-lightning": pytorch_lightning.__version__,
        "numpy": numpy.__version__,
        "solo-learn": "1.0.2",
        "machine": platform.machine(),
        "threads": 1,
    }
    RECORD.write_text(
        json.dumps({"stack": stack, "methods": methods, "rising_tau": scheduled}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
