"""Backbones out of checkpoints: ours, solo-learn's (both generations) and the INTL authors'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from solo_intl.data import dataset_info
from solo_intl.errors import UserError, not_accepted
from solo_intl.evaluation.architecture import resnet_architecture
from solo_intl.evaluation.reading import Checkpoint, first_few, read_checkpoint

# solo-learn HEAD, this project and the INTL authors say backbone; solo-learn 1.0.2 says encoder.
_PREFIXES = {
    "online": ("backbone.", "encoder."),
    "momentum": ("momentum_backbone.", "momentum_encoder."),
}
# DistributedDataParallel and torch.compile, in whatever order they were applied.
_WRAPPERS = ("module.", "_orig_mod.")
_DEFAULT_IMAGE_SIZE = 224


@dataclass(frozen=True)
class LoadedBackbone:
    """A pretrained network, frozen and in evaluation mode.

    Attributes:
        backbone: maps images [batch, 3, height, width] to features [batch, features_dim].
        features_dim: width of the features.
        cfg: the config the network was built from; `cfg.image_size` is always there.
        path: the file the weights come from.
        network: "online" or "momentum".

    Example:
        >>> LoadedBackbone(nn.Flatten(), 48, OmegaConf.create({}), Path("last.ckpt")).features_dim
        48
    """

    backbone: nn.Module
    features_dim: int
    cfg: DictConfig
    path: Path
    network: str = "online"


def backbone_state(checkpoint: Checkpoint, network: str = "online") -> dict[str, Tensor]:
    """The backbone's own weights, under the names the backbone gives them.

    Only a leading `backbone.` or `encoder.` is removed (`momentum_backbone.` or `momentum_encoder.` for the
    momentum network), and before and after it DistributedDataParallel's `module.` and torch.compile's
    `_orig_mod.`; the same word further inside a name is left alone. A state dict with no such prefix is taken
    to be a backbone's already.

    Args:
        checkpoint: what :func:`read_checkpoint` gave.
        network: "online" or "momentum".

    Raises:
        UserError: unknown network, or no momentum network in the file.

    Example:
        >>> import torch
        >>> state = {"encoder.fc.bias": torch.zeros(1), "momentum_encoder.fc.bias": torch.ones(1)}
        >>> backbone_state(Checkpoint(state, None, Path("last.ckpt")))
        {'fc.bias': tensor([0.])}
    """
    if network not in _PREFIXES:
        raise not_accepted("network", network, _PREFIXES)
    state = _unwrapped(checkpoint.state_dict)
    for prefix in _PREFIXES[network]:
        weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if weights:
            return _unwrapped(weights)
    if network == "momentum":
        raise UserError(
            f"{checkpoint.path}: found no momentum network (keys {first_few(list(state))}); "
            "accepted: network 'online' (use_momentum=false), or the checkpoint of a momentum method"
        )
    return dict(state)


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            return _unwrapped({key.removeprefix(wrapper): value for key, value in state.items()})
    return state


def load_backbone(
    path: str | Path,
    *,
    backbone_cfg: Mapping[str, Any] | None = None,
    data_cfg: Mapping[str, Any] | None = None,
    network: str = "online",
) -> LoadedBackbone:
    """Build the network a checkpoint was trained with and load all of its weights, strictly.

    The pretraining config inside the file decides the network. Other people's files have none: then
    `backbone_cfg` and `data_cfg` do, and what they leave open the shapes of a ResNet's weights.

    Args:
        path: the checkpoint.
        backbone_cfg: name, kwargs, stem ("auto", "cifar", "imagenet"), stem_stride, method. A ResNet needs
            no name; "auto" takes the stem its first convolution has, or else one by data set and image size.
        data_cfg: dataset, and optionally image_size (default: the data set's own, else 224).
        network: "online" or "momentum".

    Raises:
        UserError: as :func:`read_checkpoint` and :func:`backbone_state`; no config in the file and none
            given; an unknown data set; weights that don't fit the network exactly.

    Example:
        >>> load_backbone("missing.ckpt")
        Traceback (most recent call last):
        ...
        solo_intl.errors.UserError: missing.ckpt: found no such file; accepted: the path of a checkpoint file
    """
    checkpoint = read_checkpoint(path)
    weights = backbone_state(checkpoint, network)
    cfg = _network_cfg(checkpoint, weights, backbone_cfg, data_cfg)
    native = dataset_info(cfg.data.dataset).image_size
    # lazily: reading and refusing a file must work without solo-learn
    from solo_intl.host import build_backbone, image_size

    cfg.image_size = image_size(cfg) or int(cfg.data.get("image_size") or native or _DEFAULT_IMAGE_SIZE)
    backbone, features_dim = build_backbone(cfg)
    _load_strictly(backbone, weights, checkpoint.path, cfg)
    return LoadedBackbone(backbone.eval().requires_grad_(False), features_dim, cfg, checkpoint.path, network)


def _network_cfg(
    checkpoint: Checkpoint,
    weights: Mapping[str, Tensor],
    backbone_cfg: Mapping[str, Any] | None,
    data_cfg: Mapping[str, Any] | None,
) -> DictConfig:
    """method, backbone and data.dataset, from the file or else from the caller and the weights' shapes."""
    if checkpoint.cfg is not None:
        cfg = OmegaConf.create(checkpoint.cfg)
    else:
        given = _plain(backbone_cfg)
        if given.get("stem") == "auto":
            del given["stem"]
        backbone = {"kwargs": {}, "stem": "auto", "stem_stride": 1, **resnet_architecture(weights), **given}
        data = _plain(data_cfg)
        method = backbone.pop("method", "intl")
        cfg = OmegaConf.create({"method": method, "backbone": backbone, "data": data})
    for key, what in (("backbone.name", "resnet18"), ("data.dataset", "cifar10")):
        if OmegaConf.select(cfg, key) is None:
            raise UserError(
                f"{key}: found none, and {checkpoint.path} holds no config or shapes that say it; "
                f"accepted: the value the network was trained with, for example {key}={what}"
            )
    return cfg


def _plain(cfg: Mapping[str, Any] | None) -> dict[str, Any]:
    resolved: Any = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg or {}
    return {key: value for key, value in resolved.items() if value is not None}


def _load_strictly(backbone: nn.Module, weights: dict[str, Tensor], path: Path, cfg: DictConfig) -> None:
    own = backbone.state_dict()
    faults = {
        "missing": [key for key in own if key not in weights],
        "unexpected": [key for key in weights if key not in own],
        "of another shape": [
            f"{key} {list(weights[key].shape)} for {list(own[key].shape)}"
            for key in own
            if key in weights and weights[key].shape != own[key].shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(
            f"{len(keys)} {fault} ({first_few(keys)})" for fault, keys in faults.items() if keys
        )
        stem = cfg.backbone.get("stem")
        raise UserError(
            f"{path}: weights don't fit backbone.name={cfg.backbone.name} with backbone.stem={stem} on "
            f"{cfg.data.dataset}: {found}; accepted: exactly its {len(own)} tensors"
        )
    backbone.load_state_dict(weights)
