"""Claims, on folders of real scans: pre-training without labels and then a labelled evaluation of other
images; the evaluation sees the statistics and the size that pre-training used; two classes have no top-5;
embed takes every image of any folder; what has no labels is refused by name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from solo_intl.cli import main
from solo_intl.commands.frozen import open_frozen
from solo_intl.config import run_with_hydra
from solo_intl.evaluation import load_backbone

SMALL = [
    "max_epochs=1",
    "data.num_workers=0",
    "optimizer.batch_size=16",
    "backbone.stem_stride=2",
    "method_kwargs.proj_hidden_dim=32",
    "method_kwargs.proj_output_dim=64",
]


def write_scans(root: Path, per_class: int, *, labelled: bool, start: int = 0) -> Path:
    digits = load_digits()
    for label in (0, 1):
        scans = digits.images[digits.target == label][start : start + per_class]
        folder = root / str(label) if labelled else root
        folder.mkdir(parents=True, exist_ok=True)
        for i, scan in enumerate(scans):
            Image.fromarray((scan * 15.9).astype("uint8")).save(folder / f"{label}-{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unlabelled and labelled folders, and one run pre-trained on the former with statistics of its own."""
    place = tmp_path_factory.mktemp("own")
    write_scans(place / "flat", 10, labelled=False)
    write_scans(place / "train", 30, labelled=True)
    write_scans(place / "val", 20, labelled=True, start=40)
    statistics = [
        f"augmentations.{i}.{key}={value}"
        for i in (0, 1)
        for key, value in (("mean", [0.5] * 3), ("std", [0.25] * 3))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
        data = ["data.dataset=custom", "data.train_path=flat"]
        assert main(["pretrain", *SMALL, *data, *(f"++{s}" for s in statistics)]) == 0
    return place


def newest(place: Path, command: str) -> Path:
    return max((place / "runs" / command).iterdir(), key=lambda p: p.stat().st_mtime)


OTHER = ["data.dataset=custom", "data.train_path=train", "data.val_path=val", "data.num_workers=0"]


@pytest.mark.parametrize("protocol", ["adam", "sgd"])
def test_labelled_evaluation_after_label_free_pretraining(place: Path, protocol: str, monkeypatch):
    monkeypatch.chdir(place)
    config = [] if protocol == "adam" else ["--config-path=linear/cifar", "--config-name=sgd"]
    last = newest(place, "pretrain") / "checkpoints" / "last.ckpt"
    arguments = [
        *config,
        *OTHER,
        "max_epochs=3",
        "optimizer.batch_size=16",
        f"pretrained_feature_extractor={last}",
    ]
    assert main(["linear", *arguments]) == 0
    metrics = json.loads((newest(place, "linear") / "metrics.json").read_text())["metrics"]
    assert metrics["top1"] >= 50
    assert metrics["top5"] is None


def test_knn_on_other_images(place: Path, monkeypatch):
    monkeypatch.chdir(place)
    assert main(["knn", *OTHER, "k=3"]) == 0
    metrics = json.loads((newest(place, "knn") / "metrics.json").read_text())["metrics"]
    assert metrics["top1"] > 80, "zeros and ones"
    assert (metrics["n_train"], metrics["n_test"]) == (60, 40)


def test_evaluation_normalises_and_resizes_as_pretraining_did(place: Path, monkeypatch):
    monkeypatch.chdir(place)
    frozen = open_frozen(run_with_hydra("knn", lambda cfg: cfg, OTHER), "knn")
    grey = Image.new("RGB", (40, 40), (128, 128, 128))
    out = frozen.transform(grey)
    assert out.shape == (3, 16, 16)
    torch.testing.assert_close(out, torch.full((3, 16, 16), (128 / 255 - 0.5) / 0.25))


def test_embed_takes_every_image_of_any_folder(place: Path, monkeypatch):
    monkeypatch.chdir(place)
    mixed = write_scans(place / "mixed", 2, labelled=False)
    (mixed / "thumbs").mkdir(exist_ok=True)
    Image.new("RGB", (10, 10)).save(mixed / "thumbs" / "t.png")
    assert main(["embed", "folder=mixed"]) == 0
    rows = list(csv.DictReader((newest(place, "embed") / "names.csv").open()))
    assert [row["name"] for row in rows] == [
        "0-000.png",
        "0-001.png",
        "1-000.png",
        "1-001.png",
        "thumbs/t.png",
    ]


@pytest.mark.parametrize(
    "command", [["linear"], ["linear", "--config-path=linear/cifar", "--config-name=sgd"], ["knn"]]
)
def test_unlabelled_images_cannot_be_classified(place: Path, command: list[str], monkeypatch, capsys):
    monkeypatch.chdir(place)
    last = newest(place, "pretrain") / "checkpoints" / "last.ckpt"
    data = ["data.dataset=custom", "data.train_path=flat", "data.val_path=flat", "data.num_workers=0"]
    assert main([*command, *data, f"pretrained_feature_extractor={last}"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "label" in errors[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_epochs=abc", "max_epochs: found 'abc'"),
        ("optimizer.lr=abc", "optimizer.lr: found 'abc'"),
        ("optimizer.name=sgd", "optimizer.name: found 'sgd', accepted: adam"),
        (
            "--config-name=sgd check_val_every_n_epoch=3",
            "check_val_every_n_epoch: found 3, acc",
        ),
        ("--config-name=sgd limit_val_batches=1", "limit_val_batches: found 1, accepted: null"),
        ("--config-name=sgd max_steps=1", "max_steps: found 1, accepted: null"),
    ],
)
def test_linear_mistakes_name_the_key(place: Path, override: str, message: str, monkeypatch, capsys):
    monkeypatch.chdir(place)
    by_sgd = ["--config-path=linear/cifar"] if "=sgd " in override else []
    assert main(["linear", *OTHER, *by_sgd, *override.split()]) == 2
    assert message in capsys.readouterr().err


def test_the_checkpoint_says_what_its_network_is(place: Path):
    loaded = load_backbone(newest(place, "pretrain") / "checkpoints" / "last.ckpt")
    assert loaded.cfg.backbone.stem_stride == 2
    assert loaded.backbone.conv1.stride == (2, 2)
    assert not any(p.requires_grad for p in loaded.backbone.parameters())
