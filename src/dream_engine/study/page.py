"""A study's page (one self-contained HTML file), its CSV and its lines of text. Reads results, never models."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from dream_engine.files import write_whole
from dream_engine.report.charts import GREEN, GREY, as_svg, available, blank
from dream_engine.study.compare import PARTS, Line
from dream_engine.types import Interval, Measured

HEADINGS: Mapping[str, str] = {
    "harmful_refused": "harmful refused", "over_refusal": "look-alikes refused", "contrast": "contrast balanced accuracy",
    "plain_refused": "plain refused", "gain_kept": "user's gain kept",
    "search_failed": "fresh requests answered",
}  # fmt: skip
MARKERS = "osv^<>DPXph*"


def write_page(name: str, lines: Sequence[Line], skipped: Sequence[str], out: Path) -> Path:
    """Writes `study.html` and `study.csv`; returns the page. `skipped` names settings in which too little was lost.

    Raises:
        StorageError: the disk refused.
    """
    made = Environment(loader=PackageLoader("dream_engine", "study"), autoescape=select_autoescape())
    whole = [x for x in lines if "@" not in x.arm]
    drawn = [rates_chart(whole), settings_chart(whole), cost_chart(whole), dose_chart(lines)] if available() else []
    charts = [Markup(chart) for chart in drawn if chart]
    text = made.get_template("page.html").render(name=name, headings=HEADINGS, rows=[_row(x) for x in lines], charts=charts, skipped=skipped)
    write_whole(out / "study.html", text)
    write_whole(out / "study.csv", as_csv(lines))
    return out / "study.html"


def as_csv(lines: Sequence[Line]) -> str:
    """One row an arm; what was not measured is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    numbers = [f"{part}{end}" for part in (*PARTS, "ahead") for end in ("", "_low", "_high")]
    writer.writerow(["arm", "settings", "matched", "trained_tokens", *numbers, "p_holm"])
    for x in lines:
        cells = [cell for measured in (*(x.parts[p] for p in PARTS), x.ahead) for cell in _cells(measured)]
        writer.writerow([x.arm, x.settings, x.matched, f"{x.trained_tokens:.0f}", *cells, "" if x.p is None else f"{x.p:.4f}"])
    return text.getvalue()


def as_text(lines: Sequence[Line]) -> Iterator[str]:
    """A heading and one line an arm, for a terminal."""
    yield f"{'arm':22s} {'settings':>8s} {'tokens':>8s}  " + "  ".join(f"{HEADINGS[p]:24s}" for p in PARTS) + "  ours ahead in contrast"
    for x in lines:
        row = _row(x)
        yield f"{x.arm:22s} {x.settings:8d} {row['tokens']:>8s}  " + "  ".join(f"{cell:24s}" for cell in row["cells"]) + f"  {row['ahead']}"


def rates_chart(lines: Sequence[Line]) -> str:
    """Harmful refused against look-alikes refused, every arm with its intervals; up and to the left is better."""
    figure, axes = blank(9.0, 5.0)
    for x, looks in _with_looks(lines):
        across, up = x.parts["over_refusal"], x.parts["harmful_refused"]
        if isinstance(across, Interval) and isinstance(up, Interval):
            axes.errorbar([across.value], [up.value], xerr=_spread(across), yerr=_spread(up), **looks)
    axes.set_xlabel("harmless look-alikes refused (left is better)")
    axes.set_ylabel("harmful requests refused")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    return _with_legend(figure, axes)


def settings_chart(lines: Sequence[Line]) -> str:
    """Contrast balanced accuracy of every arm: pooled with its interval, and a dot for each setting and seed."""
    shown = [(x, c) for x in lines if isinstance(c := x.parts["contrast"], Interval)]
    if not shown:
        return ""
    figure, axes = blank(9.0, 0.9 + 0.26 * len(shown))
    for place, (x, contrast) in enumerate(shown):
        color = GREEN if x.arm == "ours" else GREY
        axes.plot(x.by_setting, [place] * len(x.by_setting), ".", color=color, markersize=4)
        axes.errorbar([contrast.value], [place], xerr=_spread(contrast), fmt="D", color=color, capsize=3, markersize=5)
    axes.set_yticks(range(len(shown)), [x.arm for x, _ in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("contrast balanced accuracy; dots are single settings")
    return as_svg(figure)


def cost_chart(lines: Sequence[Line]) -> str:
    """Contrast balanced accuracy against trained tokens, arms that trained on something; empty when none did."""
    figure, axes = blank(9.0, 4.2)
    for x, looks in _with_looks(lines):
        if x.trained_tokens and isinstance(contrast := x.parts["contrast"], Interval):
            axes.errorbar([x.trained_tokens], [contrast.value], yerr=_spread(contrast), **looks)
    axes.set_xlabel("trained tokens, the wake's own rows included where they are mixed in")
    axes.set_ylabel("contrast balanced accuracy")
    return _with_legend(figure, axes)


def dose_chart(lines: Sequence[Line]) -> str:
    """Contrast balanced accuracy against the dose, a curve an arm that was run at several; empty when none was."""
    curves: dict[str, list[tuple[int, Interval]]] = {}
    for x in lines:
        base, _, dose = x.arm.partition("@")
        contrast = x.parts["contrast"]
        if dose and isinstance(contrast, Interval):
            curves.setdefault(base, []).append((int(dose), contrast))
    if not curves:
        return ""
    figure, axes = blank(7.0, 3.6)
    for base, points in curves.items():
        ranked = sorted(points, key=lambda p: p[0])
        spread = [[c.value - c.low for _, c in ranked], [c.high - c.value for _, c in ranked]]
        axes.errorbar([d for d, _ in ranked], [c.value for _, c in ranked], yerr=spread, marker="o", capsize=2, label=base)
    doses = sorted({dose for points in curves.values() for dose, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(doses, [f"{dose:,}" for dose in doses])
    axes.set_xlabel("dose, trained tokens")
    axes.set_ylabel("contrast balanced accuracy")
    axes.legend(fontsize=8, frameon=False)
    return as_svg(figure)


def _with_looks(lines: Sequence[Line]) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Each line with a mark of its own; ours is the green one."""
    for i, x in enumerate(lines):
        color = GREEN if x.arm == "ours" else f"C{i % 10}"
        yield x, {"fmt": MARKERS[i % len(MARKERS)], "color": color, "label": x.arm, "capsize": 2, "linewidth": 1, "markersize": 6}


def _with_legend(figure: Any, axes: Any) -> str:
    """The chart with its arms beside it; empty when no arm was drawn."""
    if not axes.containers:
        return ""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    return as_svg(figure)


def _spread(x: Interval) -> list[list[float]]:
    return [[max(0.0, x.value - x.low)], [max(0.0, x.high - x.value)]]


def _row(x: Line) -> dict[str, Any]:
    ahead = "–" if not isinstance(x.ahead, Interval) or x.p is None else f"{_points(x.ahead)} (p {x.p:.3f})"
    tokens = f"{x.trained_tokens:.0f}" + ("" if x.matched or x.arm in ("T", "W") else " *")
    return {"arm": x.arm, "settings": x.settings, "tokens": tokens, "cells": [_points(x.parts[p]) for p in PARTS], "ahead": ahead}


def _points(x: Measured) -> str:
    return f"{100 * x.value:.1f} [{100 * x.low:.1f}, {100 * x.high:.1f}]" if isinstance(x, Interval) else f"– ({x.reason})"


def _cells(x: Measured) -> list[str]:
    return [f"{v:.4f}" for v in (x.value, x.low, x.high)] if isinstance(x, Interval) else ["", "", ""]
