"""What a method or a network cannot do, said in one line before anything is built."""

from __future__ import annotations

from omegaconf import DictConfig

from solo_intl import host
from solo_intl.errors import UserError

# their queues take whole global batches
QUEUED = ("all4one", "mocov2plus", "nnbyol", "nnclr", "nnsiam", "ressl")
ANY_NUMBER_OF_LARGE_VIEWS = {"wmse": 2, "mae": 1}  # and the least; every other loss unpacks exactly two
# solo-learn's, where a file of the user's own leaves the key out
DEFAULTS = {"queue_size": 65536, "whitening_size": 256, "proj_output_dim": 128, "num_prototypes": [3000] * 3}
PATCHES = {"vit": 16, "swin": 4}  # px, where backbone.kwargs.patch_size does not say
TOP_K = 5  # solo-learn's momentum classifier always asks for the top 5


def check_views(cfg: DictConfig) -> None:
    """Numbers of large and small views that the method's loss makes use of.

    Raises:
        UserError: the loss would fail on them, or never see them.
    """
    method, large, small = cfg.method, cfg.data.num_large_crops, cfg.data.num_small_crops
    found = f"augmentations: found {large} large and {small} smaller views, accepted by {method}: "
    if host.takes_any_views(method):
        if large + small < 2:
            raise UserError(f"{found}2 or more of any size")
        return
    least = ANY_NUMBER_OF_LARGE_VIEWS.get(method)
    if (large != 2) if least is None else (large < least):
        raise UserError(found + (f"{least} or more" if least else "2") + " of the same crop_size")
    if small and not host.uses_small_views(method):
        those = ", ".join(sorted(name for name in host.METHODS if host.uses_small_views(name)))
        raise UserError(f"{found}no smaller ones, its loss would not see them (methods that do: {those})")


def check_momentum(cfg: DictConfig) -> None:
    """Raises: UserError: settings of a momentum network for a method that has none."""
    if cfg.get("momentum") and not host.has_momentum(cfg.method):
        those = ", ".join(sorted(name for name in host.METHODS if host.has_momentum(name)))
        raise UserError(
            f"momentum: found {', '.join(cfg.momentum)}, accepted by {cfg.method}: nothing, it has no "
            f"momentum network (methods that do: {those})"
        )


def check_network(cfg: DictConfig) -> None:
    """Views that a transformer can cut into whole patches, and a transformer for masked autoencoding.

    Raises:
        UserError: timm would fail at such a view, or leave its border out of sight.
    """
    name = str(cfg.backbone.name)
    if cfg.method == "mae" and not name.startswith("vit"):
        vits = ", ".join(name for name in host.BACKBONES if name.startswith("vit"))
        raise UserError(f"backbone.name: found '{name}', accepted by mae: {vits}")
    default = next((size for prefix, size in PATCHES.items() if name.startswith(prefix)), None)
    kwargs = cfg.backbone.kwargs
    if default is None or (kwargs.get("dynamic_img_pad") and cfg.method != "mae"):
        return
    patch = kwargs.get("patch_size", 14 if name == "vit_huge" else default)
    for size in (view.crop_size for view in cfg.augmentations):
        if size % patch:
            raise UserError(
                f"backbone.kwargs.patch_size: found {patch}, accepted: a divisor of every crop_size ({size} "
                "among them)"
            )


def check_batch(cfg: DictConfig, world_size: int, images: int) -> None:
    """What depends on the batch, the processes and the data.

    Args:
        cfg: composed configuration with every method key set.
        world_size: processes that train together.
        images: training images.

    Raises:
        UserError: the method cannot train on them.
    """
    batch = int(cfg.optimizer.batch_size)
    method, everyone = cfg.method, batch * world_size
    if cfg.momentum.get("classifier") and cfg.data.num_classes < TOP_K:
        raise UserError(
            f"momentum.classifier: found true with {cfg.data.num_classes} classes, "
            f"accepted: false below {TOP_K} classes"
        )
    if method == "supcon" and cfg.data.no_labels:
        raise UserError("method: found 'supcon' on data without labels, accepted: a method that needs none")
    if method in QUEUED:
        queue = _count(cfg, "queue_size")
        if queue % everyone:
            raise UserError(
                f"method_kwargs.queue_size: found {queue}, accepted by {method}: "
                f"a multiple of the global batch {everyone}"
            )
    if method == "swav":
        queue = _count(cfg, "queue_size", least=0)
        if 0 < queue < everyone:
            raise UserError(
                f"method_kwargs.queue_size: found {queue}, accepted by swav: 0, or at least "
                f"the global batch {everyone}"
            )
    if method == "wmse":
        size, width = _count(cfg, "whitening_size"), _count(cfg, "proj_output_dim")
        if batch % size:
            raise UserError(
                f"optimizer.batch_size: found {batch}, accepted by wmse: a multiple of "
                f"method_kwargs.whitening_size {size}"
            )
        if size <= width:
            raise UserError(
                f"method_kwargs.whitening_size: found {size}, accepted by wmse: more than "
                f"method_kwargs.proj_output_dim {width}, or the covariance has no inverse"
            )
    if method == "deepclusterv2":
        heads = host.plain(cfg.method_kwargs).get("num_prototypes", DEFAULTS["num_prototypes"])
        if not isinstance(heads, list) or not heads or not all(type(n) is int and n > 0 for n in heads):
            raise UserError(
                f"method_kwargs.num_prototypes: found {heads!r}, accepted by deepclusterv2: a list of "
                "positive integers, e.g. [30, 30, 30]"
            )
        most = max(heads)
        remembered = images // everyone * batch  # k-means starts from what one process saw in an epoch
        if most > remembered:
            raise UserError(
                f"method_kwargs.num_prototypes: found {most} on {remembered} images an epoch and process, "
                "accepted: at most one prototype an image"
            )


def _count(cfg: DictConfig, key: str, least: int = 1) -> int:
    value = cfg.method_kwargs.get(key, DEFAULTS[key])
    if type(value) is not int or value < least:
        raise UserError(
            f"method_kwargs.{key}: found {value!r}, accepted by {cfg.method}: an integer of at least {least}"
        )
    return value
