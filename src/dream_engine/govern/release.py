"""What a verdict leads to: seal, SABAR, inconclusive or 888_HOLD. Records first, and moves the alias in the same transaction.

What the gate stands on (budgets, suites, judge, pack) is part of what was sealed. A candidate that passed under other settings is
held until a person signs for them; so nobody loosens a gate silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dream_engine.govern import sabar
from dream_engine.govern.approvals import SETTINGS_CHANGED
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.registry import Registry
from dream_engine.types import Verdict


def final_verdict(gated: Verdict, commissioning: bool, changed: list[str]) -> Verdict:
    """The gate's verdict, or `hold` where a pass still needs a person: for the first model, and for changed settings."""
    if gated.name != "seal":
        return gated
    if commissioning:
        return Verdict("hold", ("commissioning: a person must approve the first model", *gated.reasons))
    if changed:
        why = f"every test passed, but {', '.join(changed)} differ from what the live model was sealed under; a person must sign for that"
        return Verdict("hold", (why,), (SETTINGS_CHANGED,))
    return gated


def changed_settings(ledger: Ledger, standing: Mapping[str, str]) -> list[str]:
    """Names of what the gate stands on that differ from the settings of the last seal; all of them when those are unknown."""
    sealed = [e.body["standing"] for e in ledger.entries("promote") if "standing" in e.body]
    before = sealed[-1] if sealed else {}
    return sorted(name for name, value in standing.items() if before.get(name) != value)


def release(ledger: Ledger, registry: Registry, verdict: Verdict, weights: str, body: Mapping[str, Any], cooldown_seconds: float) -> Entry:
    """Acts on the final verdict; returns the entry that records it.

    Raises:
        IntegrityError: the candidate's or the sealed weights do not verify.
        StorageError: the disk refused; nothing was moved.
    """
    if verdict.name == "seal":
        return registry.promote(weights, body)
    entry = ledger.append("cycle", {**body, "weights": weights})
    if verdict.name == "sabar":
        sabar.stop(ledger, registry, cooldown_seconds)
    return entry
