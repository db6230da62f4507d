"""P21 on the real model: is the gate honest about nights in which nothing changed, and about nights that lost a known amount?

Repeats: whole nights from one sealed T that nothing wore away (W is T), which differ only in their seed; each leaves a small file of outcomes, no
answers. Then the gate on neighbours in a ring (one as T, the next as C), 400 simulated comparisons, and 400 each in which C refuses less of the
harmful prompts. Resumable, and in shards: `--first 10 --repeats 10` makes the repeats 10 to 19, and the tables are of all that lie in `--out`.

    python benchmarks/honesty.py --workspace demo-workspace [--first 0] [--repeats 20] [--profile standard] [--threads 2] [--set dream.pairs=200]
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from dream_engine.config import Config, load_config
from dream_engine.cycle.dreaming import nightly_dreams
from dream_engine.cycle.judging import behind_plain
from dream_engine.cycle.opening import open_night
from dream_engine.cycle.rehearsal import rehearse
from dream_engine.errors import InputError
from dream_engine.judge.budgets import PROFILES, Budgets
from dream_engine.judge.gate import Gated
from dream_engine.judge.honesty import Alarm, alarm, compared, simulated
from dream_engine.judge.measure import ModelReport, load_measured, save_measured
from dream_engine.policy.pack import load_pack
from dream_engine.progress import PlainLines
from dream_engine.workspace import Workspace

HARBOUR = Path(__file__).parents[1] / "examples" / "harbour" / "dream.yaml"
SIMULATED = 400
EXTRA = (-0.03, -0.01, 0.0, 0.01, 0.03, 0.05)
"""Injected losses short of the margin and beyond it, shares."""


def main() -> None:
    """Repeats that are missing, then the verdicts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, default=Path("demo-workspace"))
    parser.add_argument("--out", type=Path, default=Path("runs/honesty"))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = settings(options.profile, 0, options.overrides)
    wanted = range(options.first, options.first + options.repeats)
    for seed in wanted:
        if not (options.out / f"repeat-{seed}.jsonl").is_file():
            repeat(options.workspace, options.out, seed, settings(options.profile, seed, options.overrides))
    judged(options.out, PROFILES[config.judge.profile], load_pack(config.policy.pack).critical)


def settings(profile: str, seed: int, overrides: Sequence[str]) -> Config:
    """The demo's, without its wake's rows: nothing new is learned."""
    return load_config(HARBOUR, [f"judge.profile={profile}", f"seed={seed}", "dream.wake_rows=0", "judge.store_answers=false", *overrides])


def repeat(workspace: Path, out: Path, seed: int, config: Config) -> None:
    """One night whose W is T, measured. T is measured once, for all of them."""
    place = out / f"workspace-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(workspace, place, ignore=shutil.ignore_patterns("runs", "lock"))
    night = open_night(config, Workspace.open(place), PlainLines(lambda line: print(line, flush=True)))
    if night.commissioning:
        raise InputError(f"{workspace} holds no sealed model; approve its first cycle")
    night.model.copy_adapter("T", "W")
    teacher = night.report("T")
    shutil.copytree(place / "evals", workspace / "evals", dirs_exist_ok=True)
    save_measured(teacher, night.folder / "eval" / "W.jsonl", False)
    rehearse(night, "W", nightly_dreams(night, "W"))
    report = night.measured("C", "C", teacher.probe, lengths=False)
    behind = behind_plain(night, "C")
    if behind:
        save_measured(ModelReport(behind[1], {}), out / f"behind-{seed}.jsonl", False)
    save_measured(report, out / f"repeat-{seed}.jsonl", False)
    shutil.rmtree(place)


def judged(out: Path, limits: Budgets, critical: frozenset[str]) -> None:
    """The tables."""
    numbers = sorted(int(path.stem.split("-")[1]) for path in out.glob("repeat-*.jsonl"))
    repeats = [load_measured(out / f"repeat-{n}.jsonl").evaluation for n in numbers]
    behind = [load_measured(out / f"behind-{n}.jsonl").evaluation for n in numbers if (out / f"behind-{n}.jsonl").is_file()]
    asked = [(behind[i - 1], behind[i]) for i in range(len(numbers))] if len(behind) == len(numbers) else [None] * len(numbers)
    real = [compared(repeats[i - 1], repeats[i], limits, critical, n, asked[i]) for i, n in enumerate(numbers)]
    print(f"{len(real)} real pairs: {shown(alarm(real))}; not passed: {reasons(real)}")
    same = simulated(repeats, limits, critical, SIMULATED, 0)
    print(f"{SIMULATED} simulated, nothing changed: {shown(alarm(same))}; not passed: {reasons(same)}")
    for extra in EXTRA:
        less = simulated(repeats, limits, critical, SIMULATED, 1, limits.harmful_refused + extra)
        caught = 1 - alarm(less).sealed.value
        print(f"{SIMULATED} simulated, margin {100 * extra:+.0f} points lost: not sealed {100 * caught:.1f} %; {shown(alarm(less))}")


def shown(found: Alarm) -> str:
    return ", ".join(
        f"{name} {100 * x.value:.1f} % [{100 * x.low:.1f}, {100 * x.high:.1f}]" for name, x in (("seal", found.sealed), ("alarm", found.alarmed))
    )


def reasons(found: Sequence[Gated]) -> str:
    """Which tests kept comparisons from being sealed, and how often."""
    counted = Counter(name for g in found for name in (*g.verdict.failing, *g.verdict.undecided))
    return ", ".join(f"{name} {n}" for name, n in counted.most_common()) or "none"


if __name__ == "__main__":
    main()
