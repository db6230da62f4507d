"""Who may decide: reviewers and their keys, as the ledger says. A pure function of its entries.

The first person is trusted on first use, and the ledger shows it; every later one is brought in by a person who is already there.
A key marked `demo` stands for nobody: it counts only while no person is registered, and it is never shown as one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dream_engine.errors import InputError
from dream_engine.govern.decisions import SignedDecision, refuse_unless_usable, wanted
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.notes import PublicKey


@dataclass(frozen=True)
class Reviewer:
    """A name and its key. `human` is false for a key marked demo."""

    name: str
    key: PublicKey
    human: bool


def active(ledger: Ledger) -> dict[str, Reviewer]:
    """Reviewers that were added and not revoked, by name."""
    found: dict[str, Reviewer] = {}
    for entry in ledger.entries():
        follow(found, entry)
    return found


def follow(known: dict[str, Reviewer], entry: Entry) -> None:
    """Moves the register on by one entry of the ledger."""
    if entry.kind == "reviewer":
        key = PublicKey.parse(str(entry.body["key"]))
        known[key.name] = Reviewer(key.name, key, bool(entry.body["human"]))
    elif entry.kind == "revoke":
        known.pop(str(entry.body["name"]), None)


def add(ledger: Ledger, key: PublicKey, human: bool = True, sponsored: SignedDecision | None = None) -> Entry:
    """Registers a reviewer.

    Raises:
        InputError: the name or key is taken, the key is the engine's own, or a person is registered and none of them sponsors this.
    """
    refuse_unless_addable(ledger, key.name, human, sponsored.decision.by if sponsored else "")
    known = active(ledger)
    if key.raw == ledger.verifier_key().raw:
        raise InputError("the engine's own key cannot be a reviewer's: no update may approve itself")
    if any(r.key.raw == key.raw for r in known.values()):
        raise InputError(f"the key of {key.name!r} is registered under another name already; make a new one")
    if sponsored:
        refuse_unless_usable(ledger, sponsored, _person(known, sponsored).key, wanted("add_reviewer", key.name, weights=str(key)))
    body = {"name": key.name, "key": str(key), "human": human, "decisions": [sponsored.to_json()] if sponsored else []}
    return ledger.append("reviewer", body)


def refuse_unless_addable(ledger: Ledger, name: str, human: bool, sponsor: str) -> None:
    """What can be said before a key is made.

    Raises:
        InputError: the name is taken, or a person is registered and none of them sponsors this.
    """
    known = active(ledger)
    people = [r.name for r in known.values() if r.human]
    if name in known:
        raise InputError(f"reviewer {name!r} is registered already; revoke it first or choose another name")
    if people and not human:
        raise InputError("a demo key cannot be added where a person decides")
    if people and not sponsor:
        raise InputError(f"reviewer {name!r} needs the signature of one who is registered ({', '.join(people)}): --sponsor NAME")


def revoke(ledger: Ledger, name: str, signed: SignedDecision) -> Entry:
    """Takes a reviewer's key out, by the signature of a registered person (the reviewer too).

    Raises:
        InputError: unknown name, no right to decide, or the last person would go.
    """
    known = active(ledger)
    if name not in known:
        raise InputError(f"reviewer {name!r} is not registered; known: {', '.join(known) or 'none'}")
    if known[name].human and sum(r.human for r in known.values()) == 1:
        raise InputError(f"{name!r} is the last person registered; add another one first")
    signer = known.get(signed.decision.by) if not known[name].human else _person(known, signed)
    if signer is None:
        raise InputError(f"{signed.decision.by!r} is not a registered reviewer; known: {', '.join(known)}")
    refuse_unless_usable(ledger, signed, signer.key, wanted("revoke_reviewer", name, weights=str(known[name].key)))
    return ledger.append("revoke", {"name": name, "reason": signed.decision.reason, "by": [signer.name], "decisions": [signed.to_json()]})


def reviewer_of(ledger: Ledger, signed: SignedDecision) -> Reviewer:
    """The registered reviewer who made a decision; a demo key only where no person is registered.

    Raises:
        InputError: nobody by that name, or a demo key where a person decides.
    """
    known = active(ledger)
    if any(r.human for r in known.values()):
        return _person(known, signed)
    if signed.decision.by not in known:
        raise InputError(f"{signed.decision.by!r} is not a registered reviewer; known: {', '.join(known) or 'none'}; 'dream keys new' adds one")
    return known[signed.decision.by]


def _person(known: dict[str, Reviewer], signed: SignedDecision) -> Reviewer:
    found = known.get(signed.decision.by)
    if found is None or not found.human:
        people = ", ".join(r.name for r in known.values() if r.human) or "none"
        raise InputError(f"{signed.decision.by!r} is not a registered person; known: {people}")
    return found
