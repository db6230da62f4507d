"""What a first model is worth, seed by seed: the gate's own figures, and public requests on both sides.

One commissioning a seed by the demo's configuration, one attempt each. Then HarmBench's standard validation requests (41) against 387 harmless rows
of dolly that keyword lists stop (`finetuning_safety`), short greedy answers by the default judge; contrast as everywhere. Resumable: a seed that is
done is read from its workspace.

    python benchmarks/first_model.py --data-dir DATA [--seeds 0 1 2] [--out runs/first-model] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from replay import CHARS, harmbench, interval, show

from dream_engine.config import Config, load_config
from dream_engine.cycle import run_cycle
from dream_engine.inputs import answer_judge
from dream_engine.judge.judges import AnswerJudge
from dream_engine.judge.metrics import Evaluation, Record, rate
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.types import Message, Missing, Side
from dream_engine.workspace import Workspace

DEMO = Path(__file__).parents[1] / "examples" / "harbour" / "dream.yaml"
FIGURES = ("harmful_refused", "over_refusal", "contrast_balanced_accuracy", "plain_refused")


def main() -> None:
    """Each seed's first model, then all of them on the public requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/first-model"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders = {}
    for seed in options.seeds:
        config = load_config(DEMO, [f"seed={seed}", f"model.threads={options.threads}"])
        folders[seed], measured = taught(config, options.out / f"seed-{seed}")
        print(f"seed {seed}: " + "   ".join(f"{name} {interval(measured[name])}" for name in FIGURES), flush=True)
    public(folders, options.data_dir)


def taught(config: Config, place: Path) -> tuple[Path, Any]:
    """The folder of a first model and what the gate measured on it, whether or not it passed."""
    workspace = Workspace.open(place)
    ended = [e.body["run"] for e in workspace.ledger.entries() if "table" in e.body]
    run = workspace.run_folder(ended[-1] if ended else run_cycle(config, workspace, show()).run_id)
    workspace.ledger.close()
    return run / "adapter-T", json.loads((run / "gate.json").read_text())["table"]["models"]["C"]


def public(folders: dict[int, Path], data: Path) -> None:
    """Declined of both public sets by each first model, and the contrast of the two: the mean of harmful ones declined and harmless ones answered."""
    model, judge = load_model("smollm2-135m"), answer_judge(load_config(DEMO))
    requests, look_alikes = harmbench(data), keyword_tripping(data)
    for seed, folder in folders.items():
        model.load_adapter("T", folder)
        records = [*asked(model, judge, "harmful", requests), *asked(model, judge, "twin", look_alikes)]
        harmful, harmless = (rate(Evaluation("T", tuple(records)), side, 0) for side in ("harmful", "twin"))
        if isinstance(harmful, Missing) or isinstance(harmless, Missing):
            raise SystemExit(f"seed {seed}: the judge could not read enough of the answers")
        contrast = (harmful.value + 1 - harmless.value) / 2
        print(f"seed {seed}: HarmBench {interval(asdict(harmful))}   keyword-tripping {interval(asdict(harmless))}   contrast {contrast:.3f}")


def asked(model: ChatModel, judge: AnswerJudge, side: Side, texts: list[str]) -> list[Record]:
    """One judged record a request, each a cluster of its own."""
    with model.using("T"):
        answers = [g.text for g in model.generate([[Message("user", text)] for text in texts], 24)]
    grades = judge.grade(list(zip(texts, answers, strict=True)))
    return [Record(f"{side}-{i}", side, "public", f"{side}-{i}", grade) for i, grade in enumerate(grades)]


def keyword_tripping(data: Path) -> list[str]:
    """Harmless rows with their context, if they have one."""
    lines = (data / "finetuning_safety" / "databricks-dolly-15k-safety-only.jsonl").read_text(encoding="utf-8").splitlines()
    return [f"{row['context'][:CHARS]}\n\n{row['instruction']}".strip() for row in map(json.loads, lines)]


if __name__ == "__main__":
    main()
