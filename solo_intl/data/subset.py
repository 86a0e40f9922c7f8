"""Subsets of a training split: class-balanced by a seed and the labels alone, or the images of a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from solo_intl.data.settings import DataSettings
from solo_intl.errors import UserError


def subset_indices(labels: np.ndarray, names: Sequence[str], settings: DataSettings) -> np.ndarray | None:
    """Indices that ``fraction``, ``max_images`` or ``subset_file`` keeps of a training split, ascending.

    Args:
        labels: int [n], -1 throughout when there are none (then a plain random subset).
        names: [n], what the list of ``subset_file`` is looked up in.
        settings: ``fraction`` keeps each class's share of the whole; ``max_images`` takes as many of each
            class as of any other, as far as the classes go, and exactly that many in all; ``subset_file``
            names the images.

    Returns:
        int [k], or None when everything is kept.

    Raises:
        UserError: more images asked for than there are, a fraction that leaves none, an unfit list.
    """
    if settings.subset_file is not None:
        return listed_indices(names, settings.subset_file)
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


def listed_indices(names: Sequence[str], file: Path) -> np.ndarray:
    """Indices of the images that ``file`` names, one a line, ascending.

    A line is an image's path below the data set's root, or its file name alone where no other image has it:
    the published lists of 1 % and 10 % of ImageNet are of the second kind.

    Raises:
        UserError: the file cannot be read or is empty, or a name in it is unknown, ambiguous or repeated.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise UserError(f"data.subset_file: can't read {file} ({reason}), accepted: a text file") from None
    wanted = [line for line in lines if line]
    base = [name.rpartition("/")[2] for name in names]
    shared = {name for name, count in Counter(base).items() if count > 1} - set(names)
    # a path wins over a file name
    at = {name: i for i, name in enumerate(base)} | {name: i for i, name in enumerate(names)}
    times = Counter(at.get(name) for name in wanted)
    for fault, found in {
        "no name at all": [] if wanted else [""],
        "not in data.train_path": [name for name in wanted if name not in at],
        "the name of several images": [name for name in wanted if name in shared],
        "listed twice": [name for name in wanted if times[at.get(name)] > 1],
    }.items():
        if found:
            raise UserError(
                f"data.subset_file: found {found[0]!r} in {file}, {fault} ({len(found)} such), accepted: a "
                "training image a line, by file name or by path below data.train_path"
            )
    return np.sort([at[name] for name in wanted])


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
