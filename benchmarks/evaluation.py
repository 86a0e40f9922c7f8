"""CIFAR's 500-epoch linear protocol beside solo-learn's main_linear.py, and exact k-NN over 60,000 features.

    python benchmarks/evaluation.py --solo-learn CHECKOUT_OF_HEAD

Everything on one thread. Theirs: a few epochs of the unmodified script on images of CIFAR's size and format,
then time for 50,000 + 10,000 images and 500 epochs in proportion, which is what it grows with; its checksum
test of CIFAR's files is off, because these hold digits. Ours: features of the same images once (in proportion
too), then all epochs of `adam_probe` on 50,000 + 10,000 features of width 512. Time is that of the processor.
Writes benchmarks/evaluation.json and docs/figures/evaluation.png.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset
from torchvision.models import resnet18

CLASSES, TRAIN, TEST, WIDTH, BATCH = 10, 50_000, 10_000, 512, 1000
SAMPLE = {"train": 1000, "val": 200}  # one batch; both a fiftieth of CIFAR
SCALE = TRAIN / SAMPLE["train"]
EPOCHS = 500
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "evaluation.png"


def network() -> torch.nn.Module:
    """ResNet-18 with solo-learn's stem for CIFAR; speed does not depend on the weights."""
    from solo_intl.host.stem import install_stem

    torch.manual_seed(0)
    model = resnet18()
    install_stem(model, "cifar", 1)
    model.fc = torch.nn.Identity()
    return model


def digits(split: str) -> tuple[np.ndarray, list[int]]:
    """uint8 [n, 32, 32, 3] and labels."""
    from PIL import Image

    from solo_intl.data import open_split

    dataset = open_split({"dataset": "digits"}, split)
    chosen = range(SAMPLE[split])
    resized = [dataset[i][0].resize((32, 32), Image.Resampling.BICUBIC) for i in chosen]
    return np.stack([np.asarray(image) for image in resized]), [dataset.labels[i] for i in chosen]


def write_cifar(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(i) for i in range(CLASSES)]}))
    images, labels = digits("train")
    parts = np.array_split(np.arange(len(images)), 5)
    files = {f"data_batch_{i + 1}": (images[part], [labels[j] for j in part]) for i, part in enumerate(parts)}
    for name, (pixels, own) in {**files, "test_batch": digits("val")}.items():
        rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1))
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": own}))


def run_theirs(checkout: str, arguments: list[str]) -> None:
    """In a process of its own: main_linear.py a stopwatch on its epochs, their seconds in times.json."""
    sys.path.insert(0, checkout)
    import torchvision
    from solo.methods.linear import LinearModel

    torch.set_num_threads(1)
    torchvision.datasets.cifar.check_integrity = lambda *_: True
    stamps: list[float] = []
    accuracies: list[float] = []

    def on_train_epoch_start(self: Any) -> None:
        stamps.append(time.process_time())

    def on_train_end(self: Any) -> None:
        stamps.append(time.process_time())
        accuracies.append(float(self.trainer.callback_metrics["val_acc1"]))

    LinearModel.on_train_epoch_start = on_train_epoch_start
    LinearModel.on_train_end = on_train_end
    sys.argv = [f"{checkout}/main_linear.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")
    seconds = np.diff(stamps).tolist()
    Path("times.json").write_text(json.dumps({"seconds": seconds, "top1": accuracies[0]}))


