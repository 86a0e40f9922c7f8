"""Claims about the report's curves and what it says beside them: of how many validation images they are; a
part of a loss that never changes is left out, unless nothing else is logged; alarms are told by method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solo_intl.experiments.report.curves import _validated, draw_losses, own_losses
from solo_intl.experiments.report.data import Comparison, Entry, Run
from solo_intl.experiments.report.spectra import alarms


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([("2", 32), ("2", 32)], ", of at most 64 validation images (limit"),
        ([("2", 32), ("3", 64)], ", of at most 64 to 192 validation images (limit"),
        ([("2", 32), ("1.0", 32)], ", of at most 64 validation images in some cells (limit"),
        ([("null", 32), ("0.5", 32)], ""),
    ],
)
def test_validation_images_of_a_curve(tmp_path: Path, cells: list[tuple[str, int]], said: str):
    entries = []
    for i, (limit, batch) in enumerate(cells):
        part = tmp_path / str(i)
        part.mkdir()
        text = f"limit_val_batches: {limit}\noptimizer: {{batch_size: {batch}}}\n"
        (part / "config.yaml").write_text(text)
        entries.append(Entry(str(i), [Run(part, 0, {"knn": 1.0, "linear": 1.0}, {}, (part,), {})]))
    found = _validated(Comparison(tmp_path, {}, entries, []))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def logged(folder: Path, text: str) -> Entry:
    (folder / "metrics.csv").write_text(text)
    return Entry("a", [Run(folder, 0, {"knn": 1.0, "linear": 1.0}, {}, (folder,), {})])


def test_what_never_changes_is_not_drawn(tmp_path: Path):
    # solo-learn 1.0.2 logs NNCLR's n_positives, and it never changes; each method logs class_loss
    columns = "epoch,step,train_nce_loss_epoch,train_n_positives_epoch,train_class_loss_epoch\n"
    entry = logged(tmp_path, f"{columns}0,1,2.5,0,3\n1,3,1.5,0,2\n")
    assert own_losses(entry) == {"nce_loss": [(1, 2.5), (2, 1.5)]}


def test_a_loss_that_never_changes_is_drawn(tmp_path: Path):
    """A collapsed SimSiam's stays at -1."""
    entry = logged(tmp_path, "epoch,step,train_neg_cos_sim_epoch\n0,1,-1\n1,3,-1\n")
    assert own_losses(entry) == {"neg_cos_sim": [(1, -1), (2, -1)]}


def test_losses_by_what_methods_call_them(tmp_path: Path):
    """DINO's lacks the train_; neither the classifier's loss is drawn nor what is no loss."""
    columns = "dino_loss_epoch,train_class_loss_epoch,train_nn_acc_epoch,train_z_std_epoch,val_loss_epoch"
    entry = logged(tmp_path, f"epoch,step,{columns}\n0,1,5.5,3,0.1,0.2,9\n1,3,5.4,2,0.2,0.3,8\n")
    assert own_losses(entry) == {"dino_loss": [(1, 5.5), (2, 5.4)]}


def test_a_method_without_a_loss_is_named(tmp_path: Path):
    entries = []
    for name, column in (("a", "train_nce_loss_epoch"), ("b", "train_acc1_epoch")):
        (tmp_path / name).mkdir()
        entries.append(replace(logged(tmp_path / name, f"epoch,step,{column}\n0,1,2\n1,3,1\n"), name=name))
    (drawn,) = draw_losses(Comparison(tmp_path, {}, entries, []), tmp_path)
    assert drawn.caption.endswith("Without a logged loss: b.")


def watched(name: str, *steps: int | None, last: float = 0.1, folder: bool = True) -> Entry:
    """A method whose n-th seed was warned of at a step, or not, and its last mean cosine, of step 20."""
    runs = []
    for seed, step in enumerate(steps):
        warned = None if step is None else {"step": step, "reason": f"std {step}"}
        final = {"spectrum": {"warned": warned}}
        run = Run(Path(), seed, {"knn": 1.0, "linear": 1.0}, final, (), {})
        measures = {"step": [9, 20], "mean_cosine": [0.999, last], "direction_share": [0.1, 0.1]}
        vars(run)["spectrum"] = {"eigenvalues": np.full((2, 4), 0.25), **measures} if folder else {}
        runs.append(run)
    return Entry(name, runs)


def test_alarms_are_told_by_method():
    silent, some, one = watched("a", None, None), watched("b", 19, 9, None), watched("c", 4, last=0.998)
    assert alarms(Comparison(Path(), {}, [silent], [])) == ""
    assert alarms(Comparison(Path(), {}, [silent, some, one], [])) == (
        "The monitor warned of collapse in b (2 of 3 seeds, first at step 10: std 9; still so at the last "
        "measurement: 0 of 2); c (step 5: std 4; still so at the last measurement: 1 of 1)."
    )


@pytest.mark.parametrize("entry", [watched("a", 4, folder=False), watched("a", 29)])
def test_how_an_alarm_ended_may_be_unknown(entry: Entry):
    """The run folder was removed; embeddings were not finite from the warning on, and not measured."""
    step = entry.runs[0].final["spectrum"]["warned"]["step"]
    said = f"The monitor warned of collapse in a (step {step + 1}: std {step})."
    assert alarms(Comparison(Path(), {}, [entry], [])) == said
    entry.runs[0].spectrum.pop("mean_cosine", None)  # as before there was one
    assert alarms(Comparison(Path(), {}, [entry], [])) == said
