from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from cifar_files import digits_rgb
from data_files import refused
from omegaconf import OmegaConf
from PIL import Image
from torchvision.transforms import functional

from solo_intl.data import DATASETS, eval_transform, normalization, open_split, train_transform

ZERO, ONE = (0.0,) * 3, (1.0,) * 3


def _digit(width: int, height: int) -> Image.Image:
    return Image.fromarray(digits_rgb(1, seed=1, size=64)[0][0]).resize((width, height))


@pytest.mark.parametrize("size", [8, 28, 32, 64, 65, 96, 224])
@pytest.mark.parametrize(("width", "height"), [(8, 8), (32, 32), (300, 200), (90, 260)])
def test_the_result_has_the_size_asked_for(size: int, width: int, height: int) -> None:
    for build in (eval_transform, train_transform):
        out = build(size, ZERO, ONE)(_digit(width, height))
        assert out.shape == (3, size, size) and out.dtype == torch.float32


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    image, _ = open_split({"dataset": "digits"}, "val")[0]
    out = eval_transform(8, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))(image)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    expected = (pixels - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 2.0]).view(
        3, 1, 1
    )
    assert torch.allclose(out, expected, atol=1e-6)


def test_a_small_square_is_kept_whole_and_resized_bicubically() -> None:
    image = _digit(48, 48)
    expected = functional.to_tensor(image.resize((32, 32), Image.Resampling.BICUBIC))
    assert torch.equal(eval_transform(32, ZERO, ONE)(image), expected)


def test_a_small_oblong_keeps_its_proportions() -> None:
    image = _digit(64, 32)
    out = eval_transform(32, ZERO, ONE)(image)
    assert torch.equal(out, functional.to_tensor(image.crop((16, 0, 48, 32))))


@pytest.mark.parametrize(("size", "shorter"), [(224, 256), (96, 110), (65, 74)])
def test_a_large_image_loses_its_margin(size: int, shorter: int) -> None:
    image = _digit(300, 300)
    expected = functional.center_crop(
        image.resize((shorter, shorter), Image.Resampling.BILINEAR), [size, size]
    )
    assert torch.equal(eval_transform(size, ZERO, ONE)(image), functional.to_tensor(expected))


def test_transforms_can_be_sent_to_a_worker() -> None:
    image = _digit(48, 40)
    sent = pickle.loads(pickle.dumps(eval_transform(32, *normalization({"dataset": "cifar10"}))))
    assert torch.equal(sent(image), eval_transform(32, *normalization({"dataset": "cifar10"}))(image))
    assert pickle.loads(pickle.dumps(train_transform(32, ZERO, ONE)))(image).shape == (3, 32, 32)


def test_training_crops_and_flips_at_random() -> None:
    torch.manual_seed(0)
    image, transform = _digit(64, 64), train_transform(32, ZERO, ONE)
    outs = [transform(image) for _ in range(40)]
    assert len({out.numpy().tobytes() for out in outs}) == 40
    crop, flip = transform.transforms[:2]
    assert crop.scale == (0.08, 1.0) and crop.size == (32, 32)
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).convert("RGB")
    falling = sum(bool(transform(ramp)[0, 0, 0] > transform(ramp)[0, 0, -1]) for _ in range(40))
    assert flip.p == 0.5 and 0 < falling < 40


def test_training_without_flips_and_with_larger_crops() -> None:
    torch.manual_seed(0)
    transform = train_transform(32, ZERO, ONE, min_scale=0.45, flip=False)
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).convert("RGB")
    assert all(bool(transform(ramp)[0, 0, 0] < transform(ramp)[0, 0, -1]) for _ in range(40))
    assert transform.transforms[0].scale == (0.45, 1.0)


def test_only_digits_change_their_class_in_a_mirror() -> None:
    assert [name for name, info in DATASETS.items() if not info.mirrored] == ["digits"]


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "custom"])
def test_a_known_data_set_keeps_its_statistics(name: str) -> None:
    expected = (DATASETS[name].mean, DATASETS[name].std)
    assert normalization({"dataset": name}) == expected
    assert normalization({"dataset": name}, {"mean": [0.5] * 3, "std": [0.5] * 3}) == expected


@pytest.mark.parametrize("name", ["custom", "never_heard_of"])
def test_own_images_take_the_augmentations(name: str) -> None:
    imagenet = (DATASETS["imagenet"].mean, DATASETS["imagenet"].std)
    cfg = {"dataset": name}
    assert normalization(cfg) == normalization(cfg, {"crop_size": 32}) == normalization(cfg, []) == imagenet
    given = OmegaConf.create([{"crop_size": 32}, {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}])
    assert normalization(cfg, given) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert normalization(cfg, {"std": [0.4, 0.5, 0.6]}) == (imagenet[0], (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("aug", "message"),
    [
        ({"mean": [0.5]}, r"augmentations\.mean: found \[0\.5\], accepted: three numbers"),
        ({"mean": "abc"}, r"augmentations\.mean: found 'abc', accepted: three numbers"),
        ({"std": 0.5}, r"augmentations\.std: found 0\.5, accepted: three numbers"),
        ({"std": [0.5, 0, 0.5]}, r"augmentations\.std: .*accepted: three numbers > 0"),
    ],
)
def test_statistics_that_are_none(aug: dict[str, object], message: str) -> None:
    with refused(message):
        normalization({"dataset": "custom"}, aug)
