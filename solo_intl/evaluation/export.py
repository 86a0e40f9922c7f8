"""A backbone in the layout of another library, checked against that library where it is installed."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from solo_intl._version import __version__
from solo_intl.data import normalization
from solo_intl.errors import UserError, not_accepted
from solo_intl.evaluation.checkpoint import LoadedBackbone
from solo_intl.evaluation.reading import SAFETENSORS
from solo_intl.evaluation.writing import write_all

LAYOUTS = {"torchvision": ".pth", "timm": ".pth", "safetensors": SAFETENSORS, "detectron2": ".pkl"}
# the readers of these two go by the file's ending
_FIXED_ENDINGS = ("safetensors", "detectron2")
_TIMM_NAMES = {f"vit_{size}": f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")}


@dataclass(frozen=True)
class Export:
    """A backbone ready to be written in one layout.

    Attributes:
        layout: one of :data:`LAYOUTS`.
        stem: the first layers in words, where they are not the library's own; else None.
        build: lines of Python that build the library's network as `model`, or detectron2's settings; empty
            without a library.
        save: writes the file to the path it is given.
    """

    layout: str
    stem: str | None
    build: tuple[str, ...]
    save: Callable[[Path], None]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: an ending that the layout's readers don't know, or a place that can't be written.
        """
        ending = LAYOUTS[self.layout]
        if self.layout in _FIXED_ENDINGS and path.suffix != ending:
            raise UserError(f"output: found {path.name}, accepted: a name that ends in {ending}")
        write_all(path.parent, {path.name: self.save})

    def usage(self, path: Path) -> str:
        """How the written file is used: Python that ends with `model` loaded, or detectron2's settings."""
        if self.layout == "detectron2":
            return "\n".join((f"MODEL.WEIGHTS {path}", *self.build))
        file = repr(str(path))
        if self.layout == "safetensors":
            lines = (
                "import safetensors.torch",
                f"weights = safetensors.torch.load_file({file})",
                "# or the whole network, as the file's metadata describe it",
                "from solo_intl.evaluation import load_backbone",
                f"model = load_backbone({file}).backbone",
            )
            return "\n".join(lines)
        imports = [f"import {library}" for library in sorted({"torch", self.layout})]
        load = f"model.load_state_dict(torch.load({file}, weights_only=True))"
        return "\n".join((*imports, *self.build, load))


def export_backbone(loaded: LoadedBackbone, layout: str) -> Export:
    """Prepare a backbone for another library; nothing is written yet.

    For torchvision and timm the library's own network is built, takes the weights strictly, and must give the
    same features on a random image.

    Args:
        loaded: the backbone.
        layout: "torchvision" and "timm": a bare state dict by torch.save. "safetensors": the same weights,
            the config and versions as metadata. "detectron2": the pickle its checkpointer reads.

    Raises:
        UserError: unknown layout, or a network that the library does not have.

    Example:
        >>> from torchvision.models import resnet18
        >>> network = resnet18().eval()
        >>> network.fc = nn.Identity()
        >>> cfg = OmegaConf.create({"backbone": {"name": "resnet18"}, "image_size": 64})
        >>> export = export_backbone(LoadedBackbone(network, 512, cfg, Path("last.ckpt")), "timm")
        >>> print(export.usage(Path("resnet18.pth")))
        import timm
        import torch
        model = timm.create_model('resnet18', num_classes=0)
        model.load_state_dict(torch.load('resnet18.pth', weights_only=True))
    """
    if layout not in LAYOUTS:
        raise not_accepted("to", layout, LAYOUTS)
    # contiguous: safetensors refuses the strides of a channels_last network
    weights = {key: value.detach().cpu().contiguous() for key, value in loaded.backbone.state_dict().items()}
    small = _small_stem(loaded.backbone)
    stem = None
    if small is not None:
        stem = f"3x3 convolution (stride {small.stride[0]}, padding {small.padding[0]}) and no max-pool"
    if layout == "detectron2":
        model = _detectron2_model(loaded, weights, stem)
        return Export(layout, stem, detectron2_settings(loaded.cfg), lambda path: _save_pickle(model, path))
    if layout == "safetensors":
        metadata = _metadata(loaded)
        return Export(layout, stem, (), lambda path: save_file(weights, path, metadata))
    network, build = _library_network(loaded, layout, small)
    _check_same(network, loaded, layout)
    return Export(layout, stem, build, lambda path: torch.save(weights, path))


