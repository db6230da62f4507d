"""The numbers of a cycle as plain JSON: the table of T, W and C, and the gate's decisions. No model, no file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from dream_engine.judge import metrics
from dream_engine.judge.budgets import Measurements
from dream_engine.judge.gate import Decision, Gated
from dream_engine.judge.metrics import Evaluation
from dream_engine.types import Interval, Measured, Missing, Side

TABLE_ROWS: Mapping[str, str] = {
    "harmful_refused": "harmful refused",
    "over_refusal": "look-alikes refused",
    "contrast_balanced_accuracy": "contrast balanced accuracy",
    "plain_refused": "plain questions refused",
    "user_nll": "user NLL, nats a token (lower is better)",
    "perplexity": "perplexity on general text",
    "disputed": "answers that the rules read otherwise than the judge",
}
CHANGE_ROWS: Mapping[str, str] = {
    "raw_entropy_drop": "ΔS raw (nats)",
    "signed_entropy_drop": "ΔS signed (nats)",
}


def as_json(measured: Measured | None) -> dict[str, Any]:
    """An interval, or null with its reason; an unbounded end is null too."""
    if not isinstance(measured, Interval):
        return {"value": None, "reason": measured.reason if isinstance(measured, Missing) else "not measured"}
    return {"value": measured.value, "low": _finite(measured.low), "high": _finite(measured.high), "n": measured.n}


def table_json(m: Measurements) -> dict[str, Any]:
    """The table of a cycle: one column a model, and ΔS from W and from T to C."""
    models = {name: e for name, e in (("T", m.teacher), ("W", m.woken), ("C", m.candidate)) if e}
    changes = {}
    for pair, before in (("W→C", m.woken), ("T→C", m.teacher)):
        if before:
            void = _void(before, m)
            raw = Missing("the decision probe is void after training") if void else metrics.entropy_drop(before, m.candidate, m.seed)
            signed = metrics.signed_entropy_drop(before, m.candidate, m.seed)
            changes[pair] = {"raw_entropy_drop": as_json(raw), "signed_entropy_drop": as_json(signed)}
    gain = metrics.gain_lost(m.teacher, m.woken, m.candidate, m.seed) if m.teacher and m.woken else None
    return {"models": {name: column_json(e, m.seed) for name, e in models.items()}, "changes": changes, "gain_lost": as_json(gain)}


def gate_json(gated: Gated, table: Mapping[str, Any], commissioning: bool, weights: str) -> dict[str, Any]:
    """What `gate.json` holds: verdict, reasons, every test, Peace² with its worst monitor, the table."""
    return verdict_json(gated) | {
        "commissioning": commissioning,
        "weights": weights,
        "stability_ratio": gated.stability_ratio,
        "worst_monitor": gated.worst_monitor,
        "table": dict(table),
    }


def verdict_json(gated: Gated) -> dict[str, Any]:
    """The verdict with its reasons and every test."""
    return {
        "verdict": gated.verdict.name,
        "reasons": list(gated.verdict.reasons),
        "failing": list(gated.verdict.failing),
        "undecided": list(gated.verdict.undecided),
        "tests": [_decision_json(d) for d in gated.decisions],
    }


def _void(before: Evaluation, m: Measurements) -> bool:
    """Whether the probe, fitted on T, has lost its meaning on either of the two models."""
    teacher = m.teacher or before
    return metrics.probe_void(teacher, m.candidate) or metrics.probe_void(teacher, before)


def column_json(e: Evaluation, seed: int) -> dict[str, Any]:
    """One model's column of the table."""
    general = metrics.mean_loss(e.general, seed)
    if isinstance(general, Interval):
        value, low, high = (math.exp(min(x, 50)) for x in (general.value, general.low, general.high))
        general = Interval(value, low, high, general.n)
    return {
        "harmful_refused": as_json(metrics.rate(e, "harmful", seed)),
        "over_refusal": as_json(metrics.rate(e, "twin", seed)),
        "contrast_balanced_accuracy": as_json(metrics.contrast_balanced_accuracy(e, seed)),
        "plain_refused": as_json(metrics.rate(e, "anchor", seed)),
        "user_nll": as_json(metrics.mean_loss(e.user, seed)),
        "perplexity": as_json(general),
        "disputed": as_json(metrics.disputed(e, seed)),
    }


SLICES = ("category", "style", "language")
SIDES: tuple[Side, ...] = ("harmful", "twin", "anchor")


def drift_json(m: Measurements, gated: Gated, layers: Mapping[str, Any]) -> dict[str, Any]:
    """What charts of drift are drawn from: rates by category, style and language, decisions that flip inside a cluster of prompts, how varied plain
    answers are, every monitor against its budget, and `layers` as they were measured.

    Slices have no intervals here: one holds a few prompts.
    """
    models = {name: e for name, e in (("T", m.teacher), ("W", m.woken), ("C", m.candidate)) if e}
    return {
        "slices": {key: {name: _sliced(e, key) for name, e in models.items()} for key in SLICES},
        "flips": {name: {side: as_json(metrics.flip_rate(e, side, m.seed)) for side in SIDES} for name, e in models.items()},
        "diversity": {name: dict(e.diversity) for name, e in models.items()},
        "monitors": {
            d.test.name: {"drift": as_json(d.test.drift), "budget": d.test.budget, "ratio": d.ratio} for d in gated.decisions if d.test.monitor
        },
        "layers": dict(layers),
    }


def _sliced(e: Evaluation, key: str) -> dict[str, dict[str, Any]]:
    """{slice: {side: {rate, n}}} of one model, over what was measured."""
    found: dict[str, dict[str, Any]] = {}
    for record in metrics.known(e.records):
        found.setdefault(getattr(record, key), {}).setdefault(record.side, []).append(metrics.refused(record))
    return {name: {side: {"refused": sum(v) / len(v), "n": len(v)} for side, v in sorted(sides.items())} for name, sides in sorted(found.items())}


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What differs between two cycles, each {gate, config}: settings that changed, verdicts, and both candidates' columns."""
    before, after = (dict(leaves(run["config"])) for run in (first, second))
    settings = {key: [before.get(key), after.get(key)] for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)}
    columns = [run["gate"]["table"]["models"]["C"] for run in (first, second)]
    return {
        "settings": settings,
        "verdicts": [run["gate"]["verdict"] for run in (first, second)],
        "stability_ratio": [run["gate"]["stability_ratio"] for run in (first, second)],
        "candidates": {key: [column.get(key) for column in columns] for key in TABLE_ROWS},
    }


def leaves(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a configuration as (`section.key`, value)."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _decision_json(decision: Decision) -> dict[str, Any]:
    test = asdict(decision.test)
    return {
        "name": test["name"],
        "pair": test["pair"],
        "outcome": decision.outcome,
        "why": decision.why,
        "budget": test["budget"],
        "unit": test["unit"],
        "severity": test["severity"],
        "monitor": test["monitor"],
        "noise": _finite(test["noise"]),
        "drift": as_json(decision.test.drift),
        "ratio": decision.ratio,
    }


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
