"""scikit-learn's handwritten digits: 1,797 real scans that come with the library."""

from __future__ import annotations

import numpy as np

from solo_intl.data.dataset import ArraySource

#: Stratified, fixed, and the same for everyone: 1,437 to train on, 360 to validate.
VAL_FRACTION = 0.2
SPLIT_SEED = 0


def open_digits(split: str) -> ArraySource:
    """The 8 x 8 digits of one split, their 17 grey levels spread over 0..255.

    Example:
        >>> len(open_digits("train").labels), len(open_digits("val").labels)
        (1437, 360)
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    train, val = train_test_split(
        np.arange(len(images)), test_size=VAL_FRACTION, random_state=SPLIT_SEED, stratify=digits.target
    )
    chosen = train if split == "train" else val
    classes = [str(name) for name in digits.target_names]
    return ArraySource(images[chosen], digits.target[chosen].astype(np.int64), classes, split)
