"""HEAD's augmentation entries from 1.0.2's and torchvision's transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig
from torchvision import transforms

from solo_intl.host.standins import legacy_imports

with legacy_imports():
    from solo.utils import pretrain_dataloader as solo_views

FullTransformPipeline = solo_views.FullTransformPipeline
NCropAugmentation = solo_views.NCropAugmentation


def build_view(view: DictConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable:
    """The transform of one augmentation entry, in HEAD's order of operations."""
    size = view.crop_size
    bicubic = transforms.InterpolationMode.BICUBIC
    if view.rrc.enabled:
        scale = (view.rrc.crop_min_scale, view.rrc.crop_max_scale)
        steps: list[Any] = [transforms.RandomResizedCrop(size, scale=scale, interpolation=bicubic)]
    else:
        steps = [transforms.Resize(size, interpolation=bicubic)]

    def sometimes(key: str, make: Callable[[], Any]) -> None:
        if view[key].prob:
            steps.append(transforms.RandomApply([make()], p=view[key].prob))

    jitter = view.color_jitter
    sometimes(
        "color_jitter",
        lambda: transforms.ColorJitter(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue),
    )
    if view.grayscale.prob:
        steps.append(transforms.RandomGrayscale(p=view.grayscale.prob))
    sometimes("gaussian_blur", solo_views.GaussianBlur)
    sometimes("solarization", solo_views.Solarization)
    sometimes("equalization", lambda: transforms.RandomEqualize(p=1.0))
    if view.horizontal_flip.prob:
        steps.append(transforms.RandomHorizontalFlip(p=view.horizontal_flip.prob))
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])
