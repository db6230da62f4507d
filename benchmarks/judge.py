"""What the judge is worth and what it costs, on the models of a finished workspace (such as the demo's).

Probe against judged answers for T, W and C: AUROC, ECE, Brier, reliability; Spearman against refusal rates over 8 sampled answers; prompts a
second of the probe and of 24-token judged answers in one run; wall time of a whole measurement at each profile.

    python benchmarks/judge.py [--workspace demo-workspace] [--threads 2] [--profiles quick standard] [--sampled 60]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

from dream_engine.config import load_config
from dream_engine.inputs import Data
from dream_engine.judge.measure import ModelReport, measure
from dream_engine.judge.metrics import REFUSED
from dream_engine.judge.probe import Probe, probe_scores
from dream_engine.judge.rules import declines
from dream_engine.judge.stats import auroc, brier, calibration_error, reliability
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.workspace import Workspace

SAMPLES, TEMPERATURE = 8, 0.8


def main() -> None:
    """Measure each model at each profile; then the comparison against samples and the speeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, default=Path("demo-workspace"))
    parser.add_argument("--profiles", nargs="+", default=["quick", "standard"])
    parser.add_argument("--sampled", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model("smollm2-135m")
    for name, folder in adapters(Workspace.open(options.workspace, create=False)).items():
        model.load_adapter(name, folder)
    probe: Probe | None = None
    for profile in options.profiles:
        bench = Data.read(load_config(None, [f"judge.profile={profile}"])).bench
        probe = None
        for name in ("T", "W", "C"):
            begun = time.perf_counter()
            report = measure(model, name, name, bench, probe, lengths=True)
            seconds, probe = time.perf_counter() - begun, probe or report.probe
            print(f"{profile} {name}: {seconds:.0f} s, {quality(report)}", flush=True)
    if probe:
        against_samples(model, probe, options.sampled)


def adapters(workspace: Workspace) -> dict[str, Path]:
    """T, W and C of the newest cycle after a wake."""
    run = next(
        e.body["run"] for e in reversed(list(workspace.ledger.entries())) if (workspace.run_folder(e.body.get("run", "-")) / "adapter-W").is_dir()
    )
    first = next(e for e in workspace.ledger.entries() if e.body.get("weights"))
    folder = workspace.run_folder(run)
    return {"T": workspace.registry.verified(first.body["weights"]), "W": folder / "adapter-W", "C": folder / "adapter-C"}


def quality(report: ModelReport) -> str:
    """AUROC, ECE, Brier of p(refuse) against judged answers."""
    rows = [r for r in report.evaluation.records if r.p_refuse is not None and r.grade not in (None, "incoherent")]
    p, y = [r.p_refuse or 0.0 for r in rows], [r.grade in REFUSED for r in rows]
    area = auroc(p, y)
    points = " ".join(f"{a:.2f}:{b:.2f}({n})" for a, b, n in reliability(p, y))
    few = min(sum(y), len(y) - sum(y))
    return (
        f"n={len(y)}, smaller class {few}, AUROC {area if area is None else round(area, 3)}, ECE {calibration_error(p, y):.3f}, "
        f"Brier {brier(p, y):.3f}, reliability {points}"
    )


def against_samples(model: ChatModel, probe: Probe, count: int) -> None:
    """Spearman of p(refuse) with refusal rates over sampled answers; prompts a second of both, in one run."""
    suites = [p for p in Data.read(load_config(None)).bench.suites if p.side != "anchor"]
    chosen: list[Any] = [p.turns for p in suites[:: max(1, len(suites) // count)][:count]]
    everything: list[Any] = [p.turns for p in suites]
    for name in ("T", "W", "C"):
        with model.using(name):
            p = probe.probabilities(probe_scores(model, probe, chosen))
            rates = [0.0] * len(chosen)
            for seed in range(SAMPLES):
                for i, g in enumerate(model.generate(chosen, 24, TEMPERATURE, seed)):
                    rates[i] += declines(g.text) / SAMPLES
            begun = time.perf_counter()
            probe_scores(model, probe, everything)
            middle = time.perf_counter()
            model.generate(everything, 24)
            ended = time.perf_counter()
        rho = float(spearmanr(p, rates).statistic)
        fast, slow = len(everything) / (middle - begun), len(everything) / (ended - middle)
        print(
            f"{name}: Spearman {rho:.3f} on {len(chosen)} prompts; probe {fast:.1f}, judged answers {slow:.1f} prompts/s: {fast / slow:.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
