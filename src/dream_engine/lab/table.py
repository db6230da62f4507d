"""Several methods and seeds on one stream: runs that are kept as small rows, resumed, and shown as a table.

Knows nothing about how a method works. `none` and `joint` are always among them: the bounds without which no number means anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dream_engine.errors import InputError
from dream_engine.files import read_jsonl, write_jsonl
from dream_engine.lab import metrics
from dream_engine.lab.data import Stream
from dream_engine.lab.learners import accuracy
from dream_engine.lab.methods import Plan, method
from dream_engine.lab.published import compared
from dream_engine.lab.run import Run, Score, learn
from dream_engine.progress import Show, staged
from dream_engine.types import Measured, Missing, digest

BOUNDS = ("none", "joint")


def run_all(
    streams: Callable[[int], Stream], names: Sequence[str], seeds: Sequence[int], plan: Plan, rows: Path, source: str, show: Show,
    score: Score = accuracy, version: str = "",
) -> list[Run]:  # fmt: skip
    """Every method on every seed; what `rows` already holds for this plan and data is not run again.

    `streams` gives each seed its contexts; all have one scenario and number of contexts. `source` names the data as it is shown
    ("split mnist"); `version` is whatever tells other data of that name apart.

    Raises:
        InputError: a method is not known, or `rows` holds something else.
    """
    wanted = list(dict.fromkeys([*BOUNDS, *names]))
    for name in wanted:
        method(name)
    first = streams(seeds[0])
    setting = digest([asdict(plan), first.scenario, len(first.contexts), source, version, score.__name__])[:16]
    kept = _read(rows)
    for seed in seeds:
        stream = first if seed == seeds[0] else streams(seed)
        for name in wanted:
            if any((r["setting"], r["run"]["method"], r["run"]["seed"]) == (setting, name, seed) for r in kept):
                continue
            with staged(show, f"{name}, seed {seed}") as report:
                run, _ = learn(stream, name, plan, seed, report, score)
            kept.append({"setting": setting, "source": source, "contexts": len(first.contexts), "plan": asdict(plan), "run": asdict(run)})
            write_jsonl(rows, kept)
    mine = [Run(**r["run"]) for r in kept if r["setting"] == setting]
    return [run for run in mine if run.method in wanted and run.seed in seeds]


def comparisons(files: Sequence[Path]) -> Iterator[str]:
    """Every setting in files of runs, with the published figures beside it.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    kept = [row for path in files for row in _known(path)]
    for setting in dict.fromkeys(r["setting"] for r in kept):
        mine = [r for r in kept if r["setting"] == setting]
        plan, runs = mine[0]["plan"], [Run(**r["run"]) for r in mine]
        how = f"{plan['iterations']} steps a context, batch {plan['batch']}, {plan['hidden']} units, {'bf16' if plan['bf16'] else 'fp32'}"
        yield f"{mine[0]['source']}, {runs[0].scenario} incremental, {mine[0]['contexts']} contexts: {how}"
        yield from compared(mine[0]["source"], runs)
        yield ""


def _known(rows: Path) -> list[dict[str, Any]]:
    found = _read(rows)
    if not found:
        raise InputError(f"{rows} holds no runs; 'dream lab run --rows {rows}' writes some")
    return found


def _read(rows: Path) -> list[dict[str, Any]]:
    if not rows.is_file():
        return []
    try:
        found = read_jsonl(rows)
        if all(isinstance(r, dict) and {"setting", "source", "contexts", "plan", "run"} <= r.keys() for r in found):
            return found
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{rows} is not a file of lab runs: {error}; name another with --rows") from error
    raise InputError(f"{rows} is not a file of lab runs; name another with --rows")


def lines(runs: Sequence[Run]) -> Iterator[str]:
    """A heading and one line a method: mean and 95 % interval over seeds, Kim's measures beside it, retention of the first context, cost."""
    yield f"{'method':22s} {'average accuracy':26s} {'initial':9s} {'forgetting':11s} {'first kept':11s} {'overlap':8s} CPU s"
    for name in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == name]
        accuracy = metrics.over_seeds([metrics.average_accuracy(r.matrix) for r in mine])
        cost = sum(r.cpu_seconds for r in mine) / len(mine)
        initial, forgotten, kept = (_mean([of(r.matrix) for r in mine]) for of in (metrics.initial_accuracy, metrics.forgetting, metrics.retention))
        blurred = [r.overlap for r in mine if r.overlap is not None]
        alike = f"{sum(blurred) / len(blurred):.2f}" if blurred else "–"
        yield f"{name:22s} {_shown(accuracy):26s} {initial:9s} {forgotten:11s} {kept:11s} {alike:8s} {cost:.0f}"


def by_context(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    """One line a method: the score on each context at the end, mean over seeds with its 95 % interval."""
    yield f"{'at the end, on':22s} " + "  ".join(f"{name:28s}" for name in names)
    for method_name in dict.fromkeys(run.method for run in runs):
        ends = [run.matrix[-1] for run in runs if run.method == method_name]
        cells = [_shown(metrics.over_seeds([end[i] for end in ends])) for i in range(len(names))]
        yield f"{method_name:22s} " + "  ".join(f"{cell:28s}" for cell in cells)


def _mean(values: Sequence[float | Missing]) -> str:
    numbers = [v for v in values if not isinstance(v, Missing)]
    return f"{100 * sum(numbers) / len(numbers):.1f} %" if numbers else "–"


def _shown(measured: Measured) -> str:
    if isinstance(measured, Missing):
        return "–"
    if measured.n == 1:
        return f"{100 * measured.value:.1f} % (one seed)"
    return f"{100 * measured.value:.1f} % [{100 * measured.low:.1f}, {100 * measured.high:.1f}] n={measured.n}"
