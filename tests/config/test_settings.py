"""Claims: learning rates scale with batch x devices / 256 however devices are spelled; unknown keys in YAML
are named with the nearest; views are counted as solo-learn counts them; missing essentials are named."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from solo_intl import host
from solo_intl.config import pretrain_settings, scale_learning_rate
from solo_intl.config.evaluation import data_as_pretrained, newest_checkpoint
from solo_intl.engine.precision import resolve_precision
from solo_intl.engine.trainer import build_trainer
from solo_intl.errors import UserError


@pytest.mark.parametrize(
    ("devices", "world"), [("1", 1), (1, 1), ([0], 1), ("2", 2), (2, 2), ([0, 1], 2), ("auto", 1)]
)
def test_devices_are_counted_not_measured(make_cfg, devices: object, world: int):
    cfg = pretrain_settings(make_cfg(devices=devices, strategy="ddp" if world > 1 else "auto"))
    trainer = build_trainer(cfg, None)
    assert trainer.world_size == world
    scale_learning_rate(cfg, trainer.world_size)
    assert cfg.optimizer.lr == pytest.approx(0.3 * 16 * world / 256)
    assert cfg.optimizer.classifier_lr == pytest.approx(0.1 * 16 * world / 256)


def test_nodes_count(make_cfg):
    cfg = pretrain_settings(make_cfg(num_nodes=2, devices=2, strategy="ddp"))
    assert build_trainer(cfg, None).world_size == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer__weigth_decay": 0.9}, r"optimizer.weigth_decay: unknown key, nearest: weight_decay"),
        ({"lr": 0.1}, r"lr: unknown key, "),
        ({"method": "intll"}, r"method: found 'intll', accepted: .*nearest: intl"),
        (
            {"method_kwargs__projhidden_dim": 3},
            r"method_kwargs.projhidden_dim: unknown key for intl, nearest: proj_hidden_dim",
        ),
        ({"data__dataset": "cifar"}, r"data.dataset: found 'cifar', accepted: .*cifar10"),
        ({"backbone__name": "resnet81"}, r"backbone.name: found 'resnet81', accepted: .*nearest: resnet18"),
        ({"optimizer__batch_size": 0}, r"optimizer.batch_size: found 0, accepted: a positive integer"),
        ({"optimizer__lr": "fast"}, r"optimizer.lr: found 'fast', accepted: a positive number"),
        ({"optimizer__lr": float("nan")}, r"optimizer.lr: found nan, accepted: a positive number"),
        ({"optimizer__weight_decay": float("inf")}, r"optimizer.weight_decay: found inf, accepted: a non-"),
        ({"max_epochs": -1}, r"max_epochs: found -1"),
        ({"augmentations": []}, r"augmentations: found none"),
        ({"auto_umap": {"enabled": True}}, r"auto_umap.enabled: found true"),
    ],
)
def test_mistakes(make_cfg, overrides: dict, message: str):
    with pytest.raises(UserError, match=message) as caught:
        pretrain_settings(make_cfg(**overrides))
    assert "\n" not in str(caught.value)


def test_an_incomplete_view_is_named(make_cfg):
    cfg = make_cfg()
    del cfg.augmentations[0]["solarization"]
    with pytest.raises(UserError, match=r"augmentations\[0\].solarization: missing"):
        pretrain_settings(cfg)
    cfg.augmentations[0].solarization = {"enabled": True}
    with pytest.raises(UserError, match=r"augmentations\[0\].solarization.prob: missing"):
        pretrain_settings(cfg)


@pytest.mark.parametrize("method", ["vicreg", "simsiam", "byol"])
def test_bundled_methods_take_two_large_views_only(make_cfg, method: str):
    cfg = make_cfg(method=method)
    cfg.method_kwargs = {}
    cfg.augmentations[0].num_crops = 3
    with pytest.raises(
        UserError, match=f"augmentations: found 3 large and 0 smaller views, accepted by {method}: 2"
    ):
        pretrain_settings(cfg)


@pytest.mark.parametrize("method", ["intl", "intl_ema"])
def test_intl_takes_any_views_from_two_on(make_cfg, method: str):
    cfg = make_cfg(method=method)
    cfg.augmentations[0].num_crops = 3
    data = pretrain_settings(cfg).data
    assert (data.num_large_crops, data.num_small_crops) == (3, 0)
    cfg.augmentations = [{**cfg.augmentations[0], "crop_size": size, "num_crops": 1} for size in (16, 12)]
    data = pretrain_settings(cfg).data
    assert (data.num_large_crops, data.num_small_crops) == (1, 1)
    cfg.augmentations = cfg.augmentations[:1]
    with pytest.raises(
        UserError, match=f"1 large and 0 smaller views, accepted by {method}: 2 or more of any"
    ):
        pretrain_settings(cfg)


def test_transformers_get_the_crop_as_their_image_size(make_cfg):
    cfg = make_cfg()
    cfg.backbone = {"name": "vit_tiny", "kwargs": {"patch_size": 4}}
    assert pretrain_settings(cfg).backbone.kwargs == {"patch_size": 4, "img_size": 16}
    cfg.augmentations = [{**cfg.augmentations[0], "crop_size": size, "num_crops": 1} for size in (16, 12)]
    assert pretrain_settings(cfg).backbone.kwargs.dynamic_img_size is True


def test_every_method_knows_its_keys():
    for name in host.METHODS:
        keys = host.method_keys(name)
        assert keys, name
        assert not keys & {"lr", "batch_size", "num_classes"}, name


@pytest.mark.parametrize(
    ("given", "expected"), [("32", "32-true"), (32, "32-true"), ("bf16-mixed", "bf16-mixed")]
)
def test_precision_spellings(given: object, expected: str):
    assert resolve_precision(given, "cpu") == expected


def test_precision_unknown():
    with pytest.raises(UserError, match="precision: found 'half', accepted: auto"):
        resolve_precision("half", "cpu")


def test_half_precision_on_a_processor_falls_back_with_a_word():
    with pytest.warns(UserWarning, match="precision: 16-mixed needs a GPU"):
        assert resolve_precision("16-mixed", "cpu") in ("32-true", "bf16-mixed")


def test_evaluation_data_follow_the_pretraining_run():
    before = OmegaConf.create(
        {"data": {"dataset": "custom", "train_path": "a", "val_path": "b", "max_images": 7}}
    )
    same = data_as_pretrained(OmegaConf.create({"data": {"dataset": None, "val_path": "c"}}), before)
    assert (same.dataset, same.train_path, same.val_path, same.max_images) == ("custom", "a", "c", 7)
    other = data_as_pretrained(OmegaConf.create({"data": {"dataset": "digits"}}), before)
    assert (other.dataset, other.get("train_path")) == ("digits", None)


def test_without_any_run_the_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="pretrained_feature_extractor: found null and no run under"):
        newest_checkpoint(tmp_path)
