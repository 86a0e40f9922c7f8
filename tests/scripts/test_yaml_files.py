"""The YAML folder as a whole.

Claims: the promised files are there; each composes and keeps Hydra from writing anything; augmentation
entries hold exactly solo-learn's keys; INTL warms up from 0 over two epochs and leaves min_lr to the
method; settings that Lightning reads are ones its Trainer takes; the configs solo-learn's scripts read
hold no key unknown to those scripts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ALL = sorted(path.relative_to(SCRIPTS).as_posix() for path in SCRIPTS.rglob("*.yaml"))
BASES = [
    path for path in ALL if Path(path).name == "base.yaml"
]  # shared by a folder, no configuration itself
# not Hydra's: two sizes of one analysis in a file; tests/experiments/analysis reads them
ANALYSES = [path for path in ALL if path.startswith("experiment/")]
CONFIGS = [path for path in ALL if "/augmentations/" not in path and path not in BASES + ANALYSES]
VIEWS = [path for path in ALL if "/augmentations/" in path]
PRETRAIN = [path for path in CONFIGS if path.startswith("pretrain/")]
INTL = [path for path in PRETRAIN if Path(path).name.startswith("intl")]
LINEAR = [path for path in CONFIGS if path.startswith("linear/")]
# Evaluation on whatever the checkpoint was pre-trained on.
DEFAULTS = ["linear/default.yaml", "knn/default.yaml", "embed/default.yaml"]
# Those that solo-learn's own scripts read as they are.
SHARED = [path for path in INTL + LINEAR if path.split("/")[1] in ("cifar", "imagenet-100", "imagenet")]

# Folders, or files, that only our own commands read.
OUR_OWN = ("digits", "fashion-mnist", "default.yaml")

DATASETS = ("digits", "fashion-mnist", "cifar", "imagenet-100")
EXPECTED = {
    *(f"pretrain/{dataset}/intl.yaml" for dataset in DATASETS),
    *(f"pretrain/imagenet/intl_{epochs}ep.yaml" for epochs in (100, 200, 400, 800)),
    *(f"pretrain/imagenet/intl_ema_{epochs}ep.yaml" for epochs in (100, 200, 800)),
    *(f"pretrain/imagenet/intl_multicrop_{epochs}ep.yaml" for epochs in (100, 200, 400)),
    *(f"pretrain/imagenet/intl_ema_multicrop_{epochs}ep.yaml" for epochs in (100, 200, 400, 800)),
    *(f"pretrain/fashion-mnist/intl_{form}.yaml" for form in ("ema", "multicrop", "ema_multicrop")),
    "pretrain/digits/intl_ema.yaml",
    *(f"pretrain/{dataset}/intl_batched.yaml" for dataset in ("digits", "fashion-mnist")),
    *(f"linear/{dataset}/intl.yaml" for dataset in (*DATASETS, "imagenet")),
    "linear/imagenet/intl_ema_multicrop.yaml",
    "linear/cifar/sgd.yaml",
    "knn/default.yaml",
    "embed/default.yaml",
    "export/default.yaml",
    "finetune/default.yaml",
    *(
        f"finetune/{dataset}/{share}percent.yaml"
        for dataset in ("imagenet", "fashion-mnist")
        for share in (1, 10)
    ),
    *(f"finetune/imagenet/intl_ema_multicrop_{share}percent.yaml" for share in (1, 10)),
    *(
        f"pretrain/{dataset}/augmentations/asymmetric.yaml"
        for dataset in ("cifar", "imagenet-100", "imagenet")
    ),
    *(f"pretrain/{dataset}/augmentations/grey.yaml" for dataset in ("digits", "fashion-mnist")),
    *(f"pretrain/{dataset}/augmentations/multicrop.yaml" for dataset in ("imagenet", "fashion-mnist")),
}

VIEW_KEYS = {
    "rrc": {"enabled", "crop_min_scale", "crop_max_scale"},
    "color_jitter": {"prob", "brightness", "contrast", "saturation", "hue"},
    "grayscale": {"prob"},
    "gaussian_blur": {"prob"},
    "solarization": {"prob"},
    "equalization": {"prob"},
    "horizontal_flip": {"prob"},
    "crop_size": set(),
    "num_crops": set(),
}

TRAINER_KEYS = {"max_epochs", "devices", "accelerator", "strategy", "sync_batchnorm", "precision"}
# What solo-learn HEAD's parsers, base method, linear model and checkpointer read, by the keys used here.
READ_BY_SOLO_LEARN = {
    *TRAINER_KEYS,
    *("name", "seed", "backbone.name", "backbone.kwargs.zero_init_residual"),
    *(f"data.{key}" for key in ("dataset", "train_path", "val_path", "format", "num_workers")),
    *(f"optimizer.{key}" for key in ("name", "batch_size", "lr", "weight_decay", "kwargs.momentum")),
    "scheduler.name",
    *(f"checkpoint.{key}" for key in ("enabled", "dir", "frequency", "keep_prev")),
    "auto_resume.enabled",
    *(f"wandb.{key}" for key in ("enabled", "project", "entity", "offline")),
}
READ_IN_PRETRAINING = {
    "method",
    *(
        f"method_kwargs.{key}"  # passed through to the method
        for key in ("proj_hidden_dim", "proj_output_dim", "iterations", "beta", "axis")
    ),
    *("optimizer.classifier_lr", "optimizer.exclude_bias_n_norm_wd"),
    *("momentum.base_tau", "momentum.final_tau"),
    *("scheduler.warmup_epochs", "scheduler.warmup_start_lr", "scheduler.interval"),
    "augmentations",
}
READ_IN_LINEAR = {"pretrained_feature_extractor", "pretrain_method", "scheduler.lr_decay_steps"}
# Ours: solo-learn never looks at them.
IGNORED_IN_LINEAR = {"protocol", "optimizer.final_lr", "use_momentum"}


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def plain(cfg: DictConfig) -> dict[str, Any]:
    found = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


@pytest.mark.parametrize("path", sorted(EXPECTED))
def test_promised_file_is_there(path: str) -> None:
    assert path in ALL


@pytest.mark.parametrize("path", CONFIGS)
def test_composes(composed: Callable[..., DictConfig], path: str) -> None:
    cfg = plain(composed(path))
    assert cfg["name"]
    assert "hydra" not in cfg


@pytest.mark.parametrize("path", CONFIGS)
def test_hydra_writes_nothing(path: str) -> None:
    file = SCRIPTS / path
    with initialize_config_dir(str(file.parent), version_base="1.2"):
        hydra = compose(file.name, return_hydra_config=True).hydra
    assert (hydra.output_subdir, hydra.run.dir) == (None, ".")
    for kind in ("hydra_logging", "job_logging"):
        assert hydra.runtime.choices[f"hydra/{kind}"] == "disabled"
        assert "handlers" not in hydra[kind]


@pytest.mark.parametrize("path", VIEWS)
def test_view_entries_hold_exactly_solo_learns_keys(path: str) -> None:
    entries = OmegaConf.to_container(OmegaConf.load(SCRIPTS / path))
    assert isinstance(entries, list)
    assert entries
    for entry in entries:
        found = {key: set(value) if isinstance(value, dict) else set() for key, value in entry.items()}
        assert found == VIEW_KEYS


@pytest.mark.parametrize("path", PRETRAIN)
def test_pretraining_uses_the_views_beside_it(composed: Callable[..., DictConfig], path: str) -> None:
    file = SCRIPTS / path
    entries = [entry for entry in OmegaConf.load(file).defaults if not isinstance(entry, str)]
    named = {key.split()[-1]: name for entry in entries for key, name in entry.items()}
    own = {path.name: OmegaConf.load(path) for path in (file.parent / "augmentations").iterdir()}
    found = composed(path).augmentations
    assert found in own.values()
    # a file that names no views takes those of the plain form beside it
    assert "augmentations" not in named or found == own[named["augmentations"]]


@pytest.mark.parametrize("path", INTL)
def test_warm_up_from_zero_and_no_min_lr(composed: Callable[..., DictConfig], path: str) -> None:
    assert plain(composed(path).scheduler) == {
        "name": "warmup_cosine",
        "warmup_epochs": 2,
        "warmup_start_lr": 0.0,
        "interval": "step",
    }


@pytest.mark.parametrize("path", [p for p in PRETRAIN if p.split("/")[1] in ("digits", "fashion-mnist")])
def test_grey_images_get_no_colour_shift(composed: Callable[..., DictConfig], path: str) -> None:
    for view in composed(path).augmentations:
        assert (view.color_jitter.saturation, view.color_jitter.hue, view.grayscale.prob) == (0.0, 0.0, 0.0)


def test_digits_are_never_mirrored(composed: Callable[..., DictConfig]) -> None:
    flips = [view.horizontal_flip.prob for view in composed("pretrain/digits/intl.yaml").augmentations]
    assert flips == [0.0, 0.0]


@pytest.mark.parametrize("path", [p for p in PRETRAIN + LINEAR + DEFAULTS if p.split("/")[1] in OUR_OWN])
def test_our_own_configs_choose_their_precision(composed: Callable[..., DictConfig], path: str) -> None:
    assert composed(path).precision == "auto"


@pytest.mark.parametrize("path", [p for p in LINEAR if p not in DEFAULTS])
def test_linear_network_and_data_are_the_pretraining_ones(
    composed: Callable[..., DictConfig], path: str
) -> None:
    pretrained = [composed(p) for p in INTL if p.split("/")[1] == path.split("/")[1]]
    linear = composed(path)
    for cfg in pretrained:
        assert linear.backbone == cfg.backbone
        assert linear.data == {key: value for key, value in cfg.data.items() if key != "augment"}
    assert linear.pretrain_method in {cfg.method for cfg in pretrained}


@pytest.mark.parametrize("path", DEFAULTS)
def test_data_default_to_the_pretraining_runs(composed: Callable[..., DictConfig], path: str) -> None:
    cfg = composed(path)
    assert cfg.pretrained_feature_extractor is None
    assert {key for key, value in cfg.data.items() if value is not None} == {"num_workers"}


@pytest.mark.parametrize("path", SHARED)
def test_solo_learn_knows_every_key(composed: Callable[..., DictConfig], path: str) -> None:
    known = READ_BY_SOLO_LEARN | (
        READ_IN_PRETRAINING if path in PRETRAIN else READ_IN_LINEAR | IGNORED_IN_LINEAR
    )
    assert set(leaves(plain(composed(path)))) <= known


@pytest.mark.parametrize("path", PRETRAIN + LINEAR)
def test_devices_count_as_one(composed: Callable[..., DictConfig], path: str) -> None:
    # solo-learn scales the learning rate by len(devices).
    assert composed(path).devices == "1"


@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU")
@pytest.mark.parametrize("path", SHARED)
def test_lightning_takes_the_trainer_settings(composed: Callable[..., DictConfig], path: str) -> None:
    cfg = plain(composed(path))
    accepted = inspect.signature(Trainer.__init__).parameters
    assert set(accepted) >= TRAINER_KEYS
    # As solo-learn's scripts do it: whatever top-level key the Trainer knows is handed to it.
    settings = {key: value for key, value in cfg.items() if key in accepted}
    assert set(settings) == TRAINER_KEYS
    trainer = Trainer(**(settings | {"accelerator": "cpu"}), logger=False, enable_checkpointing=False)
    assert trainer.num_devices == 1
    assert trainer.max_epochs == cfg["max_epochs"]
