"""Experiment 1 on public text: toxic or not (davidson), then 77 intents (banking77), then 150 (clinc150), all labels told apart; macro F1 after each.

A small transformer reads and writes words. Beside none and joint: a share of everything stored, word pairs, and the network's own texts (LAMOL-like,
nothing stored). Toxic or not is tested on another set as well (surge_toxicity). Then the main gate judges one night, A then B, and nights that
were spoiled on purpose. Texts stay in memory; only scores are shown. Resumable: a finished run is read from the file of rows.

    python benchmarks/lab_text.py --data-dir DATA [--seeds 3] [--iterations 800] [--gate]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dream_engine.files import read_jsonl, write_jsonl
from dream_engine.lab.data import Context, Stream
from dream_engine.lab.demo import wake
from dream_engine.lab.judgement import evaluate, judge
from dream_engine.lab.learners import class_mean_f1
from dream_engine.lab.methods import Plan
from dream_engine.lab.metrics import over_seeds
from dream_engine.lab.replay import Spoiled
from dream_engine.lab.run import Run, learn
from dream_engine.lab.table import by_context, lines
from dream_engine.lab.text import Table, table, word_stream
from dream_engine.types import Interval

Row = tuple[str, str, str]
METHODS = ("none", "joint", "er-1%", "er-5%", "n-gram", "lamol")


def main() -> None:
    """The runs and their table; with --gate the nights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/lab-text-public.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=800)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--gate", action="store_true", help="judge nights of A then B instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = options.data_dir
    tables = [table(n, rows, n) for n, rows in (("toxic", davidson(data)), ("banking77", banking(data)), ("clinc150", clinc(data)))]
    plan = Plan(iterations=options.iterations, batch=64, bf16=True)
    if options.gate:
        nights(tables, plan)
        return
    other = elsewhere(tables, table("surge", surge(data), "surge"))
    stream = word_stream(tables, "class", 4096, 24)
    rows = read_jsonl(options.out) if options.out.is_file() else []
    for seed in range(options.seeds):
        for name in options.methods:
            if any((r["run"]["method"], r["run"]["seed"], r["run"]["iterations"]) == (name, seed, 3 * plan.iterations) for r in rows):
                continue
            run, learner = learn(stream, name, plan, seed, score=class_mean_f1)
            rows.append({"run": asdict(run), "transfer": class_mean_f1(learner, other, stream.tested(1, 3))})
            write_jsonl(options.out, rows)
            print(name, seed, [round(x, 3) for x in run.matrix[-1]], round(rows[-1]["transfer"], 3), flush=True)
    show([r for r in rows if r["run"]["iterations"] == 3 * plan.iterations], [t.name for t in tables])


def show(rows: list[dict[str, Any]], names: list[str]) -> None:
    """The table, each context at the end, and the transfer."""
    runs = [Run(**r["run"]) for r in rows]
    print("\n".join(["macro F1", *lines(runs), "", *by_context(runs, names), "", "toxic or not on surge_toxicity, at the end"]))
    for name in dict.fromkeys(run.method for run in runs):
        found = over_seeds([r["transfer"] for r in rows if r["run"]["method"] == name])
        assert isinstance(found, Interval)
        print(f"{name:22s} {100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]")


def elsewhere(tables: list[Table], surge: Table) -> Context:
    """Another set's texts in the places and labels of the first context."""
    joined = Table(tables[0].name, tables[0].train, surge.train + surge.test)
    return word_stream([joined, *tables[1:]], "class", 4096, 24).contexts[0]


def nights(tables: list[Table], plan: Plan) -> None:
    """T after toxic or not, W after banking77 without a past, C with the network's own texts, intact and spoiled."""
    stream = word_stream(tables[:2], "class", 4096, 24)
    later = word_stream([tables[0], tables[2]], "class", 4096, 24).contexts[1].train
    unsafe = 1  # labels are in alphabetical order: safe, unsafe
    first = Stream(stream.scenario, stream.contexts[:1], stream.inputs, stream.units, stream.words, stream.vocabulary)
    woken = wake(stream, plan, 0)
    modes = {
        "lamol": ("lamol", plan), "no replay": ("none", plan), "every second word replaced": ("lamol", replace(plan, spoiled=Spoiled(noise=0.5))),
        "every word replaced": ("lamol", replace(plan, spoiled=Spoiled(noise=1.0))),
        "no text of the unsafe label": ("lamol", replace(plan, spoiled=Spoiled(without=unsafe))),
        "replay too strong": ("lamol", replace(plan, present=0.0005)),
    }  # fmt: skip
    for name, (method, chosen) in modes.items():
        _, teacher = learn(first, method, chosen, 0)
        _, candidate = learn(stream, method, chosen, 0)
        t = evaluate("T", teacher, first, 1, unsafe)
        night = judge(stream, 2, t, woken, candidate, later.x[:300], 0, unsafe=unsafe)
        verdict = night.gated.verdict
        print(f"{name:30s} {verdict.name:13s} {'; '.join(verdict.reasons)}", flush=True)


def surge(data: Path) -> Iterable[Row]:
    """Labelled Toxic or Not Toxic; all of it is a test."""
    path = next((data / "surge_toxicity").glob("*.csv"))
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(" ".join(r["text"].split()), "unsafe" if r["is_toxic"] == "Toxic" else "safe", "") for r in rows]


def davidson(data: Path) -> Iterable[Row]:
    """Toxic unless its class is 2; the split is drawn by each text's digest."""
    with (data / "davidson" / "labeled_data.csv").open(encoding="utf-8") as file:
        return [(" ".join(r["tweet"].split()), "safe" if r["class"] == "2" else "unsafe", "") for r in csv.DictReader(file)]


def banking(data: Path) -> Iterable[Row]:
    rows: list[Row] = []
    for split in ("train", "test"):
        with (data / "banking77" / f"{split}.csv").open(encoding="utf-8") as file:
            rows += [(" ".join(r["text"].split()), r["category"], split) for r in csv.DictReader(file)]
    return rows


def clinc(data: Path) -> Iterable[Row]:
    raw = json.loads((data / "clinc150" / "data_small.json").read_text(encoding="utf-8"))
    return [(" ".join(text.split()), label, split) for split in ("train", "test") for text, label in raw[split]]


if __name__ == "__main__":
    main()
