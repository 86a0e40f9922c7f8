"""Claims about fine-tuning, with a backbone of one layer: labelled images are those of the list; they are
cropped to `crop_min_scale` or more and mirrored where the data set is, normalised with the given statistics,
and the validation split is not augmented; the classifier starts small; under accumulation both rates follow
the batch of a step; an image that would be alone in its batch is left out and no other; same seed, same
weights."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchvision.transforms import functional

from solo_intl.config import SCRIPTS
from solo_intl.config.evaluation import evaluation_settings, finetune_settings
from solo_intl.data import open_split
from solo_intl.engine.finetune import FineTuning, finetune, open_labelled
from solo_intl.experiments.cell import read_config

SIZE, WIDTH = 16, 8
STATISTICS = ((0.5,) * 3, (0.25,) * 3)
BUILT_FROM = OmegaConf.create({"backbone": {"name": "resnet18"}, "data": {"dataset": "digits"}})


def configuration(place: Path, *overrides: str) -> DictConfig:
    small = ["data.dataset=digits", "data.num_workers=0", "max_epochs=1", "optimizer.batch_size=16"]
    cfg = read_config(SCRIPTS / "finetune", "default", [*small, f"checkpoint.dir={place}", *overrides])
    cfg = evaluation_settings(cfg, "finetune")
    finetune_settings(cfg)
    return cfg


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, WIDTH), nn.BatchNorm1d(WIDTH))


def tuned(place: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """Weights after one epoch, and the rows of metrics.csv."""
    extra = ("+log_every_n_steps=1", "precision=32-true", "accelerator=cpu")
    cfg = configuration(place, "data.fraction=-1", *extra, *overrides)
    data = open_labelled(cfg, SIZE, STATISTICS)
    finetune(cfg, (network(), WIDTH, BUILT_FROM), data, place / "run")
    state = torch.load(place / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    with (place / "run" / "metrics.csv").open(newline="") as file:
        return state, list(csv.DictReader(file))


def test_the_images_are_those_of_the_list(tmp_path: Path) -> None:
    names = open_split({"dataset": "digits"}, "train").names[5:405:2]
    (tmp_path / "list.txt").write_text("\n".join(names))
    given = [f"data.subset_file={tmp_path / 'list.txt'}", "data.fraction=-1"]
    train, val = open_labelled(configuration(tmp_path, *given), SIZE, STATISTICS)
    assert sorted(train.names) == sorted(names)
    assert (len(val), set(val.names) & set(names)) == (360, set())


def photographs(root: Path) -> list[str]:
    """Digits as images of one's own: their classes are mirrored in training, digits' own never are."""
    scans = open_split({"dataset": "digits", "max_images": 4}, "train")
    for i in range(4):
        (root / "photos" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        scans[i][0].save(root / "photos" / str(i % 2) / f"{i}.png")
    folder = root / "photos"
    return ["data.dataset=custom", f"data.train_path={folder}", f"data.val_path={folder}", "data.fraction=-1"]


@pytest.mark.parametrize("mirrored", [False, True])
def test_labelled_images_are_cropped_and_mirrored(tmp_path: Path, mirrored: bool) -> None:
    data = photographs(tmp_path) if mirrored else []

    def draws(scale: float) -> tuple[set[bytes], torch.Tensor]:
        cfg = configuration(tmp_path, *data, f"crop_min_scale={scale}")
        train, val = open_labelled(cfg, SIZE, STATISTICS)
        assert torch.equal(val[0][0], val[0][0])
        raw = open_split(cfg.data, "train")[0][0]
        whole = (functional.to_tensor(functional.resize(raw, [SIZE, SIZE])) - 0.5) / 0.25
        return {train[0][0].numpy().tobytes() for _ in range(20)}, whole

    torch.manual_seed(0)  # few crops of 8 x 8 pixels differ: 20 free draws held only 15 different ones once
    # a crop of the whole area is the image
    found, whole = draws(1.0)
    images = [whole, whole.flip(-1)] if mirrored else [whole]
    assert found == {image.numpy().tobytes() for image in images}
    assert len(draws(0.3)[0]) > 15


def test_the_classifier_starts_small() -> None:
    cfg = OmegaConf.create({"data": {"num_classes": 100}})
    classifier = FineTuning(nn.Flatten(), 512, cfg, BUILT_FROM).classifier
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not classifier.bias.any()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_both_rates_follow_the_batch_of_a_step(tmp_path: Path, accumulated: int) -> None:
    given = ["data.max_images=64", f"+accumulate_grad_batches={accumulated}"]
    _, rows = tuned(tmp_path, *given)
    for group, base in (("backbone", 0.006), ("classifier", 0.2)):
        (column,) = [name for name in rows[0] if name.startswith("lr") and name.endswith(group)]
        first = next(float(row[column]) for row in rows if row[column])
        assert first == pytest.approx(base * 16 * accumulated / 256)


@pytest.mark.parametrize(("images", "batches"), [(33, 2), (34, 3), (48, 3)])
def test_no_image_is_alone_in_its_batch(tmp_path: Path, images: int, batches: int) -> None:
    state, _ = tuned(tmp_path, f"data.max_images={images}")
    assert int(state["backbone.2.num_batches_tracked"]) == batches


def test_same_seed_same_weights(tmp_path: Path) -> None:
    runs = [
        tuned(tmp_path / name, "data.max_images=40", f"seed={seed}")[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert all(torch.equal(value, runs[1][key]) for key, value in runs[0].items())
    assert not torch.equal(runs[0]["classifier.weight"], runs[2]["classifier.weight"])
