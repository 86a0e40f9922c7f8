"""The pages: HTML that needs no other file, Markdown beside the PNG figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import jinja2
from omegaconf import OmegaConf

from solo_intl import host
from solo_intl.errors import UserError
from solo_intl.experiments.grid import split_row
from solo_intl.experiments.report.curves import draw_accuracy, draw_losses
from solo_intl.experiments.report.data import Comparison, Entry, read_comparison
from solo_intl.experiments.report.maps import draw_maps
from solo_intl.experiments.report.pictures import draw_neighbours, draw_views
from solo_intl.experiments.report.ranking import Row, caution, conclusion, rank, show, show_p
from solo_intl.experiments.report.spectra import alarms, draw_spectra
from solo_intl.experiments.report.standings import draw_cost, draw_ranking
from solo_intl.experiments.report.style import Figure

SHOWN = 6  # missing cells by name; more of them are counted
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A heading, what it says, and its figures."""

    anchor: str
    title: str
    text: str
    figures: list[Figure]


def write_pages(folder: Path) -> Path:
    """Write ``report/``: report.html, report.md, figures/*.png. An earlier report there is replaced.

    Raises:
        UserError: the folder holds no comparison with a finished cell.
    """
    comparison = read_comparison(folder)
    report = folder / "report"
    partial = folder / "report.partial"
    shutil.rmtree(partial, ignore_errors=True)
    figures = partial / "figures"
    figures.mkdir(parents=True)
    rows = rank(comparison)
    sections = _sections(comparison, rows, figures)
    content = _content(comparison, rows, sections)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("report.html", "report.md"):
        text = environment.get_template(f"{name}.j2").render(content)
        (partial / name).write_text(text, encoding="utf-8")
    shutil.rmtree(report, ignore_errors=True)
    partial.rename(report)
    return report / "report.html"


def _sections(comparison: Comparison, rows: list[Row], folder: Path) -> list[Section]:
    off = "No run was monitored (monitor.every_n_steps was 0), or the run folders were removed."
    kept = "No cell kept its validation features, or they were removed."
    removed = "no method has finished, or the run folders were removed."
    logged, seen = f"No run has a metrics.csv: {removed}", f"No run kept the views it saw: {removed}"
    return [
        Section("ranking", "Ranking", "", draw_ranking(rows, folder)),
        _section("accuracy", "Accuracy", logged, lambda: draw_accuracy(comparison, folder)),
        _section("cost", "Cost", "No method has finished.", lambda: draw_cost(comparison, rows, folder)),
        _section("losses", "Losses", logged, lambda: draw_losses(comparison, folder)),
        _section(
            "spectrum",
            "Spectrum of the embeddings",
            off,
            lambda: draw_spectra(comparison, folder),
            alarms(comparison),
        ),
        _section("maps", "Maps of the features", kept, lambda: draw_maps(comparison, folder)),
        _section(
            "neighbours",
            "Nearest neighbours",
            kept,
            lambda: draw_neighbours(comparison, folder),
            "Nearest validation images by cosine of the frozen features. Blue frame: same class as the image "
            "asked for; vermilion frame and corner: another class.",
        ),
        _section("views", "Views that training saw", seen, lambda: draw_views(comparison, folder)),
    ]


def _section(
    anchor: str, title: str, missing: str, draw: Callable[[], list[Figure]], text: str = ""
) -> Section:
    """A part that only some comparisons have the material for."""
    try:
        figures = draw()
    except UserError as error:  # the data set is not on this machine
        return Section(anchor, title, f"Left out: {error}", [])
    return Section(anchor, title, text if figures else f"Left out. {missing}", figures)


def _content(comparison: Comparison, rows: list[Row], sections: list[Section]) -> dict[str, Any]:
    return {
        "comparison": comparison,
        "table": _table(comparison, rows),
        "conclusion": conclusion(rows),
        "caution": caution(rows),
        "note": str(comparison.settings.get("note") or ""),
        "facts": _facts(comparison),
        "settings": [_settings(entry) for entry in comparison.methods if entry.runs[0].config],
        "failures": [(e.name, seed, text) for e in comparison.entries for seed, text in e.errors.items()],
        "configs": [(entry.name, entry.runs[0].config) for entry in comparison.methods],
        "comparison_yaml": OmegaConf.to_yaml(OmegaConf.create(comparison.settings)),
        "environments": _environments(comparison),
        "sections": sections,
    }


