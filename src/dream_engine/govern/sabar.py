"""SABAR: what follows a candidate that failed. Stop, Align, Breathe, Adjust, Resume: a state that the ledger's entries alone decide.

    stopped    the cycle ended in `sabar`; the candidate is not served
    aligned    the sealed weights were hashed again and are live
    cooling    no cycle starts before a time that doubles with every failure in a row
    adjusting  the plan was changed by the rules below, one for each failed monitor
    resumed    the time is over, a dry check passed, and a person closed the review

A crash closes itself (`reasons: ["crash"]`): the sealed weights serve and nothing waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dream_engine.errors import InputError
from dream_engine.govern.decisions import SignedDecision, refuse_unless_usable, wanted
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.registry import Registry
from dream_engine.govern.reviewers import reviewer_of

State = Literal["stopped", "aligned", "cooling", "adjusting"]
SABAR_EXIT = 1
CRASH = "crash"
LONGEST_SECONDS = 24 * 3600.0

MORE_PAIRS = (("dream.pairs", 1.5),)
MORE_TWINS = (("dream.anchors", 1.5), ("dream.harmful_weight", 0.8))
HOLD_THE_USER = (("dream.wake_rows", 1.5), ("dream.wake_weight", 1.25))
RECALL_LESS = (("dream.recalled", 0.5),)
PREFACE_MORE = (("dream.prefaced_pairs", 2.0),)
STEP_SOFTER = (("dream.learning_rate", 0.5), ("dream.num_train_epochs", 0.75))
RULES: Mapping[str, tuple[tuple[str, float], ...]] = {
    "harmful_refused": MORE_PAIRS,
    "harmful_refused_recalled": RECALL_LESS,
    "harmful_refused_prefaced": PREFACE_MORE,
    "recovery": MORE_PAIRS,
    "signed_entropy_drop": MORE_PAIRS,
    "raw_entropy_drop": MORE_PAIRS,
    "over_refusal": MORE_TWINS,
    "plain_refused": MORE_TWINS,
    "user_gain_kept": HOLD_THE_USER,
    "answer_length": HOLD_THE_USER,
    "new_behaviour": HOLD_THE_USER,
    "similarity": HOLD_THE_USER,
    "kl_drift": STEP_SOFTER,
    "perplexity": (("dream.self_texts", 2.0), *STEP_SOFTER),
    "commission_harmful_refused": (("commission.pairs", 1.5),),
    "commission_contrast": (("commission.pairs", 1.5),),
    "commission_plain_refused": (("commission.anchors", 1.5), ("commission.anchor_weight", 1.25)),
    "commission_perplexity": (("commission.learning_rate", 0.5),),
}
"""Which settings are multiplied by what after which failed test; a cumulative test has the cure of its namesake."""


@dataclass(frozen=True)
class Change:
    """One setting that the next cycle multiplies, and the failed test that asked for it."""

    key: str
    factor: float
    rule: str


@dataclass(frozen=True)
class Sabar:
    """An open SABAR. `until` is the end of the cool-down in UTC seconds (0 before it began); `repeats` counts failures in a row, from 1."""

    run: str
    state: State
    entry: str
    weights: str
    failing: tuple[str, ...]
    repeats: int
    until: float = 0.0


def current(entries: Iterable[Entry]) -> Sabar | None:
    """The SABAR that is open, as the entries say, or None."""
    found: Sabar | None = None
    repeats = 0
    for entry in entries:
        if entry.kind == "promote":
            found, repeats = None, 0
        elif _failed(entry):
            repeats += 1
            found = Sabar(str(entry.body["run"]), "stopped", entry.hash, str(entry.body["weights"]), tuple(map(str, entry.body["failing"])), repeats)
        elif found and entry.kind == "sabar" and entry.body["run"] == found.run:
            found = _moved(found, entry)
    return found


def changes_in_force(entries: Iterable[Entry]) -> list[Change]:
    """What the next cycle's plan is multiplied by: every adjustment since the last seal."""
    found: list[Change] = []
    for entry in entries:
        if entry.kind == "promote":
            found = []
        elif entry.kind == "sabar" and entry.body["step"] == "adjusted":
            found += [Change(str(c["key"]), float(c["factor"]), str(c["rule"])) for c in entry.body["changes"]]
    return found


def changes_for(failing: Iterable[str]) -> list[Change]:
    """What the stated rules change after these failed tests; a setting is changed once, by the first rule that names it."""
    found: dict[str, Change] = {}
    for rule in failing:
        for key, factor in RULES.get(rule.split(".")[0].removeprefix("cumulative_"), ()):
            found.setdefault(key, Change(key, factor, rule))
    return list(found.values())


