"""Claims: the detectron2 configs parse, and with their base say exactly MoCo's published C4 settings, on the
1x schedule for COCO; their input format is what `export --to detectron2` prints; the page names both files.
detectron2 itself cannot be installed here, so that it accepts them is not shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from solo_intl.evaluation.export import detectron2_settings

FOLDER = Path(__file__).resolve().parents[2] / "downstream" / "object_detection"
SHARED: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.WEIGHTS": "",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NORM": "SyncBN",
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",
    "INPUT.FORMAT": "RGB",
    "INPUT.MIN_SIZE_TEST": 800,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 0.02,
    "TEST.PRECISE_BN.ENABLED": True,
    "VERSION": 2,
}
COCO: dict[str, Any] = {
    "MODEL.MASK_ON": True,
    "INPUT.MIN_SIZE_TRAIN": [640, 672, 704, 736, 768, 800],
    "DATASETS.TRAIN": ["coco_2017_train"],
    "DATASETS.TEST": ["coco_2017_val"],
    "SOLVER.STEPS": [60_000, 80_000],
    "SOLVER.MAX_ITER": 90_000,
}
VOC: dict[str, Any] = {
    "MODEL.MASK_ON": False,
    "MODEL.ROI_HEADS.NUM_CLASSES": 20,
    "INPUT.MIN_SIZE_TRAIN": list(range(480, 801, 32)),
    "DATASETS.TRAIN": ["voc_2007_trainval", "voc_2012_trainval"],
    "DATASETS.TEST": ["voc_2007_test"],
    "SOLVER.STEPS": [18_000, 22_000],
    "SOLVER.MAX_ITER": 24_000,
    "SOLVER.WARMUP_ITERS": 100,
}


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def composed(name: str) -> dict[str, Any]:
    """A config over its `_BASE_`, as detectron2 merges them."""
    own = yaml.safe_load((FOLDER / "configs" / name).read_text())
    base = own.pop("_BASE_", None)
    return {**(composed(base) if base else {}), **flat(own)}


@pytest.mark.parametrize(
    ("name", "own"), [("coco_mask_rcnn_c4_1x.yaml", COCO), ("voc_faster_rcnn_c4_24k.yaml", VOC)]
)
def test_the_published_settings(name: str, own: dict[str, Any]) -> None:
    assert composed(name) == {**SHARED, **own}
    assert f"configs/{name}" in (FOLDER / "README.md").read_text()


def test_own_pixel_statistics_are_printed() -> None:
    views = [{"mean": [0.5, 0.4, 0.2], "std": [0.1, 0.2, 0.3]}]
    printed = detectron2_settings({"data": {"dataset": "custom"}, "augmentations": views})
    assert printed[2:] == ("MODEL.PIXEL_MEAN [127.5,102,51]", "MODEL.PIXEL_STD [25.5,51,76.5]")


def test_the_export_prints_the_same_input_format() -> None:
    settings = composed("coco_mask_rcnn_c4_1x.yaml")
    printed = dict(line.split(" ", 1) for line in detectron2_settings({}))
    assert {key: yaml.safe_load(value) for key, value in printed.items()} == {
        key: settings[key] for key in printed
    }
    assert set(printed) >= {
        "MODEL.RESNETS.STRIDE_IN_1X1",
        "INPUT.FORMAT",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
    }