def theirs(checkout: Path, epochs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_cifar(place / "data")
        weights = {f"backbone.{name}": value for name, value in network().state_dict().items()}
        torch.save({"state_dict": weights}, place / "backbone.ckpt")
        arguments = [
            *("--config-path=pkg://solo_intl.scripts.linear.cifar", "--config-name=sgd"),
            *("pretrained_feature_extractor=backbone.ckpt", "data.train_path=data", "data.val_path=data"),
            *(
                "data.num_workers=0",
                "optimizer.name=adam",
                "~optimizer.kwargs.momentum",
                "scheduler.name=none",
            ),
            *(
                f"optimizer.batch_size={BATCH}",
                f"optimizer.lr={1e-2 * 256 / BATCH}",
                "optimizer.weight_decay=5e-6",
            ),
            *(f"max_epochs={epochs}", "accelerator=cpu", "checkpoint.enabled=False"),
            "+num_sanity_val_steps=0",
        ]
        root = Path(__file__).resolve().parent.parent
        paths = [str(checkout), str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        done = subprocess.run(
            [sys.executable, __file__, "--run-theirs", str(checkout), *arguments],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
        found = json.loads((place / "times.json").read_text())
    epoch = float(np.median(found["seconds"]))
    return {
        "measured epochs": epochs,
        "seconds of each": [round(s, 2) for s in found["seconds"]],
        "images": SAMPLE,
        "seconds per epoch of CIFAR, in proportion": round(epoch * SCALE, 1),
        "seconds for 500 epochs, extrapolated": round(epoch * SCALE * EPOCHS),
        "top-1 after the measured epochs, random backbone": round(found["top1"], 2),
    }


def ours(epochs: int) -> dict[str, Any]:
    from solo_intl.evaluation import adam_probe, extract_features

    model, sets, seconds = network(), {}, 0.0
    for split in SAMPLE:
        pixels, labels = digits(split)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        started = time.process_time()
        sets[split] = extract_features(model, TensorDataset(images, torch.tensor(labels)))
        seconds += time.process_time() - started
    small = adam_probe(sets["train"], sets["val"], batch_size=BATCH)
    train, test = cloud(TRAIN, 1), cloud(TEST, 2)
    started = time.process_time()
    probe = adam_probe(train, test, epochs=epochs, batch_size=BATCH)
    probing = time.process_time() - started
    return {
        "seconds for the features of CIFAR, in proportion": round(seconds * SCALE, 1),
        "epochs": epochs,
        "seconds for these epochs, measured": round(probing, 2),
        "seconds for 500 epochs": round(probing * EPOCHS / epochs, 1),
        "features": [TRAIN, TEST, WIDTH],
        "top-1 on them": round(probe.metrics["top1"], 2),
        "top-1 on the sample after 500 epochs, random backbone": round(small.metrics["top1"], 2),
    }


def cloud(n: int, seed: int) -> Any:
    """Features of ten overlapping classes."""
    from solo_intl.evaluation import Features

    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.1
    labels = torch.arange(n) % CLASSES
    return Features(centres[labels] + torch.randn(n, WIDTH, generator=generator), labels, [""] * n)


def knn(queries: int) -> dict[str, Any]:
    """All of CIFAR's features in play: 50,000 vote on 10,000 (or as many as are asked)."""
    from solo_intl.evaluation.knn import knn_scores

    train, test = cloud(TRAIN, 1), cloud(TEST, 2)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use now
    before, started = memory_mib("VmRSS"), time.process_time()
    scores = knn_scores(train.x, train.y, test.x[:queries])
    seconds, peak = time.process_time() - started, memory_mib("VmHWM") - before
    distances = torch.cdist(test.x[:100].double(), train.x.double())
    nearest = train.y[distances.topk(5, largest=False).indices]
    expected = torch.zeros(100, CLASSES).scatter_add_(1, nearest, torch.ones(100, 5))
    return {
        "sizes": [TRAIN, queries, WIDTH],
        "seconds": round(seconds, 1),
        "seconds for 10,000 queries": round(seconds * TEST / queries, 1),
        "peak memory above features and labels, MiB": round(peak, 1),
        "one matrix of all distances would be, MiB": round(8 * TRAIN * TEST / 2**20),
        "votes equal those of all distances (100 queries)": bool(torch.equal(scores[:100].float(), expected)),
    }


def memory_mib(key: str) -> float:
    """A size from the kernel's table of this process: VmRSS (now) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solo-learn", type=Path, default=os.environ.get("SOLO_LEARN_CHECKOUT"))
    parser.add_argument("--their-epochs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of ours; time for 500 is in proportion")
    parser.add_argument("--queries", type=int, default=TEST)
    given = parser.parse_args()
    if given.solo_learn is None or not (given.solo_learn / "main_linear.py").is_file():
        raise SystemExit(f"--solo-learn: found {given.solo_learn}, accepted: a checkout of solo-learn HEAD")
    from solo_intl.engine.run_folder import environment, write_json

    torch.set_num_threads(1)
    results: dict[str, Any] = {"knn": knn(given.queries)}
    print(results["knn"], flush=True)
    results["ours"], results["theirs"] = ours(given.epochs), theirs(given.solo_learn, given.their_epochs)
    loop = results["ours"]["seconds for 500 epochs"]
    features = results["ours"]["seconds for the features of CIFAR, in proportion"]
    stock = results["theirs"]["seconds for 500 epochs, extrapolated"]
    results["ratio"] = {
        "features and 500 epochs": round(stock / (loop + features), 1),
        "the epochs alone": round(stock / loop, 1),
    }
    for key in ("ours", "theirs", "ratio"):
        print(key, results[key], flush=True)
    about, file = environment(), Path(__file__).with_suffix(".json")
    write_json(file, {"results": results, "environment": about})
    print(file, draw(stock, features, loop, about))


def draw(stock: float, features: float, loop: float, about: dict[str, Any]) -> Path:
    """Seconds of both, on a logarithmic axis."""
    from solo_intl.experiments.figures import COLOURS, plt

    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    names = ("main_linear.py,\nextrapolated", "features once", "500 epochs on them")
    bars = axes.barh(names, (stock, features, loop), color=(COLOURS[0], COLOURS[1], COLOURS[1]))
    axes.bar_label(bars, fmt="%.0f s", fontsize=8, padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=8 * stock)
    axes.invert_yaxis()
    axes.set_xlabel("seconds of one core, CIFAR's size, ResNet-18")
    machine = f"{about['machine']['processor']}, torch {about['packages']['torch']}, {about['date'][:10]}"
    axes.set_title(machine, fontsize=7)
    figure.savefig(FIGURE, dpi=120)
    return FIGURE


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run-theirs"]:
        run_theirs(sys.argv[2], sys.argv[3:])
    else:
        main()
