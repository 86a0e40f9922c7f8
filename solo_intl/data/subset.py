"""Class-balanced subsets that depend on the labels and a seed alone, whatever the source."""

from __future__ import annotations

import numpy as np

from solo_intl.data.settings import DataSettings
from solo_intl.errors import UserError


def subset_indices(labels: np.ndarray, settings: DataSettings) -> np.ndarray | None:
    """Indices that ``data.fraction`` or ``data.max_images`` keeps of a training split, ascending.

    Args:
        labels: int [n], -1 throughout when there are none (then a plain random subset).
        settings: ``fraction`` keeps each class's share of the whole; ``max_images`` takes as many of each
            class as of any other, as far as the classes go, and exactly that many in all.

    Returns:
        int [k], or None when everything is kept.

    Raises:
        UserError: more images asked for than there are, or a fraction that leaves none.
    """
    n = len(labels)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(settings.subset_seed)
    # One order of the classes and one per class, drawn before any size is known: subsets of one seed nest.
    class_order = rng.permutation(len(counts))
    members = [rng.permutation(np.flatnonzero(classes == c)) for c in range(len(counts))]
    if settings.max_images is not None:
        if settings.max_images > n:
            raise UserError(
                f"data.max_images: found {settings.max_images}, accepted: 1 to {n} (all there are)"
            )
        sizes = equal_sizes(counts, settings.max_images, class_order)
    elif settings.fraction is not None:
        total = round(settings.fraction * n)
        if total == 0:
            raise UserError(f"data.fraction: found {settings.fraction}, which leaves none of the {n} images")
        sizes = proportional_sizes(counts, total, class_order)
    else:
        return None
    return np.sort(np.concatenate([m[:size] for m, size in zip(members, sizes, strict=True)]))


def equal_sizes(counts: np.ndarray, total: int, order: np.ndarray) -> np.ndarray:
    """Split ``total`` as evenly as the class sizes allow; what is left over goes one each in ``order``.

    Example:
        >>> equal_sizes(np.array([10, 2, 10]), 13, np.array([2, 0, 1])).tolist()
        [5, 2, 6]
    """
    sizes = np.zeros_like(counts)
    while (left := total - int(sizes.sum())) > 0:
        unfilled = [c for c in order if sizes[c] < counts[c]]
        share = left // len(unfilled)
        if share == 0:
            sizes[unfilled[:left]] += 1
        else:
            sizes[unfilled] += np.minimum(share, (counts - sizes)[unfilled])
    return sizes


def proportional_sizes(counts: np.ndarray, total: int, order: np.ndarray) -> np.ndarray:
    """Split ``total`` in proportion to the class sizes (largest remainders, ties broken by ``order``).

    Example:
        >>> proportional_sizes(np.array([60, 30, 10]), 5, np.array([0, 1, 2])).tolist()
        [3, 2, 0]
    """
    # Integers throughout: quota and remainder of counts * total / n are exact.
    sizes, remainders = np.divmod(counts.astype(np.int64) * total, int(counts.sum()))
    largest_first = order[np.argsort(-remainders[order], kind="stable")]
    sizes[largest_first[: total - int(sizes.sum())]] += 1
    return sizes
