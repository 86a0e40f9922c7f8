"""Claims: predictions and weights equal scikit-learn's; blocks, offsets and autocast change nothing; memory
is bounded; ties have one stated outcome; top-5 counts voted classes only; a wrong setting is one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch.utils._python_dispatch import TorchDispatchMode

from solo_intl.errors import UserError
from solo_intl.evaluation.features import Features
from solo_intl.evaluation.knn import knn_accuracy, knn_scores

DIGITS = load_digits()
TRAIN_X, TEST_X = (torch.from_numpy(part).float() / 16 for part in (DIGITS.data[:1400], DIGITS.data[1400:]))
TRAIN_Y, TEST_Y = (torch.from_numpy(part).long() for part in (DIGITS.target[:1400], DIGITS.target[1400:]))


def as_features(x: torch.Tensor, y: torch.Tensor) -> Features:
    return Features(x, y, [str(i) for i in range(len(x))])


def clear_of_ties(k: int, train_x: torch.Tensor = TRAIN_X) -> np.ndarray:
    """Test rows whose k-th and k+1-th neighbours differ: elsewhere the set of neighbours is not defined."""
    squared = torch.cdist(TEST_X.double() * 16, train_x.double() * 16).square().round().sort(dim=1).values
    return (squared[:, k - 1] != squared[:, k]).numpy()


@pytest.mark.parametrize("k", [1, 2, 5, 20, 101])
def test_majority_equals_scikit_learn(k: int) -> None:
    reference = KNeighborsClassifier(k, algorithm="brute").fit(TRAIN_X.double().numpy(), TRAIN_Y.numpy())
    expected = reference.predict_proba(TEST_X.double().numpy())
    ours = knn_scores(TRAIN_X, TRAIN_Y, TEST_X, k=k).numpy()
    clear = clear_of_ties(k)
    assert clear.mean() > 0.85
    np.testing.assert_allclose(ours[clear] / k, expected[clear], atol=1e-12)
    predicted = reference.predict(TEST_X.double().numpy())
    np.testing.assert_array_equal(ours.argmax(axis=1)[clear], predicted[clear])


@pytest.mark.parametrize("k", [1, 5, 20])
def test_inverse_distance_equals_scikit_learn_even_with_exact_matches(k: int) -> None:
    train_x, train_y = torch.cat([TRAIN_X, TEST_X[:50]]), torch.cat([TRAIN_Y, (TEST_Y[:50] + 1) % 10])
    reference = KNeighborsClassifier(k, weights="distance", algorithm="brute")
    reference.fit(train_x.double().numpy(), train_y.numpy())
    expected = reference.predict_proba(TEST_X.double().numpy())
    ours = knn_scores(train_x, train_y, TEST_X, k=k, vote="weighted").numpy()
    clear = clear_of_ties(k, train_x)
    np.testing.assert_allclose((ours / ours.sum(axis=1, keepdims=True))[clear], expected[clear], atol=1e-9)
    assert (ours[:50].argmax(axis=1) == ((TEST_Y[:50] + 1) % 10).numpy()).all()  # the copy outvotes the rest


@pytest.mark.parametrize("k", [1, 5, 20])
def test_cosine_equals_scikit_learn_whatever_the_norms(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = 10 ** (4 * torch.rand(len(TRAIN_X), 1, generator=generator) - 2)
    reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    reference.fit(TRAIN_X.double().numpy(), TRAIN_Y.numpy())
    ours = knn_scores(TRAIN_X * scale, TRAIN_Y, TEST_X * 7, k=k, distance="cosine").argmax(dim=1).numpy()
    assert (ours != reference.predict(TEST_X.double().numpy())).mean() < 0.003  # a rounded tie at most


def test_weighted_cosine_is_the_exponential_of_the_similarity() -> None:
    train = torch.tensor([[1.0, 0.0], [3.0, 3.0], [0.0, 2.0]])
    ours = knn_scores(
        train,
        torch.tensor([0, 1, 2]),
        torch.tensor([[5.0, 0.0]]),
        k=3,
        distance="cosine",
        vote="weighted",
        temperature=0.5,
    )
    expected = torch.tensor([[1.0, 0.5**0.5, 0.0]], dtype=torch.float64).sub(1).div(0.5).exp()
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("block_elements", [1, 97, 1000, 4099])
def test_blocks_change_nothing(block_elements: int) -> None:
    test = TEST_X[:23]
    whole = knn_scores(TRAIN_X, TRAIN_Y, test, k=7, vote="weighted")
    cut = knn_scores(TRAIN_X, TRAIN_Y, test, k=7, vote="weighted", block_elements=block_elements)
    assert torch.equal(whole, cut)


def test_a_common_offset_does_not_cancel_the_distances() -> None:
    # 2**30 and steps of 1/16 are exact in float64: only the distance formula can lose them
    shifted = knn_scores(TRAIN_X.double() + 2**30, TRAIN_Y, TEST_X.double() + 2**30)
    assert torch.equal(shifted, knn_scores(TRAIN_X, TRAIN_Y, TEST_X))


def test_tight_classes_inside_distant_groups_are_told_apart() -> None:
    # classes 1e-2 apart, norms of 80: centring can't help, and products in fp32 lose the difference
    generator = torch.Generator().manual_seed(0)
    groups = torch.tensor([10.0, -10.0]).repeat_interleave(8)[:, None]
    classes = groups + 1e-3 * torch.randn(16, 64, generator=generator)
    y = torch.arange(16).repeat(40)
    x = classes[y] + 1e-4 * torch.randn(640, 64, generator=generator)
    train, test = as_features(x[:480], y[:480]), as_features(x[480:], y[480:])
    nearest = torch.cdist(
        test.x.double(), train.x.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).argsort(dim=1)
    assert (train.y[nearest[:, :5]] == test.y[:, None]).all()
    assert knn_accuracy(train, test)["top1"] == 100.0
    each_row_its_own_class = knn_scores(train.x, torch.arange(480), test.x, k=5)
    chosen = torch.zeros(160, 480).scatter_(1, nearest[:, :5], 1).double()
    assert torch.equal(each_row_its_own_class, chosen)


def test_rows_of_any_length_have_a_direction() -> None:
    # fp32 squares of 1e-30 are zero
    scores = knn_scores(torch.eye(3) * 1e-30, torch.arange(3), torch.eye(3) * 1e30, k=1, distance="cosine")
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]


def test_autocast_of_the_caller_is_ignored() -> None:
    # two tight, distant clusters: centring leaves coordinates of 1 and distances of 1e-3, below bf16's step
    generator = torch.Generator().manual_seed(0)
    side = torch.tensor([1.0, -1.0]).repeat(150)[:, None]
    train = side + 1e-3 * torch.randn(300, 16, generator=generator)
    test = side[:20] + 1e-3 * torch.randn(20, 16, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = knn_scores(train, torch.arange(300), test, k=1)
    assert torch.equal(inside.argmax(dim=1), torch.cdist(test.double(), train.double()).argmin(dim=1))


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest tensor any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_memory_is_bounded_by_the_block(distance: str) -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.rand(3000, 64, generator=generator), torch.rand(2000, 64, generator=generator)
    with LargestTensor() as largest:
        knn_scores(train, torch.arange(3000) % 2, test, k=5, distance=distance, block_elements=20_000)
    # a copy of a set, or a mask over it, has 192,000 or 128,000; all distances would be 6,000,000
    assert 10_000 <= largest.numel <= 20_000


def test_cifars_size_is_exact_and_bounded() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(60_000, 512, generator=generator), torch.randn(12, 512, generator=generator)
    labels = torch.arange(60_000) % 10
    with LargestTensor() as largest:
        scores = knn_scores(train, labels, test, k=5)
    # 64 MiB in float64, where a copy of the training features would be 234 MiB
    assert largest.numel <= 2**23 < train.numel()
    distances = torch.cdist(test, train, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = labels[distances.topk(5, largest=False).indices]
    expected = torch.zeros(12, 10).scatter_add_(1, nearest, torch.ones(12, 5))
    assert torch.equal(scores.float(), expected)


def test_majority_ties_go_to_the_smallest_label_as_in_scikit_learn() -> None:
    x, y = torch.tensor([[1.0], [-1.5]]), torch.tensor([1, 0])
    reference = KNeighborsClassifier(2).fit(x.numpy(), y.numpy())
    scores = knn_scores(x, y, torch.zeros(1, 1), k=2)
    assert scores.tolist() == [[1.0, 1.0]]
    assert int(scores.argmax()) == int(reference.predict(np.zeros((1, 1)))[0]) == 0


@pytest.mark.parametrize("block_elements", [4, 2**24])
def test_equal_distances_go_by_training_row(block_elements: int) -> None:
    x, y = torch.ones(9, 2), torch.arange(8, -1, -1)
    scores = knn_scores(x, y, torch.zeros(1, 2), k=2, block_elements=block_elements)
    assert scores.nonzero()[:, 1].tolist() == [7, 8]  # the labels of rows 1 and 0


def test_accuracy_is_scikit_learns_score() -> None:
    result = knn_accuracy(as_features(TRAIN_X, TRAIN_Y), as_features(TEST_X, TEST_Y))
    reference = KNeighborsClassifier(5).fit(TRAIN_X.numpy(), TRAIN_Y.numpy())
    assert result["top1"] == pytest.approx(100 * reference.score(TEST_X.numpy(), TEST_Y.numpy()), abs=0.3)
    assert result["top1"] <= result["top5"] <= 100
    assert (result["k"], result["distance"], result["vote"]) == (5, "euclidean", "majority")
    assert (result["n_train"], result["n_test"], result["num_classes"]) == (1400, 397, 10)


def test_top5_counts_voted_classes_only() -> None:
    train = as_features(torch.arange(7.0)[:, None], torch.arange(7))
    test = as_features(torch.tensor([[6.0], [6.0]]), torch.tensor([0, 2]))
    # the neighbours of 6 are labels 6, 5, 4, 3, 2: label 0 has no vote, though it would win ties by label
    assert knn_accuracy(train, test, k=5)["top5"] == 50.0
    assert knn_accuracy(train, test, k=1)["top5"] == 0.0


def test_top5_is_none_with_five_classes() -> None:
    points = as_features(torch.arange(5.0)[:, None], torch.arange(5))
    assert knn_accuracy(points, points, k=1)["top5"] is None


def test_a_test_class_never_trained_on_is_wrong_not_an_error() -> None:
    train = as_features(torch.zeros(2, 1), torch.tensor([0, 1]))
    assert knn_accuracy(train, as_features(torch.zeros(1, 1), torch.tensor([6])), k=1)["top1"] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, r"k: found 0, accepted: 1 to 3"),
        ({"k": 4}, r"k: found 4, accepted: 1 to 3"),
        ({"k": "abc"}, r"^k: found 'abc', accepted: a positive integer$"),
        ({"k": 2.5}, r"^k: found 2\.5, accepted: a positive integer$"),
        ({"k": True}, r"^k: found True, accepted: a positive integer$"),
        ({"k": None}, r"^k: found None, accepted: a positive integer$"),
        ({"distance": "manhattan"}, r"distance: found 'manhattan', accepted: euclidean, cosine"),
        ({"distance": "cosin"}, r"distance: found 'cosin', accepted: euclidean, cosine \(nearest: cosine\)"),
        ({"vote": "rank"}, r"vote: found 'rank', accepted: majority, weighted"),
        ({"temperature": "x"}, r"^temperature: found 'x', accepted: a number above 0$"),
        ({"temperature": True}, r"^temperature: found True, accepted: a number above 0$"),
        ({"temperature": float("nan")}, r"temperature: found nan, accepted: a number above 0"),
        ({"temperature": float("inf")}, r"temperature: found inf, accepted: a number above 0"),
        ({"temperature": 0.0}, r"temperature: found 0.0, accepted: a number above 0"),
        ({"distance": "cosine"}, r"1 all-zero feature rows in the train set"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, object], message: str) -> None:
    points = as_features(torch.arange(3.0)[:, None], torch.tensor([0, 1, 0]))
    with pytest.raises(UserError, match=message) as error:
        knn_accuracy(points, points, **{"k": 1, **settings})  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["train", "test"])
def test_unlabelled_images_are_refused(part: str) -> None:
    labelled = as_features(torch.zeros(2, 1), torch.tensor([0, 1]))
    unlabelled = as_features(torch.zeros(2, 1), torch.tensor([0, -1]))
    sets = (unlabelled, labelled) if part == "train" else (labelled, unlabelled)
    with pytest.raises(UserError, match=f"{part} set: 1 of 2 images have no label"):
        knn_accuracy(*sets, k=1)
    with pytest.raises(UserError, match="without labels"):
        knn_scores(unlabelled.x, unlabelled.y, labelled.x, k=1)


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=r"expected train_x \[n, d\]"):
        knn_scores(x, y, torch.zeros(3, 4), k=1)
    with pytest.raises(ValueError, match=r"expected train_y \[3\]"):
        knn_scores(x, y[:2], x, k=1)
    with pytest.raises(ValueError, match="num_classes is 2"):
        knn_scores(x, y, x, k=1, num_classes=2)
    with pytest.raises(ValueError, match="block_elements"):
        knn_scores(x, y, x, k=1, block_elements=0)
