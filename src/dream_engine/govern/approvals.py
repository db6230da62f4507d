"""888_HOLD: a held cycle waits for a person, who approves or rejects it by name and with a reason (the decision itself is not signed yet).

A hold never times out. Only a commissioning hold can be approved at this level; a candidate that was frozen because it got
less safe can be rejected, not waved through.
"""

from __future__ import annotations

from dream_engine.errors import InputError
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.registry import Registry

HELD = 4
DEMO_KEY = "demo"


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
        ways = f"'dream approve {run} --by NAME --reason ...' or 'dream reject {run} --by NAME --reason ...'"
        raise _held_error(f"cycle {run} is held for a person (888_HOLD): {held.body['reasons'][0]}; the way on is {ways}")


def approve(ledger: Ledger, registry: Registry, run: str, by: str, reason: str) -> Entry:
    """A person lets a commissioned model live; it becomes T and, being the first, the anchor.

    Raises:
        InputError: no such hold, no name or reason, or the hold is not a commissioning one.
    """
    held = _held(ledger, run, by, reason)
    if not held.body["commissioning"] or held.body["failing"]:
        rules = ", ".join(held.body["failing"])
        raise _held_error(f"cycle {run} is held because of {rules}; it can be rejected and run again with another plan, not approved")
    human = by != DEMO_KEY
    return registry.promote(str(held.body["weights"]), {"run": run, "by": by, "human": human, "reason": reason, "verdict": "seal"})


def reject(ledger: Ledger, run: str, by: str, reason: str) -> Entry:
    """A person closes a hold without release; the sealed weights stay live.

    Raises:
        InputError: no such hold, or no name or reason.
    """
    held = _held(ledger, run, by, reason)
    return ledger.append("reject", {"run": run, "by": by, "human": by != DEMO_KEY, "reason": reason, "weights": held.body["weights"]})


def _held(ledger: Ledger, run: str, by: str, reason: str) -> Entry:
    if not by.strip() or not reason.strip():
        raise InputError("a decision needs a name and a reason: --by NAME --reason '...'")
    held = open_hold(ledger)
    if held is None:
        raise InputError(f"no cycle is held, so {run!r} cannot be decided; 'dream status' shows where things stand")
    if held.body["run"] != run:
        raise InputError(f"cycle {run!r} is not held; the one that waits is {held.body['run']!r}")
    return held


def _held_error(message: str) -> InputError:
    error = InputError(message)
    error.exit_code = HELD
    return error
