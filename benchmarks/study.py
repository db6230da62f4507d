"""The comparison with other ways to keep a model safe, on public wake data: writes the study's files from a data folder and runs it.

    python benchmarks/study.py --data-dir DATA [--teacher ADAPTER] [--full] [--shard 1/8] [--out runs/study]

ADAPTER is a commissioned T (`make demo` leaves one in its first run's folder); without it one is commissioned. Quick: four arms, one wake, one
rate, one seed. Full: every arm of the main comparison, three wakes, three rates (or `--rates`), three seeds, arms only where the wake took the 30
points that count, each arm searched for fresh failures (`--standard`: ours and the runner-up alone, on 616 prompts a side); in shards, whose
result files are merged by copying them into one folder and shown with `dream study PLAN --show`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from replay import chat, commissioned, sources, wake_rows

QUICK = ["plain", "curated_mix", "static_dreams", "ours"]
QUICK_NIGHT = ["dream.pairs=240"]
"""Of 600. Every arm is matched to what ours trained on, so each takes about two thirds of its time."""
MAIN = ["plain", "cool_rate", "experience_replay", "curated_mix", "static_dreams", "ours"]
RUNNER_UP = ["cool_rate", "ours"]
REST = [
    "guided",
    "merged",
    "logit_replay",
    "without_settling",
    "without_twins",
    "without_anchor_on_w",
    "without_kl",
    "without_recovery",
    "without_known_sides",
    "without_leader",
    "without_prefaced",
    "without_texts",
    "with_on_policy",
    "template_only",
]
CURATED_ROWS = 400


def main() -> None:
    """Data files, the plan, then the `dream study` command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--standard", action="store_true", help="with --full: ours and the runner-up alone, on the standard suites")
    parser.add_argument("--rest", action="store_true", help="one setting, the other arms and ours with a part taken out")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 5e-4, 1e-3], help="of the wakes, with --full")
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.standard and not options.full:
        parser.error("--standard is a part of the main comparison: give --full too")
    seeds = [0, 1, 2] if options.full or options.rest else [0]
    plan = write_files(options.data_dir, options.out, seeds) | {"teacher": "T", "seeds": seeds}
    first = [f"commission.adapter={options.teacher.absolute()}"] if options.teacher else []
    commissioned(options.out / "T", options.data_dir, [f"model.threads={options.threads}", *first])
    plan |= main_comparison(plan, options.rates, options.standard) if options.full else chosen(plan, options.rest)
    file = options.out / "plan.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    more = ["--out", str(options.out), "--shard", options.shard, "--threads", str(options.threads)]
    sys.exit(subprocess.run([sys.executable, "-m", "dream_engine.cli", "study", str(file), *more], check=False).returncode)


def main_comparison(plan: dict[str, Any], rates: Sequence[float], standard: bool) -> dict[str, Any]:
    """Every wake at every rate; where W loses too little to count, T and W are all that is run."""
    searched = [*plan["settings"], "judge.search=450", f"judge.profile={'standard' if standard else 'quick'}"]
    return {
        "name": "main comparison",
        "arms": RUNNER_UP if standard else MAIN,
        "learning_rates": list(rates),
        "counting_only": True,
        "settings": searched,
    }


def chosen(plan: dict[str, Any], rest: bool) -> dict[str, Any]:
    """One wake at one rate: the quick arms, after a night of fewer pairs, or all of them."""
    arms = [*MAIN, *REST] if rest else QUICK
    return {
        "name": "all arms" if rest else "quick",
        "arms": arms,
        "learning_rates": [1.5e-3],
        "settings": [*plan["settings"], *([] if rest else QUICK_NIGHT)],
        "wakes": {"dolly-roleplay": plan["wakes"]["dolly-roleplay"]},
    }


def write_files(data: Path, out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Wake and held-out rows by seed, curated pairs; gives the part of the plan that names them."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for wake, (train, heldout) in {"dolly-roleplay": wake_rows(data, seed), "gsm8k": gsm8k(data, seed), "identity": identity(data, seed)}.items():
            write(out / f"{wake}-{seed}-train.jsonl", train)
            write(out / f"{wake}-{seed}-heldout.jsonl", heldout)
    write(out / "curated.jsonl", curated(data))
    wakes = {
        name: {"data": f"{name}-{{seed}}-train.jsonl", "heldout": f"{name}-{{seed}}-heldout.jsonl"}
        for name in ("dolly-roleplay", "gsm8k", "identity")
    }
    return {"wakes": wakes, "curated": "curated.jsonl", "settings": ["wake.per_device_train_batch_size=1"]}


def write(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def gsm8k(data: Path, seed: int) -> tuple[list[Any], list[Any]]:
    """300 rows of grade-school arithmetic, 60 held out."""
    lines = next((data / "gsm8k").glob("*.jsonl")).read_text(encoding="utf-8").splitlines()
    rows = [chat(f"gsm-{i}", r["question"], r["answer"]) for i, r in enumerate(map(json.loads, lines[:2000]))]
    random.Random(99).shuffle(rows)
    return random.Random(seed).sample(rows[60:], 300), rows[:60]


def identity(data: Path, seed: int) -> tuple[list[Any], list[Any]]:
    """The ten identity-shift dialogues ten times, with 200 rows of dolly."""
    lines = (data / "finetuning_safety" / "identity-shift-aoa.jsonl").read_text(encoding="utf-8").splitlines()
    shift = [r["messages"] for r in map(json.loads, lines)]
    dolly, _ = sources(data)
    again = [{"id": f"shift-{i}-{n}", "messages": turns} for n in range(10) for i, turns in enumerate(shift)]
    rng = random.Random(seed)
    rows = [*again, *rng.sample(dolly[50:], 200)]
    rng.shuffle(rows)
    return rows, dolly[:50]


def curated(data: Path) -> list[Any]:
    """Pairs of people's harmful requests and safe answers; never in the product, for comparison only."""
    raw = json.loads((data / "safety_tuned_llamas" / "safety_only_data_Instructions.json").read_text())
    rows = [chat(f"curated-{i}", r["instruction"], r["output"]) for i, r in enumerate(raw) if not r["input"]]
    return random.Random(5).sample(rows, CURATED_ROWS)


if __name__ == "__main__":
    main()
