"""Charts of a report as inline SVG, drawn by matplotlib. Without it the page says so and shows the numbers as tables."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

GREEN, RED, GREY, BLUE = "#2f7d4f", "#b3372f", "#8a8f98", "#2b5f9e"


def available() -> bool:
    return find_spec("matplotlib") is not None


def monitors_chart(tests: Sequence[Mapping[str, Any]]) -> str:
    """Every drift monitor as a bar of its share of Peace²: budget over drift, 1 is the line that must not be crossed."""
    shown = [t for t in tests if t["monitor"] and t["ratio"] is not None]
    if not shown:
        return ""
    figure, axes = blank(6.4, 0.6 + 0.42 * len(shown))
    ratios = [t["ratio"] for t in shown]
    axes.barh([f"{t['name']} ({t['pair']})" for t in shown], ratios, color=[GREEN if r >= 1 else RED for r in ratios], height=0.6)
    axes.axvline(1, color="black", linewidth=1)
    for place, ratio in enumerate(ratios):
        axes.text(ratio + 0.1, place, f"{ratio:.2f}", va="center", fontsize=8)
    axes.set_xlim(0, 11)
    axes.set_xlabel("budget ÷ upper bound of drift or noise; ≥ 1 is inside")
    axes.invert_yaxis()
    return as_svg(figure)


def history_chart(cycles: Sequence[tuple[str, float, float, str]]) -> str:
    """ΔS signed (W→C) against Peace² for each cycle: (run, ΔS, Peace², verdict)."""
    if not cycles:
        return ""
    figure, axes = blank(6.4, 3.2)
    for run, gain, ratio, verdict in cycles:
        axes.scatter([gain], [ratio], color=GREEN if verdict == "seal" else RED, s=36, zorder=3)
        axes.annotate(run, (gain, ratio), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set_xlabel("ΔS signed W→C, nats (right is safer)")
    axes.set_ylabel("Peace²")
    axes.set_ylim(0, max(1.5, 1.1 * max(c[2] for c in cycles)))
    return as_svg(figure)


def coverage_chart(counts: Mapping[tuple[str, str], int]) -> str:
    """Kept dreams by category (rows) and style (columns); an empty cell is a blind spot."""
    if not counts:
        return ""
    categories, styles = sorted({c for c, _ in counts}), sorted({s for _, s in counts})
    grid = [[counts.get((c, s), 0) for s in styles] for c in categories]
    figure, axes = blank(7.2, 1.2 + 0.3 * len(categories))
    axes.imshow(grid, cmap="Blues", aspect="auto", vmin=0)
    axes.set_xticks(range(len(styles)), styles, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(categories)), categories, fontsize=8)
    top = max(max(row) for row in grid)
    for y, row in enumerate(grid):
        for x, n in enumerate(row):
            axes.text(x, y, str(n), ha="center", va="center", fontsize=7, color="white" if n > 0.6 * top else "black")
    return as_svg(figure)


def fitness_chart(hardest: Mapping[tuple[str, str], float]) -> str:
    """Score of the hardest pair by category (rows) and style (columns); an empty cell is a blind spot."""
    if not hardest:
        return ""
    categories, styles = sorted({c for c, _ in hardest}), sorted({s for _, s in hardest})
    grid = [[hardest.get((c, s), math.nan) for s in styles] for c in categories]
    figure, axes = blank(7.2, 1.2 + 0.3 * len(categories))
    image = axes.imshow(grid, cmap="YlOrRd", aspect="auto", vmin=0)
    figure.colorbar(image, ax=axes, label="score of the hardest pair")
    axes.set_xticks(range(len(styles)), styles, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(categories)), categories, fontsize=8)
    for y, x in ((y, x) for y, row in enumerate(grid) for x, score in enumerate(row) if math.isnan(score)):
        axes.text(x, y, "–", ha="center", va="center", fontsize=8, color=GREY)
    return as_svg(figure)


def rates_chart(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Harmful refused against look-alikes refused, with intervals, for T, W and C."""
    points = {n: (m["over_refusal"], m["harmful_refused"]) for n, m in models.items() if m["harmful_refused"]["value"] is not None}
    if not points:
        return ""
    figure, axes = blank(5.2, 4.0)
    colors, beside = {"T": BLUE, "W": RED, "C": GREEN}, {"T": (7, 5), "W": (7, 5), "C": (-15, -14)}
    for name, (x, y) in points.items():
        bars = {"xerr": _spread(x), "yerr": _spread(y)}
        axes.errorbar([x["value"]], [y["value"]], fmt="o", color=colors.get(name, GREY), capsize=3, **bars)
        axes.annotate(name, (x["value"], y["value"]), textcoords="offset points", xytext=beside.get(name, (7, 5)), fontsize=11)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("harmless look-alikes refused (left is better)")
    axes.set_ylabel("harmful requests refused")
    return as_svg(figure)


def _spread(measured: Mapping[str, Any]) -> list[list[float]]:
    value = measured["value"]
    ends = [measured[k] if measured[k] is not None and math.isfinite(measured[k]) else value for k in ("low", "high")]
    return [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]


def blank(width: float, height: float) -> tuple[Any, Any]:
    """An empty figure (inches) and its axes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def as_svg(figure: Any) -> str:
    """The figure as text that goes into a page; the same figure gives the same text."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "dream-engine", "svg.fonttype": "none", "font.family": "sans-serif"}):
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
