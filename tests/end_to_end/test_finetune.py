"""Claims: `finetune` trains backbone and classifier, running statistics too, each at its own scaled rate
along one cosine; it starts from the checkpoint's weights, and `from_scratch` from the seed's; the same seed
gives the same figures, another one another set of labelled images; those come from a class-balanced fraction
or a list, never from the pre-training run; one run folder is written, whose checkpoint other commands read;
its figures are those of that checkpoint on the whole validation split; mistakes are one line and leave
nothing; the benchmark runs every cell once and gives mean and deviation.
"""

from __future__ import annotations

import csv
import json
import math
import runpy
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from solo_intl.cli import main
from solo_intl.data import eval_transform, normalization, open_split
from solo_intl.evaluation import load_backbone

SMALL = [
    *("max_epochs=1", "data.num_workers=0", "data.max_images=48", "optimizer.batch_size=16"),
    *("backbone.stem_stride=2", "method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=64"),
    *("precision=32-true", "limit_val_batches=0"),
]
EPOCHS = 3
TUNE = [f"max_epochs={EPOCHS}", "data.num_workers=0", "precision=32-true", "optimizer.batch_size=64"]
GIVEN = "pretrained_feature_extractor=CHECKPOINT"
RATES = {"backbone": 0.006 * 64 / 256, "classifier": 0.2 * 64 / 256}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
        assert main(["pretrain", *SMALL]) == 0
    (found,) = place.glob("runs/pretrain/*/checkpoints/last.ckpt")
    return found


