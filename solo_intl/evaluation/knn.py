"""Exact k-nearest-neighbour classification of features, block by block: no copy of a data set is made."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from solo_intl.errors import UserError, not_accepted
from solo_intl.evaluation.features import Features, check_labelled
from solo_intl.evaluation.metrics import label_ranks

DISTANCES = ("euclidean", "cosine")
VOTES = ("majority", "weighted")
BLOCK_ELEMENTS = 2**23
# Candidates kept beyond k, so that the order of nearly equal distances is settled by the second measure.
_SPARE = 8


def knn_scores(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    *,
    k: int = 5,
    distance: str = "euclidean",
    vote: str = "majority",
    temperature: float = 0.07,
    num_classes: int | None = None,
    block_elements: int = BLOCK_ELEMENTS,
) -> Tensor:
    """Votes of the k nearest training rows for each class.

    Everything is computed in float64, whatever the caller's autocast says. Both sets are cut into blocks, and
    every intermediate has at most `block_elements` elements (64 MiB each by default), or as many as one image
    needs: (k + 8) d. Inside a block ||a - b||^2 = |a|^2 + |b|^2 - 2ab, on features centred by the training
    mean, finds the k + 8 best candidates; these are measured again from the differences themselves and
    ordered by (distance, training row). The result doesn't depend on the blocks unless more than eight
    further training rows are as far away as the k-th: then which of them vote isn't defined.

    Args:
        train_x: [n, d].
        train_y: int64 [n], labels >= 0.
        test_x: [t, d].
        k: neighbours, 1 <= k <= n. The paper's protocol is k = 5, Euclidean, majority.
        distance: "euclidean", or "cosine" (rows are normalised here).
        vote: "majority": one vote each. "weighted": 1 / distance for Euclidean, where neighbours at distance
            zero outvote all others; exp(cosine / temperature) for cosine, divided by the row's largest.
        temperature: of the weighted cosine vote.
        num_classes: width of the result; the largest training label + 1 when None.
        block_elements: most elements of any intermediate; the result and the neighbours come on top.

    Returns:
        float64 [t, classes]. The predicted class is the largest score, the smallest label when scores tie,
        which is what `argmax` gives and what scikit-learn's KNeighborsClassifier does.

    Raises:
        UserError: k or temperature no number or out of range, unknown distance or vote, unlabelled rows, a
            zero row under cosine distance.
        ValueError: shapes that don't fit, num_classes too small, block_elements < 1.

    Example:
        >>> train = torch.tensor([[0.0], [1.0], [5.0]])
        >>> knn_scores(train, torch.tensor([0, 0, 1]), torch.tensor([[0.4], [4.0]]), k=1)
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    _check_choices(k, len(train_x), distance, vote, temperature)
    if train_x.ndim != 2 or test_x.ndim != 2 or train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            f"expected train_x [n, d] and test_x [t, d], got {list(train_x.shape)} and {list(test_x.shape)}"
        )
    if train_y.shape != train_x.shape[:1]:
        raise ValueError(f"expected train_y [{len(train_x)}], got {list(train_y.shape)}")
    if block_elements < 1:
        raise ValueError(f"block_elements must be at least 1, got {block_elements}")
    if int(train_y.min()) < 0:
        raise UserError("train set: found images without labels; k-NN needs a label for every training image")
    classes = int(train_y.max()) + 1 if num_classes is None else num_classes
    if classes <= int(train_y.max()):
        raise ValueError(f"num_classes is {classes} but a training label is {int(train_y.max())}")

    cosine = distance == "cosine"
    if cosine:
        _check_directions(train_x, "train")
        _check_directions(test_x, "test")
    with torch.no_grad():
        squared, index = _nearest(train_x, test_x, k, cosine, block_elements)
        votes = _votes(squared, distance, vote, temperature)
        scores = torch.zeros(len(test_x), classes, dtype=torch.float64, device=test_x.device)
        return scores.scatter_add_(1, train_y.to(test_x.device)[index], votes)


def knn_accuracy(
    train: Features,
    test: Features,
    *,
    k: int = 5,
    distance: str = "euclidean",
    vote: str = "majority",
    temperature: float = 0.07,
    block_elements: int = BLOCK_ELEMENTS,
) -> dict[str, Any]:
    """k-NN accuracy of test features against training features (the paper's protocol by default).

    Args:
        train: the labelled features that vote.
        test: the labelled features that are classified.
        k, distance, vote, temperature, block_elements: as :func:`knn_scores`.

    Returns:
        top1 and top5 in percent, with the settings and sizes they belong to. top5 is the share of test images
        whose label is among the five classes with most votes and has at least one vote: with k = 5, among the
        labels of the five neighbours. It is None when there are five classes or fewer.

    Raises:
        UserError: as :func:`knn_scores`, or images without labels, or features that are not finite.

    Example:
        >>> train = Features(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 1]), list("abc"))
        >>> test = Features(torch.tensor([[0.4], [4.0]]), torch.tensor([0, 0]), list("de"))
        >>> result = knn_accuracy(train, test, k=1)
        >>> result["top1"], result["top5"]
        (50.0, None)
    """
    check_labelled(train, "train")
    check_labelled(test, "test")
    classes = 1 + max(int(train.y.max()), int(test.y.max()))
    scores = knn_scores(
        train.x,
        train.y,
        test.x,
        k=k,
        distance=distance,
        vote=vote,
        temperature=temperature,
        num_classes=classes,
        block_elements=block_elements,
    )
    ranks = label_ranks(scores, test.y)
    voted = scores.gather(1, test.y[:, None])[:, 0] > 0
    return {
        "top1": _percent(ranks < 1),
        "top5": _percent((ranks < 5) & voted) if classes > 5 else None,
        "k": k,
        "distance": distance,
        "vote": vote,
        "temperature": temperature if (distance, vote) == ("cosine", "weighted") else None,
        "num_classes": classes,
        "n_train": len(train.x),
        "n_test": len(test.x),
    }


