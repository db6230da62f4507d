"""What others published for the lab's runs, and whether ours reproduce it. Per cent of average test accuracy at the end.

Split MNIST: van de Ven & Tolias 2019 (1904.07734), 20 seeds; the generative classifier: van de Ven 2021; BI-R: one run of the reference code.
Permuted MNIST, domain incremental, EWC and SI: the targets that Avalanche's reproduction aims at. Others have no figure here, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dream_engine.lab import metrics
from dream_engine.lab.run import Run
from dream_engine.types import Interval

NEAR = 1.5
"""Points within which a figure counts as reproduced."""

SPLIT: Mapping[tuple[str, str], float] = {
    **{("task", k): v for k, v in {"none": 87.2, "ewc": 98.6, "si": 99.1, "lwf": 99.6, "dgr": 99.5, "dgr+distill": 99.6, "joint": 99.7}.items()},
    **{("domain", k): v for k, v in {"none": 59.2, "ewc": 64.0, "si": 65.4, "lwf": 71.5, "dgr": 95.7, "dgr+distill": 96.8, "joint": 98.4}.items()},
    **{("class", k): v for k, v in {"none": 19.9, "ewc": 20.0, "si": 20.0, "lwf": 23.9, "dgr": 90.8, "dgr+distill": 91.8, "joint": 97.9}.items()},
    ("class", "bi-r"): 94.0,
    ("class", "generative-classifier"): 93.8,
}
PERMUTED: Mapping[tuple[str, str], float] = {("domain", "ewc"): 94.0, ("domain", "si"): 95.0}
STREAMS: Mapping[str, Mapping[tuple[str, str], float]] = {"split mnist": SPLIT, "permuted mnist": PERMUTED}


def compared(stream: str, runs: Sequence[Run]) -> Iterator[str]:
    """A heading and one line a method: published, ours with its interval over seeds, the difference and what it means, CPU seconds a run."""
    yield f"{'method':22s} {'published':>9s}  {'ours':26s} {'difference':>10s}  {'':14s} CPU s"
    for name in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == name]
        ours = metrics.over_seeds([100 * metrics.average_accuracy(r.matrix) for r in mine])
        assert isinstance(ours, Interval), "there is a run of every method listed"
        figure = STREAMS.get(stream, {}).get((mine[0].scenario, name))
        spread = f"{ours.value:.1f} [{ours.low:.1f}, {ours.high:.1f}] n={ours.n}" if ours.n > 1 else f"{ours.value:.1f} (one seed)"
        gap = "" if figure is None else f"{ours.value - figure:+.1f}"
        cost = sum(r.cpu_seconds for r in mine) / len(mine)
        yield f"{name:22s} {'–' if figure is None else f'{figure:.1f}':>9s}  {spread:26s} {gap:>10s}  {meaning(ours, figure):14s} {cost:.0f}"


def meaning(ours: Interval, figure: float | None) -> str:
    """`reproduced` within 1.5 points, `cannot tell` where our interval holds the figure, else `ahead` or `behind`.

    `no figure` where none was published.
    """
    if figure is None:
        return "no figure"
    if abs(ours.value - figure) <= NEAR:
        return "reproduced"
    if ours.n > 1 and ours.low <= figure <= ours.high:
        return "cannot tell"
    return "ahead" if ours.value > figure else "behind"