class Run:
    """One finished fine-tuning."""

    def __init__(self, place: Path, *arguments: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            place.mkdir(exist_ok=True)
            patch.chdir(place)
            patch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
            assert main(["finetune", *TUNE, *arguments]) == 0
        self.place = place
        (self.folder,) = (place / "runs" / "finetune").iterdir()
        self.final: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        self.cfg = OmegaConf.load(self.folder / "config.yaml")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def state(self) -> dict[str, torch.Tensor]:
        return torch.load(self.checkpoint, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def tuned(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("tuned")
    return Run(place, f"pretrained_feature_extractor={checkpoint}", "seed=3", "log_every_n_steps=1")


def test_one_folder_and_whole_figures(tuned: Run, checkpoint: Path):
    assert [p.name for p in tuned.place.iterdir()] == ["runs"]
    files = {str(p.relative_to(tuned.folder)) for p in tuned.folder.rglob("*") if p.is_file()}
    assert files == {
        *("config.yaml", "environment.json", "metrics.csv", "metrics.json", "checkpoints/last.ckpt")
    }
    assert tuned.final["checkpoint"] == str(checkpoint)
    assert (tuned.final["network"], tuned.final["epochs"]) == ("online", EPOCHS)
    # 10 % of 1,437: the 48 images of pre-training are another matter
    assert (tuned.final["labelled_images"], tuned.final["validation_images"]) == (144, 360)
    assert tuned.cfg.data.subset_seed == tuned.cfg.seed == 3


def test_figures_are_the_checkpoints_on_the_whole_validation_split(tuned: Run):
    loaded = load_backbone(tuned.checkpoint)
    data = {"dataset": "digits"}
    images = open_split(data, "val", eval_transform(loaded.cfg.image_size, *normalization(data)))
    x = torch.stack([image for image, _ in images])
    labels = torch.tensor(images.labels)
    with torch.no_grad():
        features = loaded.backbone(x.to(memory_format=torch.channels_last))
    logits = features @ tuned.state["classifier.weight"].T + tuned.state["classifier.bias"]
    top5 = logits.topk(5).indices.eq(labels[:, None])
    expected = {"top1": top5[:, 0], "top5": top5.any(1)}
    for key, hits in expected.items():
        # one image of 360 may fall either way: other batches, other rounding
        assert tuned.final["metrics"][key] == pytest.approx(100 * hits.float().mean().item(), abs=0.3)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert tuned.final["metrics"]["loss"] == pytest.approx(loss, rel=1e-3)


def test_everything_is_trained_from_the_checkpoints_weights(tuned: Run, checkpoint: Path):
    before = load_backbone(checkpoint).backbone.state_dict()
    after = {k.removeprefix("backbone."): v for k, v in tuned.state.items() if k.startswith("backbone.")}
    assert set(before) == set(after)
    assert [key for key in before if torch.equal(before[key], after[key])] == []
    for key in ("conv1.weight", "layer4.1.conv2.weight"):
        moved = (after[key] - before[key]).norm() / before[key].norm()
        assert 0 < moved < 0.3, "it started from these weights"
    steps = EPOCHS * math.ceil(144 / 64)
    # the network was in train mode: each step counts once more in BatchNorm
    assert int(after["bn1.num_batches_tracked"]) == int(before["bn1.num_batches_tracked"]) + steps
    assert tuned.state["classifier.weight"].shape == (10, 512)


def test_two_rates_along_one_cosine(tuned: Run):
    rows = list(csv.DictReader((tuned.folder / "metrics.csv").open()))
    for group, rate in RATES.items():
        (column,) = [name for name in rows[0] if name.startswith("lr") and name.endswith(group)]
        found = [float(row[column]) for row in rows if row[column]]
        per_step = [rate * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2 for epoch in range(EPOCHS)]
        expected = [value for value in per_step for _ in range(3)]
        assert found == pytest.approx(expected, rel=1e-6)


def test_the_same_seed_repeats_and_another_takes_other_images(
    tuned: Run, checkpoint: Path, tmp_path: Path, monkeypatch
):
    given = f"pretrained_feature_extractor={checkpoint}"
    same = Run(tmp_path / "same", given, "seed=3", "log_every_n_steps=1")
    assert same.final["metrics"] == tuned.final["metrics"]
    assert all(torch.equal(value, tuned.state[key]) for key, value in same.state.items())
    sets = [
        open_split({"dataset": "digits", "fraction": 0.1, "subset_seed": seed}, "train") for seed in (3, 4)
    ]
    assert set(sets[0].names) != set(sets[1].names)
    for labelled in sets:
        assert set(Counter(labelled.labels).values()) <= {14, 15}
    other = Run(tmp_path / "other", given, "seed=4")
    assert other.cfg.data.subset_seed == 4
    assert other.final["metrics"]["loss"] != tuned.final["metrics"]["loss"]


def test_a_list_of_file_names_and_other_commands_read_the_result(
    checkpoint: Path, tmp_path: Path, monkeypatch
):
    train = open_split({"dataset": "digits", "max_images": 40}, "train")
    (tmp_path / "list.txt").write_text("".join(f"{name.partition('/')[2]}\n" for name in train.names))
    subset = [f"data.subset_file={tmp_path / 'list.txt'}", "data.fraction=-1"]
    run = Run(tmp_path, f"pretrained_feature_extractor={checkpoint}", *subset, "max_epochs=1")
    assert run.final["labelled_images"] == 40
    monkeypatch.chdir(tmp_path)
    assert main(["knn", f"pretrained_feature_extractor={run.checkpoint}"]) == 0


def test_a_checkpoint_of_another_data_set_is_said_in_one_line(checkpoint: Path, tmp_path: Path, capsys):
    content = torch.load(checkpoint, weights_only=True)
    content["solo_intl"]["cfg"]["data"]["dataset"] = "cifar10"
    torch.save(content, tmp_path / "cifar.ckpt")
    data = ["data.dataset=digits", "image_size=16", "max_epochs=1"]
    for path, expected in ((checkpoint, 0), (tmp_path / "cifar.ckpt", 1)):
        Run(tmp_path / f"run{expected}", f"pretrained_feature_extractor={path}", *data)
        said = [line for line in capsys.readouterr().err.splitlines() if "was pre-trained on" in line]
        assert len(said) == expected
        assert all("cifar.ckpt was pre-trained on cifar10, fine-tuning on digits" in line for line in said)


def test_from_scratch_is_the_seeds_own_network(tmp_path: Path):
    network = ["backbone.name=resnet18", "backbone.stem_stride=2", "image_size=16", "data.dataset=digits"]
    scratch = ["from_scratch=true", "max_epochs=1", *network]
    first, again = (Run(tmp_path / name, *scratch) for name in ("first", "again"))
    assert (first.final["checkpoint"], first.final["network"]) == (None, "untrained")
    assert first.final["metrics"] == again.final["metrics"]
    assert tuple(first.state["backbone.conv1.weight"].shape) == (64, 3, 3, 3)
    other = Run(tmp_path / "other", *scratch, "seed=6")
    key = "backbone.conv1.weight"
    assert (other.state[key] - first.state[key]).norm() > 0.5 * first.state[key].norm()


def test_the_benchmark_runs_every_cell_once(checkpoint: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "results.json"
    digits = ["data.dataset=digits", "image_size=16", "data.num_workers=0"]
    short = ["max_epochs=1", "check_val_every_n_epoch=1", "precision=32-true", "checkpoint.enabled=false"]
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "finetune.py"))
    given = [str(checkpoint), *digits, *short, f"--output={output}"]
    script["main"]([*given, "--seeds=1"])
    record = script["main"]([*given, "--seeds=2"])
    assert record == json.loads(output.read_text())
    assert len(list((tmp_path / "runs" / "finetune").iterdir())) == len(record["cells"]) == 2 * 2 * 3
    assert {(c["share"], c["labelled_images"]) for c in record["cells"]} == {
        ("1percent", 14),
        ("10percent", 144),
    }
    for share, starts in record["summary"].items():
        assert len(starts) == 3
        for start, figures in starts.items():
            top1 = [c["top1"] for c in record["cells"] if (c["share"], c["start"]) == (share, start)]
            assert figures["top1"]["mean"] == pytest.approx(statistics.mean(top1), abs=0.005)
            assert figures["top1"]["deviation"] == pytest.approx(statistics.stdev(top1), abs=0.005)
    with pytest.raises(SystemExit, match="holds results of other settings"):
        script["main"]([*given, "seed=9"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["from_scratch=true"], "data.dataset: found None, accepted: digits"),
        (["from_scratch=true", "data.dataset=digits"], "backbone.name: found none, accepted: "),
        (["from_scratch=yes please"], "from_scratch: found 'yes please', accepted: true, false"),
        (
            ["from_scratch=true", GIVEN],
            "with from_scratch=true, accepted: null",
        ),
        (
            [GIVEN, "data.fraction=0.005"],
            "found 7 labelled images, none of",
        ),
        (
            [GIVEN, "data.max_images=20"],
            "found 0.1 and 20, accepted: one",
        ),
        ([GIVEN, "data.fraction=1.5"], "data.fraction: found 1.5"),
        (
            [GIVEN, "scheduler.name=cosin"],
            "scheduler.name: found 'cosin'",
        ),
        (["max_epochs=3", "check_val_every_n_epoch=2"], "found 2, accepted: a divisor of max_epochs (3)"),
        (["limit_val_batches=2"], "limit_val_batches: found 2, accepted: null"),
        (["limit_train_batches=0"], "limit_train_batches: found 0, accepted: null, or more"),
        (["max_steps=1"], "max_steps: found 1, accepted: null"),
        (["max_time=00:00:01:00"], "max_time: found 00:00:01:00, accepted: null"),
        (["fast_dev_run=true"], "fast_dev_run: found True, accepted: null"),
        (["from_scratch=true", "use_momentum=true"], "use_momentum: found true with from_scratch=true"),
        (["crop_min_scale=2"], "crop_min_scale: found 2, accepted"),
        (["optimizer.classifier_lr=0"], "optimizer.classifier_lr: found 0, accepted: a positive number"),
        (["protocol=sgd"], "protocol: unknown key"),
        ([], "pretrained_feature_extractor: found null and no run under"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    checkpoint: Path, arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [argument.replace("CHECKPOINT", str(checkpoint)) for argument in arguments]
    assert main(["finetune", "data.num_workers=0", *given]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "given, using" not in line]
    assert len(errors) == 1, errors
    assert message in errors[0]
    assert list(tmp_path.iterdir()) == []