def _check_choices(k: int, n_train: int, distance: str, vote: str, temperature: float) -> None:
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise UserError(f"k: found {k!r}, accepted: a positive integer")
    if not 1 <= k <= n_train:
        raise UserError(f"k: found {k}, accepted: 1 to {n_train} (the number of training images)")
    if distance not in DISTANCES:
        raise not_accepted("distance", distance, DISTANCES)
    if vote not in VOTES:
        raise not_accepted("vote", vote, VOTES)
    if isinstance(temperature, bool) or not isinstance(temperature, Real) or not 0 < temperature < math.inf:
        raise UserError(f"temperature: found {temperature!r}, accepted: a number above 0")


def _check_directions(x: Tensor, part: str) -> None:
    zero = int((torch.linalg.vector_norm(x, ord=math.inf, dim=1) == 0).sum())
    if zero:
        raise UserError(
            f"distance: found 'cosine' and {zero} all-zero feature rows in the {part} set, "
            "which have no direction; accepted here: euclidean"
        )


def _rows(x: Tensor, unit: bool) -> Tensor:
    """Rows [..., d] in float64, of length one where asked: made per block, never for a whole set."""
    x = x.double()
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) if unit else x


def _nearest(train: Tensor, test: Tensor, k: int, unit: bool, block_elements: int) -> tuple[Tensor, Tensor]:
    """Squared distances (float64) and training rows of the k nearest, nearest first, each [t, k]."""
    width = max(1, train.shape[1])
    keep = min(k + _SPARE, len(train))
    rows = max(1, min(1024, math.isqrt(block_elements), block_elements // width))
    columns = max(1, block_elements // max(rows, width))
    # the second measure holds rows x keep x d differences: cut it by the same bound
    exact_rows = max(1, block_elements // (keep * width))
    centre = torch.stack([_rows(block, unit).sum(dim=0) for block in train.split(columns)]).sum(dim=0)
    centre /= len(train)
    squared, index = [], []
    for block in test.split(rows):
        queries = _rows(block, unit)
        candidates = _candidates(queries - centre, train, centre, keep, unit, columns)
        for some_queries, some in zip(queries.split(exact_rows), candidates.split(exact_rows), strict=True):
            ordered = some.sort(dim=1).values  # with a stable sort below, equal distances go by training row
            exact = (_rows(train[ordered], unit) - some_queries[:, None]).square().sum(dim=2)
            order = exact.argsort(dim=1, stable=True)[:, :k]
            squared.append(exact.gather(1, order))
            index.append(ordered.gather(1, order))
    return torch.cat(squared), torch.cat(index)


def _candidates(
    queries: Tensor, train: Tensor, centre: Tensor, keep: int, unit: bool, columns: int
) -> Tensor:
    """Rows of `train` nearest to each centred query, [len(queries), keep], from blocks of `columns` rows."""
    best = queries.new_empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(train), columns):
        block = _rows(train[start : start + columns], unit) - centre
        # |query|^2 is the same for the whole row and doesn't change the order
        near = torch.addmm(block.square().sum(dim=1), queries, block.T, alpha=-2)
        values, where = near.topk(min(keep, near.shape[1]), dim=1, largest=False)
        best, index = torch.cat([best, values], dim=1), torch.cat([index, where + start], dim=1)
        if best.shape[1] > keep:
            best, where = best.topk(keep, dim=1, largest=False)
            index = index.gather(1, where)
    return index


def _votes(squared: Tensor, distance: str, vote: str, temperature: float) -> Tensor:
    if vote == "majority":
        return torch.ones_like(squared)
    if distance == "cosine":
        cosine = 1 - squared / 2  # unit rows
        return ((cosine - cosine.amax(dim=1, keepdim=True)) / temperature).exp()
    exact = squared == 0
    return torch.where(exact.any(dim=1, keepdim=True), exact.to(squared.dtype), squared.rsqrt())


def _percent(correct: Tensor) -> float:
    return 100.0 * float(correct.double().mean())
