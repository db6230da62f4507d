"""`dream lab demo`: what is forgotten, what replay keeps, at what cost; and nights spoiled on purpose, each judged by the main gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dream_engine.lab.data import Stream, split_stream
from dream_engine.lab.judgement import Night, Woken, evaluate, judge
from dream_engine.lab.methods import Plan
from dream_engine.lab.replay import Spoiled
from dream_engine.lab.run import Run, learn
from dream_engine.lab.table import run_all
from dream_engine.progress import Show
from dream_engine.types import VerdictName

METHODS = ("er", "dgr+distill", "bi-r")
PLAN = Plan(iterations=300, hidden=100, latents=40)
NIGHT = Plan(iterations=400, hidden=100, latents=40)


@dataclass(frozen=True)
class Mode:
    """A night with something wrong on purpose (or nothing), and the verdicts that are right for it."""

    method: str
    plan: Plan
    right: tuple[VerdictName, ...]
    why: str


NOT_SEALED: tuple[VerdictName, ...] = ("sabar", "hold")
MODES: Mapping[str, Mode] = {
    "no replay": Mode("none", NIGHT, NOT_SEALED, "A is forgotten"),
    "stored examples": Mode("er", NIGHT, ("seal", "inconclusive"), "the control: a past that is real"),
    "generator with noise": Mode("dgr+distill", replace(NIGHT, spoiled=Spoiled(noise=2.0)), NOT_SEALED, "samples drowned in noise"),
    "generator with a bias": Mode("dgr+distill", replace(NIGHT, spoiled=Spoiled(brightness=1.0)), NOT_SEALED, "every sample too bright"),
    "generator trained for 5 steps": Mode("dgr+distill", replace(NIGHT, spoiled=Spoiled(steps=5)), NOT_SEALED, "samples of nothing"),
    "dreams without the unsafe class": Mode("dgr+distill", replace(NIGHT, spoiled=Spoiled(without=0)), NOT_SEALED, "imbalanced dreams"),
    "replay too strong": Mode("er", replace(NIGHT, present=0.0005), NOT_SEALED, "B is hardly learned: Peace² < 1"),
}


@dataclass(frozen=True)
class Demo:
    """Everything that the page shows."""

    runs: tuple[Run, ...]
    nights: Mapping[str, Night]
    samples: Mapping[str, Tensor]


def demo(stream: Stream, nights: Stream, folder: Path, seed: int, show: Show) -> Demo:
    """The methods on one stream, the failure modes on another, samples of a generator by stage. Finished runs are read from `folder`."""
    runs = run_all(lambda _: stream, METHODS, [seed], PLAN, folder / "lab.jsonl", "digits", show, version=f"order {seed}")
    return Demo(tuple(runs), failure_modes(nights, seed, show), generated(stream, seed, show))


def night_stream(train: object, test: object) -> Stream:
    """Two contexts: A with the unsafe class, then B."""
    return split_stream(train, test, "class", 2)  # type: ignore[arg-type]


def failure_modes(stream: Stream, seed: int, show: Show) -> dict[str, Night]:
    """One night a mode: T after A, W after B without a past, C after B with the mode's own."""
    woken, found = wake(stream, NIGHT, seed), {}
    for name, mode in MODES.items():
        show(f"night: {name}", 0, 1, None)
        found[name], _ = night(stream, mode.method, mode.plan, woken, seed)
    return found


def wake(stream: Stream, plan: Plan, seed: int) -> Woken:
    """B after A without a past, from this seed and from the next."""
    _, learner = learn(stream, "none", plan, seed)
    _, again = learn(stream, "none", plan, seed + 1)
    return Woken(learner, again)


def night(stream: Stream, method: str, plan: Plan, woken: Woken, seed: int) -> tuple[Night, Run]:
    """One night judged, and the run of its candidate."""
    first = Stream(stream.scenario, stream.contexts[:1], stream.inputs, stream.units)
    unrelated = torch.rand(200, stream.inputs, generator=torch.Generator().manual_seed(seed))
    _, teacher = learn(first, method, plan, seed)
    run, candidate = learn(stream, method, plan, seed)
    return judge(stream, 2, evaluate("T", teacher, first, 1), woken, candidate, unrelated, seed), run


def generated(stream: Stream, seed: int, show: Show, each: int = 10) -> dict[str, Tensor]:
    """Samples (each, D) of BI-R's own generator after every context."""
    found = {}
    for count in range(1, len(stream.contexts) + 1):
        show(f"samples after context {count}", 0, 1, None)
        part = Stream(stream.scenario, stream.contexts[:count], stream.inputs, stream.units)
        _, learner = learn(part, "bi-r", replace(PLAN, iterations=150), seed)
        labels = stream.seen(count).nonzero().flatten()
        asked = labels[torch.arange(each) % len(labels)]
        found[f"after context {count}"] = learner.sample(asked, torch.Generator().manual_seed(seed))  # type: ignore[attr-defined]
    return found


def wrong_verdicts(nights: Mapping[str, Night]) -> Sequence[str]:
    """Modes whose verdict is not one of the right ones."""
    return [name for name, night in nights.items() if night.gated.verdict.name not in MODES[name].right]
