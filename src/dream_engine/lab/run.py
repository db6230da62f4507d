"""One run of the lab: a learner meets the contexts in order, and is tested on all of them after each.

The matrix of accuracies is everything that the metrics need.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dream_engine.lab import metrics
from dream_engine.lab.data import Context, Examples, Stream, batches
from dream_engine.lab.learners import Learner, accuracy
from dream_engine.lab.methods import Plan, method
from dream_engine.types import Missing, derive_seed

Report = Callable[[int, int], None]
Score = Callable[[Learner, Context, torch.Tensor], float]
"""How a learner does on a context's test among the visible units, 0 … 1: accuracy, or macro F1 where labels are skewed."""
REPORT_EVERY = 100


@dataclass(frozen=True)
class Run:
    """`matrix[i][j]`: accuracy (or another score) on context j after learning context i, contexts not yet met included; `untrained`: before any.

    `overlap` is how alike contexts look inside the network at the end (`metrics.overlap`), None where a learner has no hidden layer of its own.
    Seconds are of training alone, tests left out.
    """

    method: str
    scenario: str
    seed: int
    untrained: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    iterations: int
    wall_seconds: float
    cpu_seconds: float
    overlap: float | None = None


def quiet(done: int, total: int) -> None:
    """Reports nothing."""


def learn(stream: Stream, name: str, plan: Plan, seed: int, report: Report = quiet, score: Score = accuracy) -> tuple[Run, Learner]:
    """Builds the method, learns every context, and tests on all after each.

    Raises:
        InputError: the method is not known, or it refuses its setting.
    """
    learner = method(name)(stream, plan, derive_seed(seed, "lab", 0))
    rng = torch.Generator().manual_seed(derive_seed(seed, "lab-batches", 0))
    untrained, matrix, total, watch = tested(learner, stream, 0, score), [], plan.iterations * len(stream.contexts), Stopwatch()
    for number, context in enumerate(stream.contexts, 1):
        source = batches(everything(stream, number) if name == "joint" else context.train, plan.batch, rng)
        with watch:
            learner.begin(number)
            for index in range(plan.iterations):
                learner.step(next(source))
                if index % REPORT_EVERY == 0:
                    report((number - 1) * plan.iterations + index, total)
            learner.end(context)
        matrix.append(tested(learner, stream, number, score))
    report(total, total)
    return Run(name, stream.scenario, seed, untrained, tuple(matrix), total, watch.wall, watch.cpu, blur(learner, stream)), learner


def tested(learner: Learner, stream: Stream, known: int, score: Score) -> tuple[float, ...]:
    """The score on every context while `known` are known."""
    return tuple(score(learner, c, stream.tested(j, known)) for j, c in enumerate(stream.contexts, 1))


def blur(learner: Learner, stream: Stream) -> float | None:
    """Overlap of the contexts' mean hidden activity on their tests; None where the learner shows none, or there is one context."""
    means = [learner.hidden(c.test.x) for c in stream.contexts]
    found = metrics.overlap([m.mean(0).tolist() for m in means if m is not None])
    return None if isinstance(found, Missing) else found


def everything(stream: Stream, number: int) -> Examples:
    """All data up to a context, at once."""
    parts = [c.train for c in stream.contexts[:number]]
    return Examples(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))


class Stopwatch:
    """Wall and processor seconds of this process inside `with`."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._begun = (time.perf_counter(), _cpu_seconds())

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._begun[0]
        self.cpu += _cpu_seconds() - self._begun[1]


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
