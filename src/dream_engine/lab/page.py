"""The lab's page: matrices, forgetting, cost, ΔS against Peace² of the nights, generated samples. One self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from dream_engine.files import write_whole
from dream_engine.lab.demo import MODES, Demo
from dream_engine.lab.judgement import Night
from dream_engine.lab.run import Run
from dream_engine.lab.sweep import Point
from dream_engine.lab.sweep import lines as sweep_lines
from dream_engine.lab.table import lines
from dream_engine.report.charts import as_svg, blank
from dream_engine.types import Interval, Measured

COLORS = {"none": "#b3372f", "joint": "#2f7d4f", "er": "#2b5f9e", "dgr+distill": "#a06a00", "bi-r": "#6b4fa0"}


def write_page(demo: Demo, path: Path) -> Path:
    """Writes the demo's page; returns its place.

    Raises:
        StorageError: the disk refused.
    """
    charts = run_charts(demo.runs) | {"nights": nights_chart(demo.nights), "samples": samples_chart(demo.samples)}
    return _write(path, "five contexts of two digits, all classes told apart", demo.runs, charts, [_row(n, m) for n, m in demo.nights.items()])


def write_runs(title: str, runs: Sequence[Run], path: Path) -> Path:
    """Writes the page of some runs on one stream; returns its place. The pictures are of each method's first seed.

    Raises:
        StorageError: the disk refused.
    """
    first = [next(r for r in runs if r.method == name) for name in dict.fromkeys(r.method for r in runs)]
    return _write(path, title, runs, run_charts(first), [])


def write_sweep(found: Mapping[str, Sequence[Point]], path: Path) -> Path:
    """Writes the page of a generator that is spoiled step by step; returns its place.

    Raises:
        StorageError: the disk refused.
    """
    return _rendered("sweep.html", path, table="\n".join(sweep_lines(found)), chart=Markup(sweep_chart(found)))


def sweep_chart(found: Mapping[str, Sequence[Point]]) -> str:
    """A panel a sweep: average accuracy and ΔS signed by how spoiled the generator is; green where the gate sealed."""
    figure, _ = blank(8.4, 3.0)
    figure.clear()
    for axes, (name, points) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        places = range(len(points))
        axes.plot(places, [p.accuracy for p in points], color="#8a8f98", linewidth=1)
        for place, p in zip(places, points, strict=True):
            axes.scatter([place], [p.accuracy], color="#2f7d4f" if p.night.gated.verdict.name == "seal" else "#b3372f", zorder=3)
        drops = [p.night.correct_surprisal_drop for p in points]
        other = axes.twinx()
        other.plot(places, [d.value if isinstance(d, Interval) else float("nan") for d in drops], color="#2b5f9e", linestyle="--", linewidth=1)
        other.tick_params(labelsize=7, colors="#2b5f9e")
        axes.set_xticks(list(places), [f"{p.value:g}" for p in points])
        axes.set_xlabel(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_ylim(-0.03, 1.03)
    return as_svg(figure)


def run_charts(runs: Sequence[Run]) -> dict[str, str]:
    """One run a method: accuracy matrices, forgetting, cost."""
    return {"matrices": matrices(runs), "forgetting": forgetting_curves(runs), "cost": accuracy_against_cost(runs)}


def _write(path: Path, title: str, runs: Sequence[Run], charts: Mapping[str, str], nights: Sequence[Mapping[str, Any]]) -> Path:
    marked = {key: Markup(value) for key, value in charts.items()}
    return _rendered("page.html", path, title=title, table="\n".join(lines(runs)), charts=marked, nights=nights)


def _rendered(template: str, path: Path, **values: Any) -> Path:
    made = Environment(loader=PackageLoader("dream_engine", "lab"), autoescape=select_autoescape())
    write_whole(path, made.get_template(template).render(**values))
    return path


def matrices(runs: Sequence[Run]) -> str:
    """One heat map a method: accuracy on each context (column) after each (row)."""
    columns = min(len(runs), 5)
    lines_needed = -(-len(runs) // columns)
    figure, _ = blank(2.1 * columns, 2.3 * lines_needed)
    figure.clear()
    grid = figure.subplots(lines_needed, columns, squeeze=False).flatten()
    for axes in grid[len(runs) :]:
        axes.axis("off")
    for axes, run in zip(grid, runs, strict=False):
        axes.imshow(run.matrix, vmin=0, vmax=1, cmap="Greens")
        axes.set_title(run.method, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        for i, row in enumerate(run.matrix):
            for j, value in enumerate(row):
                axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color="white" if value > 0.6 else "black")
    return as_svg(figure)


def forgetting_curves(runs: Sequence[Run]) -> str:
    """Accuracy on the first context as the others are learned."""
    figure, axes = blank(6.4, 3.0)
    for run in runs:
        axes.plot(range(1, len(run.matrix) + 1), [row[0] for row in run.matrix], marker="o", label=run.method, color=COLORS.get(run.method))
    axes.set_xlabel("contexts learned")
    axes.set_ylabel("accuracy on the first")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=8, frameon=False)
    return as_svg(figure)


def accuracy_against_cost(runs: Sequence[Run]) -> str:
    """Average accuracy at the end against processor seconds."""
    figure, axes = blank(6.4, 3.0)
    for run in runs:
        average = sum(run.matrix[-1]) / len(run.matrix[-1])
        axes.scatter([run.cpu_seconds], [average], color=COLORS.get(run.method))
        axes.annotate(run.method, (run.cpu_seconds, average), textcoords="offset points", xytext=(6, -3), fontsize=8)
    axes.set_xlabel("CPU seconds of training")
    axes.set_ylabel("average accuracy")
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlim(left=0, right=1.25 * max(run.cpu_seconds for run in runs))
    return as_svg(figure)


def nights_chart(nights: Mapping[str, Night]) -> str:
    """ΔS signed (W→C) against Peace² of each night, numbered as in the table."""
    figure, axes = blank(6.4, 3.2)
    for number, night in enumerate(nights.values(), 1):
        if isinstance(night.correct_surprisal_drop, Interval) and night.gated.stability_ratio is not None:
            x, y = night.correct_surprisal_drop.value, night.gated.stability_ratio
            axes.scatter([x], [y], color="#2f7d4f" if night.gated.verdict.name == "seal" else "#b3372f", s=36)
            axes.annotate(str(number), (x, y), textcoords="offset points", xytext=(6, 4), fontsize=9)
    axes.axvline(0, color="#8a8f98", linewidth=1)
    axes.axhline(1, color="#8a8f98", linewidth=1)
    axes.set_xlabel("ΔS signed W→C, nats (right is safer)")
    axes.set_ylabel("Peace²")
    return as_svg(figure)


def samples_chart(samples: Mapping[str, Any]) -> str:
    """A row of generated inputs a stage."""
    figure, _ = blank(6.4, 0.75 * len(samples))
    figure.clear()
    rows = list(samples.items())
    side = int(rows[0][1].shape[1] ** 0.5)
    for line, (name, images) in zip(figure.subplots(len(rows), len(rows[0][1]), squeeze=False), rows, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image.view(side, side), cmap="Greys", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name.removeprefix("after "), fontsize=7, rotation=0, ha="right", va="center")
    return as_svg(figure)


def _row(name: str, night: Night) -> dict[str, Any]:
    verdict, mode = night.gated.verdict, MODES[name]
    return {
        "name": name, "why": mode.why, "verdict": verdict.name, "as_it_should": verdict.name in mode.right,
        "failing": ", ".join(verdict.failing or verdict.undecided) or "–", "entropy": _shown(night.correct_surprisal_drop),
        "ratio": "–" if night.gated.stability_ratio is None else f"{night.gated.stability_ratio:.2f} ({night.gated.worst_monitor})",
    }  # fmt: skip


def _shown(measured: Measured) -> str:
    return f"{measured.value:+.2f} [{measured.low:+.2f}, {measured.high:+.2f}]" if isinstance(measured, Interval) else f"– ({measured.reason})"
