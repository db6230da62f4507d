"""888_HOLD opens by the right signatures and by nothing else (P18, P19)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from dream_engine.errors import DreamError, InputError
from dream_engine.govern import approvals, reviewers
from dream_engine.govern.approvals import approve, open_hold, refuse_if_held, reject, unapproved_promotions
from dream_engine.govern.decisions import LONGEST_LIFETIME, SignedDecision
from dream_engine.govern.keys import LocalSigner
from govern_world import World, person


def test_one_person_opens_a_commissioning_hold(tmp_path: Path) -> None:
    """The control: the right signature makes exactly this candidate live, and says who and that it was a person."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold")
    with pytest.raises(InputError, match="888_HOLD") as caught:
        refuse_if_held(world.ledger)
    assert caught.value.exit_code == 4
    entry = world.approve("ada")
    assert (entry.body["by"], entry.body["human"]) == (["ada"], True)
    assert world.registry.live == held.body["weights"]
    assert open_hold(world.ledger) is None
    assert unapproved_promotions(world.ledger) == []


def test_a_demo_key_is_never_a_person_and_opens_no_failed_candidate(tmp_path: Path) -> None:
    """It commissions a demo; where a test failed, or a person is registered, it counts for nothing."""
    world = World(tmp_path / "a", demo=True)
    world.cycle("001-a", "hold")
    assert world.approve("demo").body["human"] is False
    world.cycle("002-b", "hold", failing=["critical_compliance.violence"])
    with pytest.raises(InputError, match="demo key cannot open"):
        world.approve("demo")
    reviewers.add(world.ledger, person("ada").public)
    with pytest.raises(InputError, match="not a registered person"):
        world.approve("demo")


def test_a_critical_category_needs_two_different_people(tmp_path: Path) -> None:
    """One signature is recorded and opens nothing; the same person twice is one; the second person opens it."""
    world = World(tmp_path, ["ada", "bo"])
    held = world.cycle("001-a", "hold", failing=["critical_compliance.violence"])
    assert world.approve("ada").kind == "approval"
    assert world.registry.live is None
    with pytest.raises(InputError, match="approved cycle 001-a already"):
        world.approve("ada")
    assert world.approve("bo").body["by"] == ["ada", "bo"]
    assert world.registry.live == held.body["weights"]


def test_a_first_signature_goes_when_its_reviewer_does_or_its_time_is_over(tmp_path: Path) -> None:
    """Revoked or expired, it no longer counts towards two."""
    for how in ("revoked", "expired"):
        world = World(tmp_path / how, ["ada", "bo", "cy"])
        world.cycle("001-a", "hold", failing=["critical_compliance.violence"])
        world.approve("ada")
        if how == "revoked":
            reviewers.revoke(world.ledger, "ada", world.decision("bo", "revoke_reviewer", "ada", weights=str(person("ada").public)))
        else:
            world.clock.time += 3600
        assert world.approve("bo").kind == "approval"
        assert world.registry.live is None


def test_what_was_not_measured_nobody_can_approve(tmp_path: Path) -> None:
    """P16: a missing number holds for good; the candidate can be rejected."""
    world = World(tmp_path, ["ada", "bo"])
    world.cycle("001-a", "hold", failing=["kl_drift"], missing=["kl_drift"])
    with pytest.raises(InputError, match="kl_drift was not measured"):
        world.approve("ada")
    reject(world.ledger, world.on_hold("ada", "reject"))
    assert open_hold(world.ledger) is None
    assert world.registry.live is None


def swapped(**fields: Any) -> Callable[[World, SignedDecision], SignedDecision]:
    return lambda world, signed: SignedDecision(dataclasses.replace(signed.decision, **fields), signed.signature)


def resigned(**fields: Any) -> Callable[[World, SignedDecision], SignedDecision]:
    """Changed and signed again by the reviewer, so that only the rule about the field can refuse it."""

    def made(world: World, signed: SignedDecision) -> SignedDecision:
        decision = dataclasses.replace(signed.decision, **{k: v(world) if callable(v) else v for k, v in fields.items()})
        return SignedDecision(decision, person("ada").sign(decision.signed_bytes))

    return made


def by_key(name: str, key: str) -> Callable[[World, SignedDecision], SignedDecision]:
    def made(world: World, signed: SignedDecision) -> SignedDecision:
        decision = dataclasses.replace(signed.decision, by=name)
        return SignedDecision(decision, person(key).sign(decision.signed_bytes))

    return made


def bit(at: int) -> Callable[[World, SignedDecision], SignedDecision]:
    return lambda world, s: SignedDecision(s.decision, s.signature[:at] + bytes([s.signature[at] ^ 1]) + s.signature[at + 1 :])


def engine_made(world: World, signed: SignedDecision) -> SignedDecision:
    from dream_engine.govern.keys import engine_signer

    signer = engine_signer(world.root, {})
    assert isinstance(signer, LocalSigner)
    decision = dataclasses.replace(signed.decision, by=signer.name)
    return SignedDecision(decision, signer.sign(decision.signed_bytes))


