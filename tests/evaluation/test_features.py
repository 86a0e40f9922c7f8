"""Claims: features are evaluation-mode outputs, in order, in fp32, with nothing left changed behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from solo_intl.errors import UserError
from solo_intl.evaluation.features import Features, extract_features, raw_pixel_features


class Pictures(Dataset):
    """Seven random 8 px images with names and labels."""

    def __init__(self) -> None:
        self.images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        self.names = [f"cat/{index}.png" for index in range(7)]

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], index % 3 - 1


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(1)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(generator=generator)
    return layers


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 0), (3, 0), (7, 0), (100, 0), (3, 2)])
def test_outputs_in_order_with_the_last_batch(batch_size: int, num_workers: int) -> None:
    data, layers = Pictures(), network()
    features = extract_features(layers, data, batch_size=batch_size, num_workers=num_workers)
    with torch.no_grad():
        expected = layers.eval()(data.images)
    torch.testing.assert_close(features.x, expected, atol=1e-6, rtol=0)
    assert features.y.tolist() == [-1, 0, 1, -1, 0, 1, -1]
    assert features.names == data.names


def test_leaves_modes_statistics_and_generators_as_they_were() -> None:
    layers = network().train()
    layers[1].eval()
    before, statistics = torch.get_rng_state(), layers[1].running_mean.clone()
    extract_features(layers, Pictures())
    assert [module.training for module in layers] == [True, False, True, True, True]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(layers[1].running_mean, statistics)


def test_results_and_network_can_still_be_trained() -> None:
    layers = network()
    x = extract_features(layers, Pictures()).x
    assert not x.is_inference()
    layers.train()(Pictures().images).sum().backward()
    assert all(not p.is_inference() and p.grad is not None for p in layers.parameters())


def test_images_reach_the_network_in_channels_last() -> None:
    seen: list[bool] = []

    class Spy(nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    extract_features(Spy(), Pictures(), batch_size=4)
    assert seen == [True, True]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_is_close_and_returned_in_fp32(precision: str) -> None:
    data = Pictures()
    full, mixed = (extract_features(network(), data, precision=p).x for p in ("32-true", precision))
    assert mixed.dtype == torch.float32
    assert not torch.equal(full, mixed)
    torch.testing.assert_close(mixed, full, atol=0.05, rtol=0.05)


def test_names_default_to_positions() -> None:
    data = TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert extract_features(nn.Identity(), data).names == ["00000", "00001"]


class Poisoned(nn.Flatten):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        out[2, 0] = float("inf")
        return out


@pytest.mark.parametrize(
    ("backbone", "settings", "message"),
    [
        (nn.Identity(), {}, r"output is a tensor \[7, 3, 8, 8\], accepted: a tensor \[batch, features\]"),
        (nn.Flatten(0), {}, r"output is a tensor \[1344\]"),
        (nn.Flatten(), {"precision": "64"}, "precision: found '64', accepted: 32-true, bf16-mixed, 16-mixed"),
        (Poisoned(), {}, r"features of 1 of 7 images are NaN or infinite \(first: cat/2.png\)"),
    ],
)
def test_refuses_in_one_line(backbone: nn.Module, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        extract_features(backbone, Pictures(), **settings)
    assert "\n" not in str(error.value)


def test_no_images_is_refused() -> None:
    empty = TensorDataset(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UserError, match="found no images"):
        extract_features(nn.Identity(), empty)


def test_features_must_fit_together() -> None:
    with pytest.raises(ValueError, match="n names"):
        Features(torch.zeros(2, 3), torch.tensor([0, 1]), ["a"])


def test_raw_pixels_are_the_images_bytes_over_255() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    features = raw_pixel_features([(Image.fromarray(image), label) for label, image in enumerate(pixels)])
    np.testing.assert_array_equal(features.x.numpy(), pixels.reshape(3, -1) / np.float32(255))
    assert features.y.tolist() == [0, 1, 2]


def test_raw_pixels_refuse_mixed_sizes_and_tensors() -> None:
    mixed = [(Image.new("RGB", (2, 2)), 0), (Image.new("RGB", (2, 3)), 0)]
    with pytest.raises(UserError, match="00001: image is 2x3 and the first 2x2"):
        raw_pixel_features(mixed)
    with pytest.raises(TypeError, match="without a transform"):
        raw_pixel_features([(torch.zeros(3, 2, 2), 0)])