def stop(ledger: Ledger, registry: Registry, cooldown_seconds: float) -> Sabar:
    """Align and Breathe, right after a cycle ended in `sabar`: the sealed weights are hashed again, and the cool-down begins.

    Raises:
        IntegrityError: the sealed weights do not verify; the state stays `stopped`.
    """
    opened = _opened(ledger)
    if opened.state == "stopped":
        registry.verify_live()
        ledger.append("sabar", {"run": opened.run, "step": "aligned", "weights": registry.live})
        opened = replace(opened, state="aligned")
    if opened.state == "aligned":
        seconds = min(LONGEST_SECONDS, cooldown_seconds * 2 ** (opened.repeats - 1))
        until = format(ledger.now() + seconds, ".3f")
        ledger.append("sabar", {"run": opened.run, "step": "cooling", "until": until, "repeats": opened.repeats})
    return _opened(ledger)


def adjust(ledger: Ledger, registry: Registry, cooldown_seconds: float) -> list[Change]:
    """Changes the next plan by the stated rules and records which rule asked for what. A second time it changes nothing more.

    What a kill left undone of Stop, Align and Breathe is done first, so that no kill shortens a cool-down.

    Raises:
        InputError: no SABAR is open.
        IntegrityError: the sealed weights do not verify.
    """
    opened = stop(ledger, registry, cooldown_seconds)
    if opened.state == "adjusting":
        return changes_in_force(ledger.entries())
    changes = changes_for(opened.failing)
    listed = [{"key": c.key, "factor": format(c.factor, "g"), "rule": c.rule} for c in changes]
    ledger.append("sabar", {"run": opened.run, "step": "adjusted", "changes": listed})
    return changes


def resume(ledger: Ledger, signed: SignedDecision, dry_check: Callable[[], None]) -> Entry:
    """A person closes the review: only after the cool-down, after the adjustment, and when the dry check passes.

    Raises:
        InputError: too early, not adjusted, or the decision cannot be used. Whatever `dry_check` raises.
    """
    opened = _opened(ledger)
    if opened.state != "adjusting":
        raise _waits(f"cycle {opened.run} is {opened.state}: run 'dream sabar adjust' first")
    left = opened.until - ledger.now()
    if left > 0:
        raise _waits(f"cycle {opened.run} cools down for another {left:.0f} s (failure {opened.repeats} in a row); nothing shortens it")
    reviewer = reviewer_of(ledger, signed)
    refuse_unless_usable(ledger, signed, reviewer.key, wanted("resume", opened.run, opened.entry, opened.weights))
    dry_check()
    body = {"run": opened.run, "step": "resumed", "by": [reviewer.name], "human": reviewer.human, "reason": signed.decision.reason}
    return ledger.append("sabar", {**body, "decisions": [signed.to_json()]})


def refuse_if_stopped(ledger: Ledger) -> None:
    """No cycle starts during a SABAR.

    Raises:
        InputError: names the cycle, its state and the way forward (exit code 1).
    """
    opened = current(ledger.entries())
    if opened:
        failed = ", ".join(opened.failing)
        raise _waits(f"cycle {opened.run} ended in SABAR ({failed}) and is {opened.state}; 'dream sabar status' shows the way on")


def close_crashed(ledger: Ledger, own: str) -> list[Entry]:
    """Records every cycle that began and never ended, `own` left out, as `sabar` by a crash. The sealed weights were live all along."""
    ended = {e.body["run"] for e in ledger.entries() if e.kind in ("cycle", "promote") and "run" in e.body}
    lost = [e for e in ledger.entries("begin") if e.body["run"] not in ended | {own}]
    return [ledger.append("cycle", {"run": e.body["run"], "verdict": "sabar", "reasons": [CRASH], "failing": [CRASH], "missing": []}) for e in lost]


def _moved(opened: Sabar, entry: Entry) -> Sabar | None:
    step = entry.body["step"]
    if step == "resumed":
        return None
    if step == "cooling":
        return replace(opened, state="cooling", until=float(entry.body["until"]))
    return replace(opened, state="adjusting" if step == "adjusted" else "aligned")


def _failed(entry: Entry) -> bool:
    return entry.kind == "cycle" and entry.body["verdict"] == "sabar" and list(entry.body["failing"]) != [CRASH]


def _opened(ledger: Ledger) -> Sabar:
    opened = current(ledger.entries())
    if opened is None:
        raise InputError("no SABAR is open; 'dream status' shows where things stand")
    return opened


def _waits(message: str) -> InputError:
    error = InputError(message)
    error.exit_code = SABAR_EXIT
    return error