FORGERIES: dict[str, Callable[[World, SignedDecision], SignedDecision]] = {
    **{f"signature byte {at} flipped": bit(at) for at in range(0, 64, 4)},
    **{f"{name} altered after signing": swapped(**{name: value}) for name, value in {
        "act": "reject", "subject": "002-b", "entry": "0" * 64, "weights": "0" * 64, "by": "bo", "reason": "another", "origin": "dream-engine/x",
        "size": 1, "root": "0" * 64, "expires": 1_700_009_999}.items()},
    **{f"signed for another {name}": resigned(**{name: value}) for name, value in {
        "act": "reject", "subject": "002-b", "entry": "0" * 64, "weights": "0" * 64, "origin": "dream-engine/x", "root": "0" * 64}.items()},
    "act of a resume": resigned(act="resume"), "act of a revocation": resigned(act="revoke_reviewer"),
    "act of a registration": resigned(act="add_reviewer"),
    "the weights that are live": resigned(weights=lambda w: str(w.registry.live)), "empty weights": resigned(weights=""),
    "entry of an earlier cycle": resigned(entry=lambda w: next(iter(w.ledger.entries())).hash), "empty entry": resigned(entry=""),
    "upper-case entry": resigned(entry=lambda w: open_hold(w.ledger).hash.upper()),  # type: ignore[union-attr]
    "size of the future": resigned(size=lambda w: w.ledger.size + 1), "size zero": resigned(size=0, root=lambda w: w.ledger.root(0).hex()),
    "an older size with today's root": resigned(size=lambda w: w.ledger.size - 1),
    "root in upper case": resigned(root=lambda w: w.ledger.root(w.ledger.size).hex().upper()),
    "empty origin": resigned(origin=""), "expires now": resigned(expires=lambda w: int(w.clock.time)),
    "expired a second ago": resigned(expires=lambda w: int(w.clock.time) - 1),
    "expired at the epoch": resigned(expires=0), "expires in a month": resigned(expires=lambda w: int(w.clock.time) + 30 * 86400),
    "expires a second too late": resigned(expires=lambda w: int(w.clock.time) + LONGEST_LIFETIME + 1),
    "a stranger": by_key("eve", "eve"), "a stranger under ada's name": by_key("ada", "eve"), "bo under ada's name": by_key("ada", "bo"),
    "ada under bo's name": by_key("bo", "ada"), "the demo key": by_key("demo", "demo"),
    "the engine itself": engine_made, "nobody": by_key("", "ada"),
    "ada with a space": by_key("ada ", "ada"), "ada in capitals": by_key("ADA", "ada"), "revoked cy": by_key("cy", "cy"),
    "an all-zero signature": lambda w, s: SignedDecision(s.decision, bytes(64)),
    "an all-one signature": lambda w, s: SignedDecision(s.decision, b"\xff" * 64),
    "a signature of the JSON without its header":
        lambda w, s: SignedDecision(s.decision, person("ada").sign(json.dumps(s.to_json()["decision"]).encode())),
    "a signature of the checkpoint": lambda w, s: SignedDecision(s.decision, person("ada").sign(w.ledger.checkpoint().checkpoint.text.encode())),
    "bo's signature below ada's words": lambda w, s: SignedDecision(s.decision, person("bo").sign(s.decision.signed_bytes)),
    "an earlier approval replayed": lambda w, s: SignedDecision.from_json(next(iter(w.ledger.entries("promote"))).body["decisions"][0]),
    "its own rejection": lambda w, s: w.on_hold("ada", "reject"),
}  # fmt: skip


@pytest.fixture(scope="module")
def forged_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("w"), ["ada", "bo", "cy"])
    world.cycle("001-a", "hold")
    world.approve("ada")
    reviewers.revoke(world.ledger, "cy", world.decision("ada", "revoke_reviewer", "cy", weights=str(person("cy").public)))
    world.clock.time += 60
    world.cycle("003-c", "hold")
    return world


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_altered_replayed_expired_and_self_made_approvals_are_refused(forged_world: World, name: str) -> None:
    """P19: every named negative leaves live weights, the hold and the ledger as they were."""
    world = forged_world
    live, size = world.registry.live, world.ledger.size
    with pytest.raises(InputError):
        approve(world.ledger, world.registry, FORGERIES[name](world, world.on_hold("ada")))
    assert (world.registry.live, world.ledger.size) == (live, size)
    assert open_hold(world.ledger) is not None


def test_there_are_at_least_sixty_named_negatives_and_the_unforged_one_passes(tmp_path: Path) -> None:
    """The control of P19: untouched, the same decision is accepted."""
    assert len(FORGERIES) >= 60
    world = World(tmp_path, ["ada", "bo"])
    world.cycle("001-a", "hold")
    approve(world.ledger, world.registry, SignedDecision.parse(json.dumps(world.on_hold("ada").to_json())))
    assert world.registry.live