def _table(comparison: Comparison, rows: list[Row]) -> list[dict[str, str]]:
    """The ranking as text. Methods are counted; what they have to beat stands among them without a place."""

    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)  # noqa: RUF001

    def chance(p: float | None) -> str:
        return "–" if p is None else show_p(p)  # noqa: RUF001

    def seeds(row: Row) -> str:
        count, most = len(row.entry.runs), len(comparison.seeds)
        return str(count) if count == most else f"{count} of {most}"

    return [
        {
            "place": "" if row.place is None else str(row.place),
            "name": row.entry.name,
            "mark": row.mark,
            "trained": "yes" if row.entry.trained else "",
            "knn": show(row.knn),
            "linear": show(row.linear),
            "difference": number(row.difference, "+.2f"),
            "p": chance(row.p),
            "adjusted": chance(row.adjusted),
            "seeds": seeds(row),
            "seconds": "–" if row.seconds_per_epoch is None else show(row.seconds_per_epoch, 1),  # noqa: RUF001
            "memory": number(row.memory, ".2f"),
        }
        for row in rows
    ]


def _facts(comparison: Comparison) -> dict[str, str]:
    runs = [run for entry in comparison.methods for run in entry.runs]
    configs: list[Any] = [OmegaConf.create(run.config) for run in runs if run.config]
    files = {split_row(entry.name)[0] for entry in comparison.methods}
    facts = {"seeds": _distinct(comparison.seeds), "methods": str(len(files))}
    for key in ("dataset", "epochs", "steps", "precision"):
        facts[key] = _distinct(run.final[key] for run in runs if key in run.final)
    facts["backbone"] = _distinct(map(_network, configs))
    facts["batch"] = _distinct(cfg.optimizer.batch_size for cfg in configs)
    facts["linear layer"] = _layer([run.layer for run in comparison.runs if run.layer])
    facts["training in all"] = f"{sum(run.hours for run in runs):.1f} h"
    environments = [one for run in comparison.runs for one in run.environments]
    machines = [one.get("machine", {}) for one in environments]
    facts["machine"] = _distinct(
        ", ".join([*m.get("gpus", []), str(m.get("processor", ""))]) for m in machines
    )
    dates = sorted(str(one.get("date", ""))[:10] for one in environments) or [""]
    facts["date"] = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    commits = [one.get("solo_intl", {}).get("commit") for one in environments]
    facts["commit"] = _distinct(commit[:10] for commit in commits if commit)
    if comparison.missing:
        names = ", ".join(f"{name} {seed}" for name, seed in comparison.missing)
        many = len(comparison.missing) > SHOWN
        facts["not finished yet"] = f"{len(comparison.missing)} cells" if many else names
    return {name: value for name, value in facts.items() if value}


def _layer(fits: list[dict[str, Any]]) -> str:
    """How long the linear layer was trained, and whether it fits what it was trained on."""
    if not fits:
        return ""
    scores = sorted(fit["train_top1"] for fit in fits)
    epochs, batches = (_distinct(fit[key] for fit in fits) for key in ("epochs", "batch_size"))
    right = f"{scores[0]:.1f} to {scores[-1]:.1f} %"
    return f"{epochs} epochs, batch {batches}; {right} of its training images right"


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(map(str, sorted(set(values))))  # type: ignore[type-var]


def _network(cfg: Any) -> str:
    backbone = host.plain(cfg.backbone)
    if not backbone["name"].startswith("resnet"):
        return str(backbone["name"])
    kind = host.stem_kind(backbone, cfg.data.dataset, host.image_size(cfg))
    stride = host.stem_stride(backbone)
    return f"{backbone['name']}, " + (
        "7x7 stem with max-pooling" if kind == "imagenet" else f"3x3 stem of stride {stride}"
    )


_OF_ONE_PROCESS = ("date", "command", "resumed_from")


def _environments(comparison: Comparison) -> list[tuple[str, str]]:
    """Each different environment, and whose it was: cells may come from several days, versions, machines."""
    cells: dict[str, list[str]] = {}
    for entry in comparison.entries:
        for run in entry.runs:
            for one in run.environments:  # of its training, and of its evaluation if that was another
                here = {key: value for key, value in one.items() if key not in _OF_ONE_PROCESS}
                names = cells.setdefault(OmegaConf.to_yaml(OmegaConf.create(here)), [])
                if f"{entry.name} {run.seed}" not in names:
                    names.append(f"{entry.name} {run.seed}")
    if len(cells) == 1:
        return [("Environment of every cell", text) for text in cells]
    return [(f"Environment of {', '.join(names)} (name and seed)", text) for text, names in cells.items()]


def _settings(entry: Entry) -> dict[str, str]:
    """What a reader compares first; each configuration stands in full further down."""
    cfg: Any = OmegaConf.create(entry.runs[0].config)
    optimizer = cfg.optimizer
    return {
        "method": entry.name,
        "optimizer": str(optimizer.name),
        "learning rate": f"{optimizer.lr:g}",
        "weight decay": f"{optimizer.weight_decay:g}",
        "batch": str(optimizer.batch_size),
        "epochs": str(cfg.max_epochs),
        "warm-up": f"{host.warmup_epochs(cfg):g}",
        "steps": f"{mean(run.final['steps'] for run in entry.runs):.0f}",
        "views": str(sum(view.num_crops for view in cfg.augmentations)),
        "embedding": str(cfg.method_kwargs.get("proj_output_dim", "–")),  # noqa: RUF001
    }
