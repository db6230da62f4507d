"""888_HOLD: a held cycle waits for people, who approve or reject it with a signed decision. A hold never times out.

How many signatures open a hold depends on why it is held: one for a first model and for changed settings or cumulative drift, two by
different people where a critical category or any other test failed, and none ever where a number is missing.
"""

from __future__ import annotations

from dream_engine.errors import InputError
from dream_engine.govern.decisions import Act, Decision, SignedDecision, refuse_unless_usable, wanted
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.registry import Registry
from dream_engine.govern.reviewers import Reviewer, active, follow, reviewer_of

HELD = 4
SETTINGS_CHANGED = "settings_changed"
ONE_IS_ENOUGH = (SETTINGS_CHANGED, "cumulative_")
"""Rules, or beginnings of rules, whose hold one person may open."""


def open_hold(ledger: Ledger) -> Entry | None:
    """The entry of the cycle that waits for a person, or None."""
    held: Entry | None = None
    for entry in ledger.entries():
        if entry.kind == "cycle" and entry.body["verdict"] == "hold":
            held = entry
        elif held and entry.kind in ("promote", "reject") and entry.body.get("run") == held.body["run"]:
            held = None
    return held


def refuse_if_held(ledger: Ledger) -> None:
    """No cycle starts while one waits for a person.

    Raises:
        InputError: names the cycle and the ways forward (exit code 4).
    """
    held = open_hold(ledger)
    if held:
        run = held.body["run"]
        ways = f"'dream review cycle {run}', then 'dream approve {run} --by NAME --reason ...' or 'dream reject {run} --by NAME --reason ...'"
        raise _held_error(f"cycle {run} is held for a person (888_HOLD): {held.body['reasons'][0]}; the way on is {ways}")


def signatures_needed(held: Entry) -> int:
    """How many people must sign before this candidate may live.

    Raises:
        InputError: something was not measured, so nobody can (exit code 4).
    """
    failing = [str(rule) for rule in held.body["failing"]]
    if held.body["missing"]:
        missing = ", ".join(map(str, held.body["missing"]))
        raise _held_error(f"cycle {held.body['run']} cannot be approved, since {missing} was not measured; reject it and run again")
    return 1 if all(rule.startswith(ONE_IS_ENOUGH) for rule in failing) else 2


def at_stake(held: Entry, act: Act) -> Decision:
    """What a decision on this hold must name."""
    return wanted(act, str(held.body["run"]), held.hash, str(held.body["weights"]))


def approve(ledger: Ledger, registry: Registry, signed: SignedDecision) -> Entry:
    """Counts one person's approval; with the last one that is needed the candidate becomes live, in the same transaction.

    Raises:
        InputError: no such hold, it cannot be approved, or the decision cannot be used (the message names the rule).
    """
    held = held_cycle(ledger, signed.decision.subject)
    needed, reviewer = signatures_needed(held), reviewer_of(ledger, signed)
    if needed > 1 and not reviewer.human:
        raise _held_error(f"cycle {held.body['run']} failed {', '.join(held.body['failing'])}: a demo key cannot open it")
    refuse_unless_usable(ledger, signed, reviewer.key, at_stake(held, "approve"))
    earlier = still_valid(ledger, held)
    if any(d.decision.by == reviewer.name for d in earlier):
        raise InputError(f"{reviewer.name} has approved cycle {held.body['run']} already; {needed} different people are needed")
    decisions = [*earlier, signed]
    body = {"run": held.body["run"], "by": [d.decision.by for d in decisions], "human": reviewer.human, "reason": signed.decision.reason}
    body |= {"weights": held.body["weights"], "decisions": [d.to_json() for d in decisions]}
    if len(decisions) < needed:
        return ledger.append("approval", body)
    return registry.promote(str(held.body["weights"]), {**body, "verdict": "seal", "standing": held.body["standing"]})


def still_valid(ledger: Ledger, held: Entry) -> list[SignedDecision]:
    """Approvals of this hold that were given, have not expired, and whose reviewers have not been revoked since."""
    known, now = active(ledger), ledger.now()
    given = [e for e in ledger.entries("approval") if e.body["run"] == held.body["run"] and e.seq > held.seq]
    found = {d.decision.by: d for e in given for d in map(SignedDecision.from_json, e.body["decisions"])}
    return [d for d in found.values() if d.decision.expires > now and _still(known.get(d.decision.by), d)]


def reject(ledger: Ledger, signed: SignedDecision) -> Entry:
    """A person closes a hold without release; the sealed weights stay live.

    Raises:
        InputError: no such hold, or the decision cannot be used.
    """
    held = held_cycle(ledger, signed.decision.subject)
    reviewer = reviewer_of(ledger, signed)
    refuse_unless_usable(ledger, signed, reviewer.key, at_stake(held, "reject"))
    body = {"run": held.body["run"], "by": [reviewer.name], "human": reviewer.human, "reason": signed.decision.reason}
    return ledger.append("reject", {**body, "weights": held.body["weights"], "decisions": [signed.to_json()]})


def held_cycle(ledger: Ledger, run: str) -> Entry:
    """The hold on cycle `run`.

    Raises:
        InputError: no cycle waits, or another one does.
    """
    held = open_hold(ledger)
    if held is None:
        raise InputError(f"no cycle is held, so {run!r} cannot be decided; 'dream status' shows where things stand")
    if held.body["run"] != run:
        raise InputError(f"cycle {run!r} is not held; the one that waits is {held.body['run']!r}")
    return held


def unapproved_promotions(ledger: Ledger) -> list[Entry]:
    """Promotions of held cycles without enough valid signatures behind them: somebody wrote them past the gate.

    Judged by the register, the hold and the time as they were at each promotion.
    """
    held: dict[str, Entry] = {}
    known: dict[str, Reviewer] = {}
    wrong = []
    for entry in ledger.entries():
        follow(known, entry)
        run = str(entry.body.get("run"))
        if entry.kind == "cycle" and entry.body["verdict"] == "hold":
            held[run] = entry
        elif entry.kind == "promote" and run in held and not _backed(entry, held[run], known):
            wrong.append(entry)
    return wrong


def _backed(promotion: Entry, held: Entry, known: dict[str, Reviewer]) -> bool:
    decisions = [SignedDecision.from_json(d) for d in promotion.body.get("decisions", [])]
    stake = at_stake(held, "approve")
    good = {
        d.decision.by
        for d in decisions
        if _still(known.get(d.decision.by), d)
        and (d.decision.act, d.decision.subject, d.decision.entry, d.decision.weights) == (stake.act, stake.subject, stake.entry, stake.weights)
        and d.decision.expires > promotion.time
    }
    return not held.body["missing"] and promotion.body["weights"] == held.body["weights"] and len(good) >= signatures_needed(held)


def _still(reviewer: Reviewer | None, signed: SignedDecision) -> bool:
    return reviewer is not None and signed.holds(reviewer.key)


def _held_error(message: str) -> InputError:
    error = InputError(message)
    error.exit_code = HELD
    return error