def test_a_clock_set_back_extends_no_approval(tmp_path: Path) -> None:
    """P14: time is never before the newest entry's, and entries stay in order."""
    world = World(tmp_path, ["ada"])
    world.cycle("001-a", "hold")
    signed = world.on_hold("ada")
    world.clock.time += 3600
    world.ledger.append("note", {})
    world.clock.time -= 3600
    with pytest.raises(InputError, match="expired"):
        approve(world.ledger, world.registry, signed)
    times = [e.time for e in world.ledger.entries()]
    assert times == sorted(times)


def test_a_promotion_written_past_the_gate_is_found(tmp_path: Path) -> None:
    """Whoever appends a promotion without signatures shows up in the audit."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold")
    world.registry.promote(str(held.body["weights"]), {"run": "001-a", "by": ["ada"]})
    assert [e.kind for e in unapproved_promotions(world.ledger)] == ["promote"]


class Holds(RuleBasedStateMachine):
    """P18: a model of thirty lines beside the real thing. Only the model's approvals may change what is live."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), ["ada", "bo"])
        self.runs, self.live = 0, None
        self.held: str | None = None
        self.needed, self.signed = 0, dict[str, int]()
        self.old: list[SignedDecision] = []

    def teardown(self) -> None:
        self.world.ledger.close()
        self.folder.cleanup()

    @precondition(lambda self: self.held is None)
    @rule(failing=st.sampled_from([[], ["settings_changed"], ["critical_compliance.weapons"], ["missing"]]))
    def hold(self, failing: list[str]) -> None:
        self.runs += 1
        missing = failing if failing == ["missing"] else []
        self.held = str(self.world.cycle(f"{self.runs:03d}-x", "hold", failing=failing, missing=missing).body["weights"])
        self.needed, self.signed = {"critical_compliance.weapons": 2, "missing": 99}.get("".join(failing), 1), {}

    @precondition(lambda self: self.held is not None)
    @rule(by=st.sampled_from(["ada", "bo", "eve"]), late=st.booleans())
    def approve(self, by: str, late: bool) -> None:
        signed = self.world.on_hold(by)
        self.world.clock.time += 3600 if late else 1
        self.old.append(signed)
        now = self.world.ledger.now()
        self.signed = {name: until for name, until in self.signed.items() if until > now}
        allowed = by != "eve" and signed.decision.expires > now and by not in self.signed and self.needed < 99
        self.attempt(signed, allowed)
        if allowed:
            self.signed[by] = signed.decision.expires
            if len(self.signed) >= self.needed:
                self.live, self.held = self.held, None

    @precondition(lambda self: bool(self.old))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        self.attempt(data.draw(st.sampled_from(self.old)), allowed=False)

    @precondition(lambda self: self.held is not None)
    @rule()
    def reject(self) -> None:
        reject(self.world.ledger, self.world.on_hold("bo", "reject"))
        self.held = None

    @rule(seconds=st.sampled_from([-5000, 10, 90_000]))
    def clock(self, seconds: int) -> None:
        """Back only from a time at which something was recorded: a clock set back before that cannot be noticed."""
        if seconds < 0:
            self.world.ledger.append("note", {})
        self.world.clock.time += seconds

    def attempt(self, signed: SignedDecision, allowed: bool) -> None:
        try:
            approve(self.world.ledger, self.world.registry, signed)
        except DreamError:
            assert not allowed
        else:
            assert allowed

    @invariant()
    def only_the_model_moves_what_is_live(self) -> None:
        assert self.world.registry.live == self.live
        assert (open_hold(self.world.ledger) is None) == (self.held is None)

    @invariant()
    def nothing_starts_while_held(self) -> None:
        if self.held:
            with pytest.raises(InputError):
                refuse_if_held(self.world.ledger)

    @invariant()
    def the_audit_agrees(self) -> None:
        assert unapproved_promotions(self.world.ledger) == []


def test_only_the_right_signatures_open_a_hold(size: Callable[[int, int], int]) -> None:
    """P18: histories of holds, approvals, replays, rejections and clock jumps, the model beside the real thing."""
    run_state_machine_as_test(Holds, settings=settings(max_examples=size(25, 10_000), stateful_step_count=20, deadline=None))


def test_signatures_needed_follow_the_rules_that_failed(tmp_path: Path) -> None:
    """First model, settings, cumulative drift: one. Anything else that failed: two."""
    world = World(tmp_path, ["ada", "bo"])
    cases = [
        ([], 1),
        (["settings_changed"], 1),
        (["cumulative_perplexity"], 1),
        (["critical_compliance.violence"], 2),
        (["settings_changed", "kl_drift"], 2),
    ]
    for number, (failing, needed) in enumerate(cases):
        held = world.cycle(f"{number}-x", "hold", failing=failing)
        assert approvals.signatures_needed(held) == needed
        reject(world.ledger, world.on_hold("ada", "reject"))
