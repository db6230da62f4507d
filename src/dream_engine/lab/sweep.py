"""How bad a generator may be before the gate notices: the noise of its samples, their brightness, and how briefly it was trained, each in steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dream_engine.lab.data import Stream
from dream_engine.lab.demo import NIGHT, night, wake
from dream_engine.lab.judgement import Night
from dream_engine.lab.metrics import average_accuracy
from dream_engine.lab.replay import Spoiled
from dream_engine.progress import Show
from dream_engine.types import Interval

SWEEPS: Mapping[str, Sequence[tuple[float, Spoiled]]] = {
    "noise of the samples, standard deviation": [(x, Spoiled(noise=x)) for x in (0.0, 0.25, 0.5, 1.0, 2.0)],
    "brightness added": [(x, Spoiled(brightness=x)) for x in (0.0, 0.125, 0.25, 0.5, 1.0)],
    "steps of the generator": [(float(n), Spoiled(steps=n)) for n in (5, 20, 80, 200, 400)],
}


@dataclass(frozen=True)
class Point:
    """One generator: how spoiled, what the gate said, and the average accuracy of both tasks at the end, 0 … 1."""

    value: float
    night: Night
    accuracy: float


def sweep(stream: Stream, seed: int, show: Show) -> dict[str, list[Point]]:
    """Every step of every sweep as a night of DGR + distillation on a stream of two contexts."""
    woken, found = wake(stream, NIGHT, seed), dict[str, list[Point]]()
    for name, steps in SWEEPS.items():
        for index, (value, spoiled) in enumerate(steps):
            show(name, index, len(steps), None)
            judged, run = night(stream, "dgr+distill", replace(NIGHT, spoiled=spoiled), woken, seed)
            found.setdefault(name, []).append(Point(value, judged, average_accuracy(run.matrix)))
    return found


def lines(found: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """A heading a sweep and a line a step."""
    for name, points in found.items():
        yield f"{name:44s} {'accuracy':>8s} {'ΔS signed W→C':>22s}  verdict"
        for p in points:
            drop = p.night.correct_surprisal_drop
            said = f"{drop.value:+.2f} [{drop.low:+.2f}, {drop.high:+.2f}]" if isinstance(drop, Interval) else "–"
            verdict = p.night.gated.verdict
            yield f"{p.value:44g} {100 * p.accuracy:7.1f}% {said:>22s}  {verdict.name} {', '.join(verdict.failing or verdict.undecided)}"
