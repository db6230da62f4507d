"""The main claim on public wake data: refusals lost by a harmless fine-tune, brought back with the user's gain kept.

Wake: 120 rows of dolly_1k and 180 of gpteacher_roleplay, one epoch, one row a step. One commissioned T is shared; each seed draws its own
wake rows (held-out rows are fixed), wakes, dreams and is judged on the shipped suites. Then T and every W and C are asked public requests
that no pack, grammar or suite holds. Resumable: a finished seed is read from its workspace.

    python benchmarks/replay.py --data-dir DATA [--wake-learning-rate 1e-4] [--seeds 0 1 2] [--workspace runs/replay] [--teacher ADAPTER]

`--teacher` takes an adapter folder as T (the one that `make demo` commissioned, say) instead of commissioning one.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dream_engine.config import Config
from dream_engine.cycle import run_cycle
from dream_engine.govern import approvals, reviewers
from dream_engine.govern.decisions import decide
from dream_engine.govern.keys import LocalSigner
from dream_engine.judge.rules import declines
from dream_engine.judge.stats import wilson
from dream_engine.models.hf import load_model
from dream_engine.progress import PlainLines
from dream_engine.types import Message
from dream_engine.workspace import Workspace

CHARS = 600
ANSWER_CHARS = 400


def main() -> None:
    """Commission once, one cycle a seed, the table, the public sets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, default=Path("runs/replay"))
    parser.add_argument("--wake-learning-rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--development-sets", action="store_true", help="also ask the public sets that served as development data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    overrides = [f"wake.learning_rate={options.wake_learning_rate}", "wake.per_device_train_batch_size=1", *options.overrides]
    teacher = options.workspace / "T"
    first = [f"commission.adapter={options.teacher.absolute()}"] if options.teacher else []
    commissioned(teacher, options.data_dir, [*overrides, *first])
    places = {seed: options.workspace / f"wake-{options.wake_learning_rate:g}-seed-{seed}" for seed in options.seeds}
    rows = [one_seed(seed, teacher, place, options.data_dir, overrides) for seed, place in places.items()]
    report(rows)
    asked = {"never used in tuning": unused_sets(options.data_dir)}
    if options.development_sets:
        asked["served as development data"] = development_sets(options.data_dir)
    public(teacher, places, asked)


def commissioned(root: Path, data: Path, overrides: Iterable[str]) -> None:
    """A workspace with an approved T; made once."""
    workspace = Workspace.open(root)
    if workspace.registry.live is None:
        outcome = run_cycle(config(0, data, root, overrides), workspace, show())
        if outcome.gated.verdict.name != "hold" or outcome.gated.verdict.failing:
            raise SystemExit(f"T does not pass commissioning, so nothing can be compared: {'; '.join(outcome.gated.verdict.reasons)}")
        approve(workspace, outcome.run_id)
    workspace.ledger.close()


def approve(workspace: Workspace, run: str) -> None:
    """With a key marked demo, which stands for nobody."""
    signer = LocalSigner("demo", Ed25519PrivateKey.generate())
    reviewers.add(workspace.ledger, signer.public, human=False)
    stake = approvals.at_stake(approvals.held_cycle(workspace.ledger, run), "approve")
    signed = decide(workspace.ledger, signer, stake, "benchmark")
    approvals.approve(workspace.ledger, workspace.registry, signed)


def one_seed(seed: int, teacher: Path, place: Path, data: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """One wake, dream and judgement in a copy of the commissioned workspace; gives its gate.json."""
    if not place.exists():
        shutil.copytree(teacher, place)
    workspace = Workspace.open(place)
    ended = [e for e in workspace.ledger.entries() if "table" in e.body and not e.body["commissioning"]]
    run = ended[-1].body["run"] if ended else run_cycle(config(seed, data, place, overrides), workspace, show()).run_id
    (teacher / "evals").mkdir(exist_ok=True)
    for path in (place / "evals").glob("*.jsonl"):
        if not (teacher / "evals" / path.name).exists():
            shutil.copy(path, teacher / "evals" / path.name)
    found: dict[str, Any] = json.loads((workspace.run_folder(run) / "gate.json").read_text()) | {"seed": seed}
    return found


def config(seed: int, data: Path, folder: Path, overrides: Iterable[str]) -> Config:
    """The defaults with this seed's wake rows, written beside the workspace."""
    from dream_engine.config import load_config

    train, heldout = wake_rows(data, seed)
    for name, rows in (("train", train), ("heldout", heldout)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [f"wake.data={folder.absolute() / 'train.jsonl'}", f"wake.heldout={folder.absolute() / 'heldout.jsonl'}"]
    return load_config(None, [f"seed={seed}", *files, *overrides])


def wake_rows(data: Path, seed: int) -> tuple[list[Any], list[Any]]:
    """120 + 180 training rows drawn by the seed, 50 + 60 fixed held-out rows."""
    dolly, roles = sources(data)
    rng = random.Random(seed)
    train = rng.sample(dolly[50:], 120) + rng.sample(roles[60:], 180)
    rng.shuffle(train)
    return train, dolly[:50] + roles[:60]


def sources(data: Path) -> tuple[list[Any], list[Any]]:
    """All rows of dolly_1k and of gpteacher_roleplay in a fixed order; long texts are cut."""
    with (data / "dolly_1k" / "databricks_dolly_1k.csv").open(encoding="utf-8") as file:
        dolly = [
            chat(f"dolly-{i}", f"{r['context'][:CHARS]}\n\n{r['instruction']}".strip(), r["response"]) for i, r in enumerate(csv.DictReader(file))
        ]
    raw = json.loads((data / "gpteacher_roleplay" / "roleplay-simple-deduped-roleplay-dataset.json").read_text())
    roles = [chat(f"role-{i}", f"{r['instruction']}\n{r['input']}".strip()[:CHARS], r["output"]) for i, r in enumerate(raw)]
    fixed = random.Random(99)
    fixed.shuffle(dolly)
    fixed.shuffle(roles)
    return dolly, roles


def chat(id: str, question: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer[:ANSWER_CHARS]}]
    return {"id": id, "messages": turns}


def report(rows: list[dict[str, Any]]) -> None:
    """One line a seed: the claim's numbers with their intervals, and the verdict."""
    for row in rows:
        models = row["table"]["models"]
        lost = row["table"]["gain_lost"]
        kept = "not measured" if lost["value"] is None else f"{1 - lost['value']:.2f} [{1 - lost['high']:.2f}, {1 - lost['low']:.2f}]"
        t, c = (models[name]["harmful_refused"]["value"] for name in "TC")
        print(f"\nseed {row['seed']}: {row['verdict']} {', '.join(row['failing'] + row['undecided'])}")
        for metric in ("harmful_refused", "over_refusal", "contrast_balanced_accuracy", "plain_refused"):
            print(f"  {metric:28s}" + "".join(f"{name} {interval(models[name][metric])}   " for name in "TWC"))
        print(f"  of T's refusals {c / t:.2f}   gain kept {kept}   Peace² {row['stability_ratio']:.2f}")


def interval(measured: Mapping[str, float]) -> str:
    return f"{measured['value']:.3f} [{measured['low']:.3f}, {measured['high']:.3f}]"


def public(teacher: Path, places: Mapping[int, Path], asked: Mapping[str, Mapping[str, list[str]]]) -> None:
    """The base, T and every W and C on public requests, short greedy answers, the rule judge's refusals."""
    model = load_model("smollm2-135m")
    registry = Workspace.open(teacher).registry
    folders: dict[str, Path | None] = {"base": None, "T": registry.verified(str(registry.live))}
    folders |= {f"{name}{seed}": last_run(place) / f"adapter-{name}" for seed, place in places.items() for name in ("W", "C")}
    for title, sets in asked.items():
        print(f"\nshare refused, {title}:   " + "   ".join(f"{name} (n={len(texts)})" for name, texts in sets.items()))
        for name, folder in folders.items():
            if folder:
                model.load_adapter("X", folder)
            with model.using("X" if folder else None):
                cells = [refused_share([g.text for g in model.generate([[Message("user", t)] for t in texts], 24)]) for texts in sets.values()]
            print(f"{name:4s} " + "   ".join(cells), flush=True)


def last_run(workspace: Path) -> Path:
    return max((workspace / "runs").iterdir())


def unused_sets(data: Path) -> dict[str, list[str]]:
    """Requests that nobody looked at while recipes, packs and settings were chosen: a harmful set, and of three plain ones the rows that were
    not drawn for development."""
    with (data / "advbench" / "advbench.csv").open(encoding="utf-8") as file:
        harmful = [row["goal"] for row in csv.DictReader(file)]
    dolly, roles = ([row["messages"][0]["content"] for row in rows] for rows in sources(data))
    return {
        "AdvBench": sample(harmful),
        "role play": others(roles),
        "dolly closed questions": others(dolly),
        "self-instruct user tasks": others(self_instruct(data, "user_oriented_instructions")),
    }


def others(texts: list[str], count: int = 300) -> list[str]:
    """Up to `count` of the texts that `sample` did not draw."""
    drawn = set(sample(texts))
    left = [text for text in dict.fromkeys(texts) if text not in drawn]
    return random.Random(8).sample(left, min(count, len(left)))


def self_instruct(data: Path, name: str) -> list[str]:
    """Instructions with their first input, of one of the set's two files."""
    lines = (data / "self_instruct" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [f"{r['instruction']}\n{r['instances'][0]['input']}".strip()[:CHARS] for r in map(json.loads, lines)]


def sample(texts: list[str]) -> list[str]:
    return random.Random(7).sample(texts, min(150, len(texts)))


def development_sets(data: Path) -> dict[str, list[str]]:
    """Sets that were looked at while recipes were chosen: four harmful ones; look-alikes (dolly rows that trip keyword filters); seven plain ones."""
    with (data / "harmbench" / "adv_training_behaviors.csv").open(encoding="utf-8") as file:
        adversarial = [r["Behavior"] for r in csv.DictReader(file)]
    curated = [
        r["instruction"] for r in json.loads((data / "safety_tuned_llamas" / "safety_only_data_Instructions.json").read_text()) if not r["input"]
    ]
    with (data / "banking77" / "test.csv").open(encoding="utf-8") as file:
        bank = [r["text"] for r in csv.DictReader(file)]
    with (data / "harmbench" / "tdc2023_test_phase_behaviors.csv").open(encoding="utf-8") as file:
        tdc = [r["Behavior"] for r in csv.DictReader(file)]
    lines = (data / "finetuning_safety" / "databricks-dolly-15k-safety-only.jsonl").read_text().splitlines()
    look = [r["instruction"] for r in map(json.loads, lines) if not r["context"]]
    plain = [json.loads(line)["turns"][0] for line in (data / "mt_bench" / "question.jsonl").read_text().splitlines()]
    sums = [json.loads(line)["question"] for line in (data / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    dolly, roles = ([row["messages"][0]["content"] for row in rows] for rows in sources(data))
    return {
        "HarmBench val": harmbench(data), "TDC": tdc, "HarmBench adversarial training": sample(adversarial), "safety-tuned-llamas": sample(curated),
        "keyword-tripping harmless": look[:150], "MT-Bench": [p[:CHARS] for p in plain], 
        "self-instruct user tasks": sample(self_instruct(data, "user_oriented_instructions")),
        "banking77": sample(bank), "self-instruct seed tasks": sample(self_instruct(data, "seed_tasks")), "gsm8k": sample(sums),
        "dolly closed questions": sample(dolly), "role play": sample(roles),
    }  # fmt: skip


def harmbench(data: Path) -> list[str]:
    """HarmBench's plain validation requests: no context, no copyright."""
    with (data / "harmbench" / "harmbench_behaviors_text_val.csv").open(encoding="utf-8") as file:
        return [r["Behavior"] for r in csv.DictReader(file) if r["FunctionalCategory"] == "standard"]


def refused_share(answers: list[str]) -> str:
    interval = wilson(sum(map(declines, answers)), len(answers))
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def show() -> PlainLines:
    return PlainLines(lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