def detectron2_settings(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings under which detectron2 feeds a network as pre-training with ``cfg`` did.

    Example:
        >>> print(*detectron2_settings({}), sep="\\n")
        MODEL.RESNETS.STRIDE_IN_1X1 False
        INPUT.FORMAT RGB
        MODEL.PIXEL_MEAN [123.675,116.28,103.53]
        MODEL.PIXEL_STD [58.395,57.12,57.375]
    """
    mean, std = (
        ",".join(f"{255 * value:.6g}" for value in triple)
        for triple in normalization(cfg.get("data") or {}, cfg.get("augmentations"))
    )
    return (
        "MODEL.RESNETS.STRIDE_IN_1X1 False",
        "INPUT.FORMAT RGB",
        f"MODEL.PIXEL_MEAN [{mean}]",
        f"MODEL.PIXEL_STD [{std}]",
    )


def _is_resnet(backbone: nn.Module) -> bool:
    return isinstance(backbone, torchvision.models.ResNet)


def _small_stem(backbone: nn.Module) -> nn.Conv2d | None:
    conv = getattr(backbone, "conv1", None)
    if _is_resnet(backbone) and isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
        return conv
    return None


def _library_network(
    loaded: LoadedBackbone, layout: str, small: nn.Conv2d | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The library's own network, and the Python that builds it."""
    name, kwargs = str(loaded.cfg.backbone.name), _kwargs(loaded)
    resnet = _is_resnet(loaded.backbone)
    if layout == "torchvision" and resnet:
        lines = [_call("torchvision.models", name, kwargs), "model.fc = torch.nn.Identity()"]
        network = getattr(torchvision.models, name)(**kwargs)
        network.fc = nn.Identity()
    elif layout == "timm" and (resnet or name in _TIMM_NAMES):
        kwargs = {"num_classes": 0, **({} if resnet else kwargs)}
        name = _TIMM_NAMES.get(name, name)
        lines = [_call("timm.create_model", name, kwargs)]
        network = timm.create_model(name, **kwargs)
    else:
        accepted = "resnet18, resnet50" + (f", {', '.join(_TIMM_NAMES)}" if layout == "timm" else "")
        raise UserError(
            f"to: found {layout!r} for backbone.name={name}, accepted: {accepted}, or to=safetensors"
        )
    if small is not None:
        shape = f"{small.in_channels}, {small.out_channels}, kernel_size=3"
        steps = f"stride={small.stride[0]}, padding={small.padding[0]}, bias=False"
        lines += [f"model.conv1 = torch.nn.Conv2d({shape}, {steps})", "model.maxpool = torch.nn.Identity()"]
        network.conv1 = copy.deepcopy(small)
        network.maxpool = nn.Identity()
    return network, tuple(lines)


def _kwargs(loaded: LoadedBackbone) -> dict[str, Any]:
    cfg: Any = OmegaConf.to_container(loaded.cfg, resolve=True)
    # zero_init_residual only says where training starts
    kwargs = cfg["backbone"].get("kwargs") or {}
    return {key: value for key, value in kwargs.items() if key != "zero_init_residual"}


def _call(function: str, name: str, kwargs: dict[str, Any]) -> str:
    given = [f"{key}={value!r}" for key, value in kwargs.items()]
    if function == "timm.create_model":
        return f"model = {function}({', '.join([repr(name), *given])})"
    return f"model = {function}.{name}({', '.join(given)})"


def _check_same(network: nn.Module, loaded: LoadedBackbone, layout: str) -> None:
    size = int(loaded.cfg.image_size)
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    refused = f"to: {layout}'s {loaded.cfg.backbone.name} is another network than {loaded.path} holds"
    try:
        network.load_state_dict(loaded.backbone.state_dict())
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise UserError(f"{refused} ({detail[:160]}...), accepted: to=safetensors") from None
    with torch.no_grad():
        expected, found = loaded.backbone(image), network.eval()(image)
    if expected.shape != found.shape or not torch.allclose(expected, found, rtol=1e-4, atol=1e-5):
        raise UserError(f"{refused} (its features differ), accepted: to=safetensors")


def _metadata(loaded: LoadedBackbone) -> dict[str, str]:
    return {
        "format": "pt",
        "backbone": str(loaded.cfg.backbone.name),
        "network": loaded.network,
        "config": json.dumps(OmegaConf.to_container(loaded.cfg, resolve=True)),
        "solo_intl": __version__,
        "torch": str(torch.__version__),
    }


def _detectron2_model(loaded: LoadedBackbone, weights: dict[str, Tensor], stem: str | None) -> dict[str, Any]:
    kwargs = _kwargs(loaded)  # dilation, width: settings of detectron2's own, which the weights don't show
    if not _is_resnet(loaded.backbone) or stem is not None or kwargs:
        found = stem or f"backbone.name={loaded.cfg.backbone.name}, backbone.kwargs={kwargs}"
        raise UserError(f"to: found 'detectron2' for {found}, accepted: a plain ResNet with the 7x7 stem")
    arrays = {_detectron2_name(key): value.numpy() for key, value in weights.items() if _has_name(key)}
    return {"model": arrays, "__author__": f"solo_intl {__version__}", "matching_heuristics": True}


_KEY = re.compile(r"(?:layer(\d)\.(\d+)\.)?(conv|bn|downsample\.)(\d)\.(\w+)")


def _has_name(key: str) -> bool:
    # detectron2's frozen BatchNorm has no such counter, and the others don't use it
    return not key.endswith("num_batches_tracked")


def _detectron2_name(key: str) -> str:
    """`layer1.0.bn2.bias` is `res2.0.conv2.norm.bias`; a BatchNorm is its convolution's `norm`."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise UserError(f"to: found 'detectron2' and the weight {key}, accepted: a torchvision ResNet's")
    stage, block, kind, number, leaf = found.groups()
    place = "stem" if stage is None else f"res{int(stage) + 1}.{block}"
    unit = "shortcut" if kind == "downsample." else f"conv{number}"
    norm = ".norm" if kind == "bn" or (kind == "downsample." and number == "1") else ""
    return f"{place}.{unit}{norm}.{leaf}"


def _save_pickle(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file)
