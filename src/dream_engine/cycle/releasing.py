"""The end of a cycle: the candidate's weights kept, one ledger entry, and the alias with it when it seals."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dream_engine import types
from dream_engine.cycle.judging import layers
from dream_engine.cycle.night import Night
from dream_engine.files import write_json
from dream_engine.govern.release import changed_settings, final_verdict
from dream_engine.govern.release import release as release_weights
from dream_engine.inputs import judge_name
from dream_engine.judge import budgets
from dream_engine.judge.gate import Gated
from dream_engine.judge.measure import load_measured, save_measured
from dream_engine.judge.suites import suite_digest
from dream_engine.provenance import code_revision, libraries
from dream_engine.results import drift_json, gate_json, table_json


@dataclass(frozen=True)
class Outcome:
    """How a cycle ended. `weights` is the candidate's digest in the registry."""

    run_id: str
    folder: Path
    gated: Gated
    weights: str
    entry: int
    commissioning: bool


def release(night: Night, candidate: str, m: budgets.Measurements, gated: Gated) -> Outcome:
    """Stores C, writes the ledger entry (with the alias when it seals), then the page."""
    name = "C" if not night.commissioning else "T"
    folder = night.folder / f"adapter-{name}"
    if not (folder / "adapter_config.json").is_file():
        night.model.save_adapter(candidate, folder)
    weights = night.workspace.registry.add(folder, _manifest(night, candidate))
    _keep_evaluation(night, weights)
    ledger, commissioning, standing = night.workspace.ledger, night.commissioning, _standing(night)
    verdict = final_verdict(gated.verdict, commissioning, changed_settings(ledger, standing))
    gated = Gated(verdict, gated.decisions, gated.stability_ratio, gated.worst_monitor)
    table = table_json(m)
    write_json(night.folder / "gate.json", gate_json(gated, table, commissioning, weights))
    write_json(night.folder / "drift.json", drift_json(m, gated, layers(night, candidate)))
    body = _entry(night, gated, table, commissioning) | {"standing": standing, "answers": night.answers(candidate)}
    body |= {"while_held": night.config.govern.while_held} if verdict.name == "hold" else {}
    entry = release_weights(ledger, night.workspace.registry, verdict, weights, body, night.config.govern.cooldown_seconds)
    return Outcome(night.run_id, night.folder, gated, weights, entry.seq, commissioning)


def _standing(night: Night) -> dict[str, str]:
    """Digests of what the gate stands on; they belong to the sealed state."""
    judge = night.config.judge
    return {
        "budgets": types.digest([judge.profile, asdict(budgets.PROFILES[judge.profile])]),
        "suites": suite_digest(list(night.data.bench.suites)),
        "judge": types.digest([night.data.bench.judge.digest, judge.answer_tokens]),
        "pack": night.pack.digest,
    }


def _keep_evaluation(night: Night, weights: str) -> None:
    """Hands the candidate's evaluation on, so that as the next night's T it is not measured again."""
    measured = load_measured(night.folder / "eval" / "C.jsonl")
    save_measured(measured, night.workspace.evaluation(weights, night.data.bench_digest), night.config.judge.store_answers, night.data.bench.suites)


def _manifest(night: Night, candidate: str) -> dict[str, Any]:
    base_name, base = night.model.stands_on(candidate)
    return {
        "base": base,
        "base_name": base_name,
        "parent": night.workspace.registry.live,
        "run": night.run_id,
        "data": night.digests(),
        "code": code_revision(),
        "libraries": libraries(),
    }


def _entry(night: Night, gated: Gated, table: Any, commissioning: bool) -> dict[str, Any]:
    fits = {p.stem[4:]: json.loads(p.read_text()) for p in sorted(night.folder.glob("fit-*.json"))}
    return {
        "run": night.run_id,
        "verdict": gated.verdict.name,
        "reasons": list(gated.verdict.reasons),
        "failing": list(gated.verdict.failing),
        "undecided": list(gated.verdict.undecided),
        "missing": list(gated.verdict.missing),
        "commissioning": commissioning,
        "parent": night.workspace.registry.live,
        "inputs": night.digests(),
        "dreams": night.counts,
        "settled": night.settled,
        "rounds": night.hardened,
        "table": table,
        "stability_ratio": gated.stability_ratio,
        "worst_monitor": gated.worst_monitor,
        "seed": night.config.seed,
        "code": code_revision(),
        "libraries": libraries(),
        "machine": platform.machine(),
        "stages": night.log.stages,
        "profile": night.config.judge.profile,
        "judge": judge_name(night.config),
        "trained_tokens": {name: fit["trained_tokens"] for name, fit in fits.items()},
    }
