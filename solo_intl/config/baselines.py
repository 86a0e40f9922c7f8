"""What a bundled method cannot do, said in one line before anything is built."""

from __future__ import annotations

from omegaconf import DictConfig

from solo_intl import host
from solo_intl.errors import UserError

# their queues take whole global batches
QUEUED = ("all4one", "mocov2plus", "nnbyol", "nnclr", "nnsiam", "ressl")
ANY_NUMBER_OF_LARGE_VIEWS = {"wmse": 2, "mae": 1}  # and the least; every other loss unpacks exactly two
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


def check_network(cfg: DictConfig) -> None:
    """Raises: UserError: masked autoencoding of something that has no patches, or of half ones."""
    if cfg.method != "mae":
        return
    if not str(cfg.backbone.name).startswith("vit"):
        vits = ", ".join(name for name in host.BACKBONES if name.startswith("vit"))
        raise UserError(f"backbone.name: found '{cfg.backbone.name}', accepted by mae: {vits}")
    patch = cfg.backbone.kwargs.get("patch_size", 14 if cfg.backbone.name == "vit_huge" else 16)
    if cfg.image_size % patch:
        raise UserError(
            f"backbone.kwargs.patch_size: found {patch}, accepted: a divisor of crop_size {cfg.image_size}"
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
    kwargs, batch = cfg.method_kwargs, int(cfg.optimizer.batch_size)
    method, everyone = cfg.method, batch * world_size
    if cfg.momentum.get("classifier") and cfg.data.num_classes < TOP_K:
        raise UserError(
            f"momentum.classifier: found true with {cfg.data.num_classes} classes, "
            f"accepted: false below {TOP_K} classes"
        )
    if method == "supcon" and cfg.data.no_labels:
        raise UserError("method: found 'supcon' on data without labels, accepted: a method that needs none")
    if method in QUEUED and kwargs.get("queue_size", 0) % everyone:
        raise UserError(
            f"method_kwargs.queue_size: found {kwargs.queue_size}, accepted by {method}: "
            f"a multiple of the global batch {everyone}"
        )
    if method == "swav" and 0 < kwargs.get("queue_size", 0) < everyone:
        raise UserError(
            f"method_kwargs.queue_size: found {kwargs.queue_size}, accepted by swav: 0, or at least "
            f"the global batch {everyone}"
        )
    if method == "wmse":
        size, width = kwargs.whitening_size, kwargs.proj_output_dim
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
        most = max(kwargs.num_prototypes)
        if most > images // world_size:
            raise UserError(
                f"method_kwargs.num_prototypes: found {most} on {images // world_size} images a process, "
                "accepted: at most one prototype an image"
            )
