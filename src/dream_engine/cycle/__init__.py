"""One replay cycle: Δ wake → Ω dream → Ψ judge. Read `run_cycle` first.

The only package that sees capture, dream and judge together. Each step's result lies in the run folder, so a killed run goes
on where it was: a step whose file is there is read, not computed again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dream_engine.config import Config
from dream_engine.cycle.dreaming import imagined
from dream_engine.cycle.hardening import harden
from dream_engine.cycle.judging import against_sealed, alone, judge, look_for_failures, measure
from dream_engine.cycle.night import Night
from dream_engine.cycle.opening import open_night
from dream_engine.cycle.rehearsal import rehearse
from dream_engine.cycle.releasing import Outcome, release
from dream_engine.cycle.wake import learn, no_drift
from dream_engine.dream.review import Reviewed
from dream_engine.errors import InputError
from dream_engine.govern.registry import folder_digest
from dream_engine.inputs import Data, configured_model
from dream_engine.judge.gate import gate
from dream_engine.policy.pack import load_pack
from dream_engine.progress import RunLog, Show, silent
from dream_engine.results import gate_json, table_json
from dream_engine.workspace import Workspace

__all__ = ["Outcome", "gate_adapter", "generate", "run_cycle"]


def run_cycle(config: Config, workspace: Workspace, show: Show = silent, review: Reviewed | None = None) -> Outcome:
    """Runs one whole cycle, or goes on with the one that was killed. Commissions when nothing is sealed yet.

    With `review`, what people left of this cycle's dreams is rehearsed instead of all of them.

    Raises:
        InputError: data, pack, suite or model cannot be used.
        IntegrityError: the sealed weights or the ledger do not verify; no cycle starts then (Amanah).
    """
    night = open_night(config, workspace, show)  #    locks nothing, checks everything, writes `begin`
    woken = None if night.commissioning else learn(night)  # Δ  the user's own fine-tune: W
    drifted = woken is None or not no_drift(night, woken)
    dreams = imagined(night, woken, review) if drifted else []  # Ω  proposals, screened and answered
    candidate = rehearse(night, woken, dreams)  # Ω  bounded fit of an adapter: C
    harden(night, woken, dreams)  # Ω  failures of C searched for and rehearsed, if asked for
    measured = measure(night, woken, candidate)  # Ψ  numbers with intervals
    look_for_failures(night, woken, candidate)  # Ψ  fresh scenarios, beside the suites
    gated = judge(night, measured, drifted)  # Ψ  pure function
    return release(night, candidate, measured, gated)  #    ledger entry and alias in one transaction, then the page


def generate(config: Config, workspace: Workspace, show: Show = silent) -> Path | None:
    """Δ and the first half of Ω: the dreams that this cycle would rehearse, for people to look at; `run_cycle` goes on from there.

    Returns the run folder, or None where there is nothing to dream: on a night without drift, and of a first model that is taken as it is.

    Raises:
        As `run_cycle`.
    """
    night = open_night(config, workspace, show)
    woken = None if night.commissioning else learn(night)
    if no_drift(night, woken) if woken else not config.commission.dreams:
        return None
    imagined(night, woken)
    return night.folder


def gate_adapter(config: Config, workspace: Workspace, adapter: Path, commission: bool = False, show: Show = silent) -> dict[str, Any]:
    """Ψ alone: judges an adapter made elsewhere as C with W = T, or by the absolute tests of a first model. Measures; promotes nothing.

    Raises:
        InputError: nothing is sealed yet, or the adapter does not fit the base.
    """
    live = workspace.registry.live
    if live is None and not commission:
        raise InputError("nothing is sealed yet, so there is no T to compare with; add --commission, or run 'dream run' and approve the first cycle")
    data, pack = Data.read(config), load_pack(config.policy.pack)
    model = configured_model(config)
    model.load_adapter("C", adapter)
    night = Night(config, workspace, "gate", RunLog(workspace.root / "gate-events.jsonl", show), model, pack, data)
    m, tests = alone(night) if commission else against_sealed(night, str(live))
    gated = gate(tests)
    weights = folder_digest(adapter)
    workspace.ledger.append("gate", {"weights": weights, "verdict": gated.verdict.name, "failing": list(gated.verdict.failing)})
    return gate_json(gated, table_json(m), commission, weights)
