"""Claims about the ranking, on scores made up for it: the paired test and Holm's correction are SciPy's and
the ones done by hand; where there is no test, the reason is the right one; a method with fewer seeds than
most others, or one that pre-trains with labels, has no place; it is said where INTL stands,
how many methods stay below what needs no training, and what the test cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from solo_intl.experiments.report import ranking
from solo_intl.experiments.report.data import Comparison, Entry, Run
from solo_intl.experiments.report.ranking import Row, caution, holm, rank

Scores = Mapping[str, Mapping[int, float]]  # linear accuracy by method and seed


def comparison(scores: Scores) -> Comparison:
    entries = [
        Entry(
            name,
            [
                Run(Path(name), seed, {"linear": value, "knn": value}, {}, (), {})
                for seed, value in by_seed.items()
            ],
        )
        for name, by_seed in scores.items()
    ]
    return Comparison(Path("made"), {}, entries, [])


def ranked(scores: Scores) -> dict[str, Row]:
    return {row.entry.name: row for row in rank(comparison(scores))}


def conclusion(rows: list[Row]) -> str:
    return " ".join(ranking.conclusion(rows))


def test_three_methods_against_scipy_and_holm_by_hand():
    a, b, c = (90.0, 91.0, 92.5), (89.0, 90.5, 91.0), (70.0, 75.0, 71.0)
    rows = ranked({"c": dict(enumerate(c)), "b": dict(enumerate(b)), "a": dict(enumerate(a))})
    assert list(rows) == ["a", "b", "c"]
    p = {name: stats.ttest_rel(own, a).pvalue for name, own in (("b", b), ("c", c))}
    assert p["c"] < p["b"]
    for name in ("b", "c"):
        assert rows[name].p == pytest.approx(p[name], rel=1e-12)
    # the least of two is doubled; the other stands, but not below it
    assert rows["c"].adjusted == pytest.approx(2 * p["c"])
    assert rows["b"].adjusted == pytest.approx(max(2 * p["c"], p["b"]))
    assert rows["b"].difference == pytest.approx(-1.0)
    assert (rows["a"].p, rows["a"].adjusted, rows["a"].difference) == (None, None, None)
    said = conclusion(list(rows.values()))
    assert "told apart from it at the 5 % level after Holm's correction: c; not told apart: b." in said


def test_nobody_told_apart_is_no_list_of_names():
    rows = ranked({"a": {0: 90, 1: 91, 2: 92}, "b": {0: 89, 1: 91, 2: 92}, "c": {0: 89, 1: 90, 2: 91}})
    said = conclusion(list(rows.values()))
    assert "Of 2 others, none is told apart from it at the 5 % level after Holm's correction" in said
    assert said.endswith("which leaves no variance: c).")


def test_no_test_of_equal_differences_says_so():
    rows = ranked({"a": {0: 90, 1: 91, 2: 92}, "b": {0: 89, 1: 90, 2: 91}})
    assert (rows["b"].p, rows["b"].difference) == (None, pytest.approx(-1.0))
    said = conclusion(list(rows.values()))
    assert said.endswith(
        "No paired test over seeds (the same difference at every seed, which leaves no variance: b)."
    )
    assert "common" not in said


def test_no_test_of_one_seed_says_so():
    said = conclusion(list(ranked({"a": {0: 90}, "b": {0: 89}}).values()))
    assert said.endswith("No paired test over seeds (fewer than two common seeds: b).")


def test_a_lucky_seed_is_not_first():
    rows = ranked(
        {"raw pixels": {0: 50}, "a": {0: 90, 1: 80, 2: 85}, "b": {0: 95}, "c": {0: 84, 1: 70, 2: 83}}
    )
    assert list(rows) == ["a", "c", "raw pixels", "b"]
    assert [(row.place, row.mark) for row in rows.values()] == [
        (1, ""),
        (2, ""),
        (None, ""),
        (None, "incomplete"),
    ]
    assert rows["b"].difference == pytest.approx(5.0)  # on the seed that both have
    said = conclusion(list(rows.values()))
    assert said.startswith("First by linear accuracy: a, 85.00")
    assert "not tested (fewer than two common seeds: b (incomplete))" in said
    assert rows["b"].label == "b (incomplete)"


def test_one_seed_ahead_of_the_grid_is_not_first_either():
    """As in a grid that is filled seed by seed: the first method of the list has done one more."""
    rows = ranked({"intl": {0: 70, 1: 72}, "a": {0: 90}, "b": {0: 80}})
    assert [(name, row.place, row.mark) for name, row in rows.items()] == [
        ("a", 1, ""),
        ("b", 2, ""),
        ("intl", 3, ""),
    ]
    assert rows["intl"].difference == pytest.approx(-20)
    rows = ranked({"intl": {0: 70, 1: 72}, "a": {0: 90}})  # as many have two seeds as have one
    assert [(name, row.mark) for name, row in rows.items()] == [("intl", ""), ("a", "incomplete")]
    assert "Ahead of it at the seeds that both have finished, but without a place: a (+20.00)." in conclusion(
        list(rows.values())
    )


def test_what_needs_no_training_is_in_the_lead():
    scores = {
        "raw pixels": {0: 85, 1: 87},
        "untrained": {0: 40, 1: 40},
        "a": {0: 90, 1: 88},
        "b": {0: 30, 1: 86},
    }
    made = comparison(scores)
    for entry in made.entries:
        for run in entry.runs:
            run.accuracies["knn"] = {"raw pixels": 80.0, "untrained": 20.0}.get(entry.name, 50.0)
    said = conclusion(rank(made))
    below = "Below the {} are {} of 2 methods by linear accuracy ({}), {} by 5-NN ({})."
    pixels = below.format("raw pixels", 1, "86.00 ± 1.41", 2, "80.00 ± 0.00")
    assert said.endswith(
        pixels + " " + below.format("untrained network", 0, "40.00 ± 0.00", 0, "20.00 ± 0.00")
    )


def test_labels_take_no_place_and_no_test(tmp_path: Path):
    made = comparison({"mine": {0: 99, 1: 98, 2: 99}, "a": {0: 90, 1: 80}, "b": {0: 89, 1: 70}})
    (tmp_path / "config.yaml").write_text("method: supcon\n")
    made.entries[0].runs[:] = [replace(run, parts=(tmp_path,)) for run in made.entries[0].runs]
    rows = {row.entry.name: row for row in rank(made)}
    assert list(rows) == ["mine", "a", "b"]
    assert [(row.place, row.mark) for row in rows.values()] == [(None, "uses labels"), (1, ""), (2, "")]
    assert (rows["mine"].difference, rows["mine"].p) == (pytest.approx(13.5), None)
    assert rows["b"].adjusted == rows["b"].p  # one test, not two
    said = conclusion(list(rows.values()))
    assert said.startswith("First by linear accuracy: a,")
    assert "mine" not in said


def test_where_intl_stands():
    behind = {"intl": {0: 70, 1: 75, 2: 71}, "a": {0: 90, 1: 91, 2: 92.5}, "b": {0: 89, 1: 90.5, 2: 91}}
    rows = rank(comparison(behind))
    p = 2 * stats.ttest_rel((70, 75, 71), (90, 91, 92.5)).pvalue
    said = conclusion(rows)
    assert said.endswith(
        "intl stands at place 3 of 3 with 72.00 ± 2.65 %, -19.17 points from the first, "
        f"told apart from it (p after Holm's correction {p:.3f})."
    )
    assert "here 2; Holm's correction is for 2 tests" in caution(rows)
    near = conclusion(rank(comparison({"intl_ema": {0: 89, 1: 91}, "a": {0: 90, 1: 90.5}})))
    assert near.endswith(
        "-0.25 points from the first, not told apart from it (p after Holm's correction 0.795)."
    )
    few = rank(comparison({"intl": {0: 89}, "a": {0: 90}}))
    assert conclusion(few).endswith(
        "intl stands at place 2 of 2 with 89.00 %, -1.00 points from the first, not tested."
    )
    assert "degrees" not in caution(few).lower()
    ahead = conclusion(rank(comparison({"intl": {0: 91}, "a": {0: 90}})))
    assert "stands" not in ahead


@pytest.mark.parametrize(("warmup", "late"), [(19, False), (20, True), (None, True)])
def test_who_was_still_warming_up(warmup: int | None, late: bool):
    made = comparison({"a": {0: 90}, "b": {0: 89}})
    scheduler = {} if warmup is None else {"warmup_epochs": warmup}  # solo-learn's own is 10
    settings = {"scheduler": {"name": "warmup_cosine", **scheduler}}
    final = {"epochs": 10 if warmup is None else 20, "seconds": 1.0, "metrics": {}, "peak_memory_gib": None}
    made.entries[1].runs[:] = [replace(run, final=final, settings=settings) for run in made.entries[1].runs]
    said = conclusion(rank(made))
    assert said.endswith("the learning rate never came to its height: b.") == late
    assert ("Warm-up" in said) == late


def test_holm():
    # Holm 1979: the smallest p times the number of tests, then one fewer, never falling, never above one
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
