"""Which ResNet some weights belong to, for files that don't say."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# blocks of each stage, and whether a block has three convolutions: torchvision's table
_RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
_STEMS = {3: "cifar", 7: "imagenet"}
_WIDTH = 64  # channels of the first block; wider ones are other networks


def resnet_architecture(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """`name` and `stem` of a ResNet under torchvision's names, as far as names and shapes say them.

    Args:
        weights: a backbone's state dict.

    Returns:
        What is certain: without `name` for a depth or width of another kind, empty for another network.

    Example:
        >>> from torchvision.models import resnet50
        >>> resnet_architecture(resnet50().state_dict())
        {'stem': 'imagenet', 'name': 'resnet50'}
        >>> resnet_architecture({"cls_token": next(resnet50().parameters())})
        {}
    """
    first, block = weights.get("conv1.weight"), weights.get("layer1.0.conv1.weight")
    if first is None or block is None or first.ndim != 4 or block.ndim != 4:
        return {}
    found = {}
    if first.shape[-1] in _STEMS:
        found["stem"] = _STEMS[first.shape[-1]]
    depth = tuple(_blocks(weights, stage) for stage in range(1, 5))
    name = _RESNETS.get((depth, "layer1.0.conv3.weight" in weights))
    if name and block.shape[0] == _WIDTH:
        found["name"] = name
    return found


def _blocks(weights: Mapping[str, Tensor], stage: int) -> int:
    return len({key.split(".")[1] for key in weights if key.startswith(f"layer{stage}.")})
