"""CIFAR's 500-epoch linear protocol beside solo-learn's main_linear.py, and exact k-NN over 60,000 features.

    python benchmarks/evaluation.py --solo-learn CHECKOUT_OF_HEAD

Everything on one thread. Theirs: a few epochs of the unmodified script on images of CIFAR's size and format,
then time for 50,000 + 10,000 images and 500 epochs in proportion, which is what it grows with; its checksum
test of CIFAR's files is off, because these hold digits. Ours: features of the same images once (in proportion
too), then 50 epochs of `adam_probe` (`--epochs 500`: all) on 50,000 + 10,000 features of width 512, with the
time for 500 in proportion. k-NN: 2,000 of the 10,000 queries. Time is that of the processor.
Writes benchmarks/evaluation.json and docs/figures/evaluation.png.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import stock
import torch
from memory import PeakMemory
from stock import CLASSES, SAMPLE
from torch.utils.data import TensorDataset
from torchvision.models import resnet18

TRAIN, TEST, WIDTH, BATCH = 50_000, 10_000, 512, 1000  # a batch is all of the sample
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


def theirs(checkout: Path, epochs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        stock.write_cifar(place / "data")
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
        found = stock.run("main_linear.py", checkout, place, arguments, threads=1)
    seconds = np.diff([stamp["processor"] for stamp in found["epochs"]]).tolist()
    epoch = float(np.median(seconds))
    return {
        "measured epochs": epochs,
        "seconds of each": [round(s, 2) for s in seconds],
        "images": SAMPLE,
        "seconds per epoch of CIFAR, in proportion": round(epoch * SCALE, 1),
        "seconds for 500 epochs, extrapolated": round(epoch * SCALE * EPOCHS),
        "top-1 after the measured epochs, random backbone": round(found["metrics"]["val_acc1"], 2),
    }


def ours(epochs: int) -> dict[str, Any]:
    from solo_intl.evaluation import adam_probe, extract_features

    model, sets, seconds = network(), {}, 0.0
    for split in SAMPLE:
        pixels, labels = stock.digits(split)
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
    peak, started = PeakMemory(), time.process_time()
    scores = knn_scores(train.x, train.y, test.x[:queries])
    seconds, mib = time.process_time() - started, peak.mib()
    distances = torch.cdist(test.x[:100].double(), train.x.double())
    nearest = train.y[distances.topk(5, largest=False).indices]
    expected = torch.zeros(100, CLASSES).scatter_add_(1, nearest, torch.ones(100, 5))
    return {
        "sizes": [TRAIN, queries, WIDTH],
        "seconds": round(seconds, 1),
        "seconds for 10,000 queries": round(seconds * TEST / queries, 1),
        "peak memory above features and labels, MiB": round(mib, 1),
        "one matrix of all distances would be, MiB": round(8 * TRAIN * TEST / 2**20),
        "votes equal those of all distances (100 queries)": bool(torch.equal(scores[:100].float(), expected)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solo-learn", type=Path, help="HEAD's checkout, or SOLO_LEARN_CHECKOUT")
    parser.add_argument("--their-epochs", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=50, help="of ours; time for 500 is in proportion")
    parser.add_argument("--queries", type=int, default=2000)
    given = parser.parse_args()
    checkout = stock.checkout(given.solo_learn)
    from solo_intl.detect import checkout_commit
    from solo_intl.engine.run_folder import environment, write_json

    torch.set_num_threads(1)
    results: dict[str, Any] = {"knn": knn(given.queries)}
    print(results["knn"], flush=True)
    results["ours"], results["theirs"] = ours(given.epochs), theirs(checkout, given.their_epochs)
    loop = results["ours"]["seconds for 500 epochs"]
    features = results["ours"]["seconds for the features of CIFAR, in proportion"]
    whole = results["theirs"]["seconds for 500 epochs, extrapolated"]
    results["ratio"] = {
        "features and 500 epochs": round(whole / (loop + features), 1),
        "the epochs alone": round(whole / loop, 1),
    }
    for key in ("ours", "theirs", "ratio"):
        print(key, results[key], flush=True)
    about, file = environment(), Path(__file__).with_suffix(".json")
    commit = checkout_commit(checkout)
    write_json(file, {"solo-learn HEAD": commit, "results": results, "environment": about})
    print(file, draw(whole, features, loop, about))


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
    main()
