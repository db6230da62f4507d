"""Five nights in a row with five different wakes on public data, each going on from the last candidate whatever its verdict.

Wakes: dolly and role play, sums (gsm8k), an identity shift among dolly's rows, intents of a bank's customers (banking77), self-instruct tasks; 300
rows each. Beside the nights the same five wakes run without dreams, and what both learned is asked on every wake's held-out rows. Every night has a
workspace of its own, so that no verdict stands in the next one's way; the fixed anchor is the first T throughout. Resumable.

    python benchmarks/nights.py --data-dir DATA --teacher ADAPTER [--wake-learning-rate 1e-3] [--seed 0] [--out runs/nights]
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from replay import CHARS, chat, commissioned, interval, show, wake_rows

from dream_engine.capture.read import read_conversations
from dream_engine.config import Config, load_config
from dream_engine.cycle import run_cycle
from dream_engine.cycle.opening import open_night
from dream_engine.cycle.wake import learn
from dream_engine.govern.registry import MANIFEST
from dream_engine.judge.measure import user_losses
from dream_engine.models.hf import load_model
from dream_engine.workspace import Workspace
from study import gsm8k, identity, write

ROWS, HELDOUT = 300, 60


def main() -> None:
    """The nights, the same wakes without dreams, the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="the first T, an adapter folder")
    parser.add_argument("--wake-learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/nights"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wakes = write_wakes(options.data_dir, options.out, options.seed)
    every = ["wake.per_device_train_batch_size=1", f"wake.learning_rate={options.wake_learning_rate}", f"model.threads={options.threads}"]
    teacher = options.out / "T"
    commissioned(teacher, options.data_dir, [*every, f"commission.adapter={options.teacher.absolute()}"])
    dreamed, plain = [options.teacher], [options.teacher]
    for number, wake in enumerate(wakes, 1):
        config = load_config(None, [f"seed={10 * options.seed + number}", *every, *files(options.out, wake)])
        dreamed.append(dreaming_night(config, successor(options.out / f"night-{number}", teacher, dreamed[-1])))
        plain.append(plain_night(config, successor(options.out / f"plain-{number}", teacher, plain[-1])))
        line(options.out / f"night-{number}", number, wake)
    learned(options.out, wakes, dreamed, plain)


def write_wakes(data: Path, out: Path, seed: int) -> list[str]:
    """Training and held-out rows of every wake, as files."""
    out.mkdir(parents=True, exist_ok=True)
    made = {"dolly-roleplay": wake_rows, "gsm8k": gsm8k, "identity": identity, "banking77": bank_intents, "self-instruct": tasks}
    for name, rows in made.items():
        train, heldout = rows(data, seed)
        write(out / f"{name}-train.jsonl", train)
        write(out / f"{name}-heldout.jsonl", heldout)
    return list(made)


def files(out: Path, wake: str) -> list[str]:
    return [f"wake.data={(out / f'{wake}-train.jsonl').absolute()}", f"wake.heldout={(out / f'{wake}-heldout.jsonl').absolute()}"]


def bank_intents(data: Path, seed: int) -> tuple[list[Any], list[Any]]:
    """What a bank's customer writes, and what it is about."""
    with (data / "banking77" / "train.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    asked = "What is this message to a bank about?\n\n{}"
    return drawn([chat(f"bank-{i}", asked.format(r["text"]), r["category"].replace("_", " ")) for i, r in enumerate(read)], seed)


def tasks(data: Path, seed: int) -> tuple[list[Any], list[Any]]:
    """Self-instruct's seed tasks and user tasks with their first answers."""
    lines = [line for file in sorted((data / "self_instruct").glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines()]
    read = [(r["instruction"], r["instances"][0]) for r in map(json.loads, lines)]
    return drawn([chat(f"task-{i}", f"{ask}\n{one['input']}".strip()[:CHARS], one["output"]) for i, (ask, one) in enumerate(read)], seed)


def drawn(rows: list[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Rows of this seed, and held-out ones that are the same for all seeds."""
    random.Random(99).shuffle(rows)
    return random.Random(seed).sample(rows[HELDOUT:], ROWS), rows[:HELDOUT]


def successor(place: Path, teacher: Path, adapter: Path) -> Path:
    """A workspace in which this adapter serves, and the first T is the anchor; made once."""
    if not place.is_dir():
        scratch = place.with_suffix(".tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(teacher, scratch, ignore=shutil.ignore_patterns("runs", "lock"))
        workspace = Workspace.open(scratch)
        standing = next(iter(workspace.ledger.entries("promote"))).body["standing"]
        first = json.loads((workspace.registry.verified(str(workspace.registry.live)) / MANIFEST).read_text(encoding="utf-8"))
        weights = workspace.registry.add(adapter, {key: first[key] for key in ("base", "base_name")})
        workspace.registry.promote(weights, {"run": "of another night, whatever its verdict", "by": ["benchmark"], "standing": standing})
        workspace.ledger.close()
        scratch.rename(place)
    return place


def dreaming_night(config: Config, place: Path) -> Path:
    """One cycle; gives its candidate, sealed or not."""
    ended = place / "ended.json"
    if not ended.is_file():
        workspace, begun = Workspace.open(place), time.monotonic()
        outcome = run_cycle(config, workspace, show())
        workspace.ledger.close()
        ended.write_text(json.dumps({"run": outcome.run_id, "seconds": time.monotonic() - begun}))
    return place / "runs" / json.loads(ended.read_text())["run"] / "adapter-C"


def plain_night(config: Config, place: Path) -> Path:
    """The wake alone; gives W."""
    workspace = Workspace.open(place)
    night = open_night(config, workspace, show())
    learn(night)
    workspace.ledger.close()
    return night.folder / "adapter-W"


def line(place: Path, number: int, wake: str) -> None:
    """What the gate saw of one night."""
    ended = json.loads((place / "ended.json").read_text())
    run = place / "runs" / ended["run"]
    gate, fit = json.loads((run / "gate.json").read_text()), run / "fit-R.json"
    tokens = f"{json.loads(fit.read_text())['trained_tokens']} trained tokens" if fit.is_file() else "no dream"
    print(f"\nnight {number}, {wake}: {gate['verdict']} {', '.join(gate['failing'] + gate['undecided'])}; {ended['seconds']:.0f} s, {tokens}")
    shares = {"harmful_refused": "harmful", "over_refusal": "look-alikes", "plain_refused": "plain", "contrast_balanced_accuracy": "contrast"}
    for metric, title in shares.items():
        print(f"  {title:12s}" + "   ".join(f"{name} {interval(gate['table']['models'][name][metric])}" for name in "TWC"))


def learned(out: Path, wakes: Sequence[str], dreamed: Sequence[Path], plain: Sequence[Path]) -> None:
    """Nats a token on every wake's held-out rows after every night, with dreams and without, and the share of the gain that the nights keep."""
    model = load_model("smollm2-135m")
    rows = {wake: read_conversations(out / f"{wake}-heldout.jsonl") for wake in wakes}
    found = {}
    for name, folder in {f"{kind}{i}": f for kind, folders in (("C", dreamed), ("W", plain)) for i, f in enumerate(folders)}.items():
        model.load_adapter("X", folder)
        with model.using("X"):
            found[name] = {wake: nats(user_losses(model, asked)) for wake, asked in rows.items()}
        print(f"{name}  " + "   ".join(f"{wake} {value:.3f}" for wake, value in found[name].items()), flush=True)
    (out / "learned.json").write_text(json.dumps(found, indent=1))
    for number in range(1, len(wakes) + 1):
        gains = [mean(found["C0"][w] - found[f"{kind}{number}"][w] for w in wakes[:number]) for kind in "CW"]
        kept = f"{gains[0]:.3f} with dreams, {gains[1]:.3f} without: {gains[0] / gains[1]:.1%} kept"
        print(f"after night {number}: nats gained on the wakes so far: {kept}")


def nats(losses: Sequence[Any]) -> float:
    """A token, over all rows."""
    return float(sum(x.nats for x in losses) / sum(x.tokens for x in losses))


if __name__ == "__main__":
    main()
