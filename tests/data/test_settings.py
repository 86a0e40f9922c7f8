from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from data_files import refused, write_class_folders
from omegaconf import OmegaConf
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_intl import errors
from solo_intl.data import DATASETS, count_classes, open_split, registry, settings


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (
            {"dataset": "cifar"},
            r"data\.dataset: found 'cifar', accepted: digits, .*custom \(nearest: cifar10\)",
        ),
        ({"dataset": "stl10"}, r"data\.dataset: found 'stl10', accepted: digits, fashion_mnist"),
        ({}, r"data\.dataset: found None, accepted: digits"),
        ({"dataset": 10}, r"data\.dataset: found 10, accepted"),
        ({"dataset": "custom", "format": "imagefolder"}, r"data\.format: .*\(nearest: image_folder\)"),
        ({"dataset": "custom", "format": "dali"}, r"data\.format: found 'dali'.*accepted: image_folder, h5$"),
        ({"dataset": "digits", "format": "h5"}, r"data\.format: found 'h5', accepted: image_folder$"),
        (
            {"dataset": "digits", "fraction": 1.5},
            r"data\.fraction: found 1\.5, accepted: -1 \(everything\) or",
        ),
        ({"dataset": "digits", "fraction": 0}, r"data\.fraction: found 0, accepted"),
        ({"dataset": "digits", "fraction": 1}, r"data\.fraction: found 1, accepted"),
        ({"dataset": "digits", "fraction": "half"}, r"data\.fraction: found 'half', accepted"),
        (
            {"dataset": "digits", "fraction": 1e-5},
            r"data\.fraction: found 1e-05, which leaves none of the 1437",
        ),
        (
            {"dataset": "digits", "max_images": 0},
            r"data\.max_images: found 0, accepted: -1 \(everything\) or",
        ),
        ({"dataset": "digits", "max_images": -2}, r"data\.max_images: found -2, accepted.* an integer >= 1"),
        ({"dataset": "digits", "max_images": 2.5}, r"data\.max_images: found 2\.5, accepted"),
        ({"dataset": "digits", "max_images": True}, r"data\.max_images: found True, accepted"),
        ({"dataset": "digits", "max_images": 1438}, r"data\.max_images: found 1438, accepted: 1 to 1437"),
        ({"dataset": "digits", "subset_seed": -1}, r"data\.subset_seed: found -1, accepted: an integer >= 0"),
        (
            {"dataset": "digits", "max_images": 5, "fraction": 0.5},
            r"data\.fraction, data\.max_images: found 0\.5 and 5, accepted: one of them",
        ),
        ({"dataset": "custom", "no_labels": "yes"}, r"data\.no_labels: found 'yes', accepted: true, false"),
        ({"dataset": "cifar10", "download": 1}, r"data\.download: found 1, accepted: true, false"),
        ({"dataset": "custom", "train_path": 3}, r"data\.train_path: found 3, accepted: a path"),
        ({"dataset": "custom", "train_path": " "}, r"data\.train_path: found ' ', accepted: a path"),
    ],
)
def test_a_value_that_is_not_accepted_names_its_key(cfg: dict[str, object], message: str) -> None:
    with refused(f"^{message}"):
        open_split(cfg, "train")


def test_not_accepted_is_the_house_s_own() -> None:
    assert registry.not_accepted is settings.not_accepted is errors.not_accepted


def test_an_unknown_split_is_refused() -> None:
    with refused("split: found 'valid', accepted: train, val"):
        open_split({"dataset": "digits"}, "valid")


def test_count_classes_refuses_as_opening_does(tmp_path: Path) -> None:
    with refused(r"data\.dataset: found 'cifra10'.*nearest: cifar10"):
        count_classes({"dataset": "cifra10"})
    with refused(r"data\.train_path: .*doesn't exist"):
        count_classes({"dataset": "custom", "train_path": str(tmp_path / "none")})


def test_a_hydra_section_is_read_as_a_dict_is(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 2, "b": 2})
    cfg = OmegaConf.create(
        {
            "dataset": "custom",
            "train_path": str(tmp_path),
            "val_path": None,
            "format": "image_folder",
            "no_labels": False,
            "fraction": -1,
            "num_workers": 4,
        }
    )
    OmegaConf.set_struct(cfg, True)
    assert open_split(cfg, "train").labels == [0, 0, 1, 1]
    assert count_classes(cfg) == 2


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_class_folders(tmp_path / "photos", {"a": 1})
    assert len(open_split({"dataset": "custom", "train_path": "~/photos"}, "train")) == 1


def test_the_table() -> None:
    assert list(DATASETS) == [
        "digits", "fashion_mnist", "cifar10", "cifar100", "imagenet", "imagenet100", "custom"
    ]  # fmt: skip
    facts = {name: (info.num_classes, info.image_size) for name, info in DATASETS.items()}
    assert facts == {
        "digits": (10, 8),
        "fashion_mnist": (10, 28),
        "cifar10": (10, 32),
        "cifar100": (100, 32),
        "imagenet": (1000, None),
        "imagenet100": (100, None),
        "custom": (None, None),
    }
    assert (DATASETS["cifar10"].mean, DATASETS["cifar10"].std) == (
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
    )
    assert (DATASETS["cifar100"].mean, DATASETS["cifar100"].std) == (
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
    )


def test_imagenet_statistics_are_timms() -> None:
    for name in ("imagenet", "imagenet100", "custom"):
        assert DATASETS[name].mean == IMAGENET_DEFAULT_MEAN
        assert DATASETS[name].std == IMAGENET_DEFAULT_STD


def test_importing_the_room_loads_neither_solo_nor_what_is_slow() -> None:
    heavy = ("solo", "torchvision", "sklearn", "h5py")
    code = f"import sys, solo_intl.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
