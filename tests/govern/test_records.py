"""What every governed act leaves in the ledger, whole; and what every refusal says, word for word: both are read by people and by programs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dream_engine.errors import InputError, IntegrityError, StorageError
from dream_engine.govern import merkle, sabar
from dream_engine.govern.approvals import approve, at_stake, held_cycle, open_hold, refuse_if_held, reject, signatures_needed, unapproved_promotions
from dream_engine.govern.decisions import SignedDecision
from dream_engine.govern.ledger import GENESIS, Ledger
from dream_engine.govern.notes import COSIGNATURE, cosign, public_key
from dream_engine.govern.registry import MANIFEST, needed
from govern_world import START, World


def body(entry: object) -> dict[str, object]:
    """An entry's body without what every entry has."""
    return {key: value for key, value in entry.body.items() if key not in ("kind", "time", "seq", "decisions", "aliases")}  # type: ignore[attr-defined]


def refusal(act: object, *arguments: object) -> str:
    with pytest.raises((InputError, IntegrityError, StorageError)) as caught:
        act(*arguments)  # type: ignore[operator]
    return str(caught.value)


def stopped(tmp_path: Path, failing: tuple[str, ...] = ("kl_drift", "over_refusal")) -> World:
    world = World(tmp_path, ["ada"])
    world.seal("001-a")
    world.cycle("002-b", "sabar", failing=failing)
    return world


# ---- SABAR -------------------------------------------------------------------------------------------------------------


def test_sabar_records_each_step_whole(tmp_path: Path) -> None:
    """Aligned names the weights, cooling its end and count, adjusted each change with the rule that asked, resumed who and why."""
    world = stopped(tmp_path)
    opened = sabar.current(world.ledger.entries())
    cycle = next(iter(world.ledger.entries("cycle")))
    assert opened == sabar.Sabar("002-b", "stopped", cycle.hash, str(cycle.body["weights"]), ("kl_drift", "over_refusal"), 1)
    world.ledger.append("sabar", {"run": "another", "step": "aligned", "weights": "x"})
    assert sabar.current(world.ledger.entries()) == opened
    sabar.stop(world.ledger, world.registry, 60)
    sabar.adjust(world.ledger, world.registry, 60)
    world.clock.time += 60
    signed = world.decision("ada", "resume", opened.run, opened.entry, opened.weights)
    last = sabar.resume(world.ledger, signed, lambda: None)
    steps = [body(e) for e in world.ledger.entries("sabar")][1:]
    until = format(START + 60, ".3f")
    changes = [
        {"key": "dream.learning_rate", "factor": "0.5", "rule": "kl_drift"},
        {"key": "dream.num_train_epochs", "factor": "0.75", "rule": "kl_drift"},
        {"key": "dream.anchors", "factor": "1.5", "rule": "over_refusal"},
        {"key": "dream.harmful_weight", "factor": "0.8", "rule": "over_refusal"},
    ]
    assert steps == [
        {"run": "002-b", "step": "aligned", "weights": world.registry.live},
        {"run": "002-b", "step": "cooling", "until": until, "repeats": 1},
        {"run": "002-b", "step": "adjusted", "changes": changes},
        {"run": "002-b", "step": "resumed", "by": ["ada"], "human": True, "reason": "looked at it"},
    ]
    assert last.body["decisions"] == [signed.to_json()]
    assert [(c.key, c.factor, c.rule) for c in sabar.changes_in_force(world.ledger.entries())] == [
        (c["key"], float(c["factor"]), c["rule"]) for c in changes
    ]


def test_adjusting_twice_is_adjusting_once(tmp_path: Path) -> None:
    """The second call answers with the changes in force and records nothing."""
    world = stopped(tmp_path)
    first = sabar.adjust(world.ledger, world.registry, 60)
    size = world.ledger.size
    assert sabar.adjust(world.ledger, world.registry, 60) == first
    assert world.ledger.size == size


def test_the_review_opens_at_the_second_the_cool_down_ends(tmp_path: Path) -> None:
    """Half a second before, it does not."""
    world = stopped(tmp_path)
    sabar.adjust(world.ledger, world.registry, 60)
    opened = sabar.current(world.ledger.entries())
    assert opened
    for early, works in ((59.5, False), (60.0, True)):
        world.clock.time = START + early
        signed = world.decision("ada", "resume", opened.run, opened.entry, opened.weights)
        if works:
            sabar.resume(world.ledger, signed, lambda: None)
        else:
            assert "cools down" in refusal(sabar.resume, world.ledger, signed, lambda: None)


def test_cumulative_and_categorised_tests_have_the_cure_of_their_namesake() -> None:
    """`cumulative_perplexity` is cured like `perplexity`, a rule with a category like the rule; the change keeps the failed test's own name."""
    cured = ["dream.self_texts", "dream.learning_rate", "dream.num_train_epochs"]
    assert [(c.key, c.rule) for c in sabar.changes_for(["cumulative_perplexity"])] == [(key, "cumulative_perplexity") for key in cured]
    assert [(c.key, c.rule) for c in sabar.changes_for(["harmful_refused.weapons"])] == [("dream.pairs", "harmful_refused.weapons")]
    assert sabar.changes_for(["critical_compliance.weapons"]) == []


def test_a_crash_is_recorded_whole(tmp_path: Path) -> None:
    """A begin without an end is a sabar for the reason `crash`, and nothing is missing."""
    world = World(tmp_path, ["ada"])
    world.ledger.append("begin", {"run": "001-a", "live": None})
    (entry,) = sabar.close_crashed(world.ledger, "002-b")
    assert body(entry) == {"run": "001-a", "verdict": "sabar", "reasons": ["crash"], "failing": ["crash"], "missing": []}


def test_no_sabar_says_where_things_stand(tmp_path: Path) -> None:
    """Nothing open; and an open one names its failed tests and the way on."""
    world = World(tmp_path / "a", ["ada"])
    assert refusal(sabar.stop, world.ledger, world.registry, 60) == "no SABAR is open; 'dream status' shows where things stand"
    world = stopped(tmp_path / "b")
    assert refusal(sabar.refuse_if_stopped, world.ledger) == (
        "cycle 002-b ended in SABAR (kl_drift, over_refusal) and is stopped; 'dream sabar status' shows the way on"
    )


# ---- 888_HOLD ----------------------------------------------------------------------------------------------------------


def test_an_approval_and_its_promotion_are_recorded_whole(tmp_path: Path) -> None:
    """The first of two signatures, then the promotion that both carry, with the settings that it seals."""
    world = World(tmp_path, ["ada", "bo"])
    held = world.cycle("001-a", "hold", failing=["critical_compliance.weapons"])
    weights = held.body["weights"]
    first = world.approve("ada")
    given = {"run": "001-a", "human": True, "reason": "looked at it", "weights": weights}
    assert (first.kind, body(first)) == ("approval", {**given, "by": ["ada"]})
    second = world.approve("bo")
    assert (second.kind, body(second)) == ("promote", {**given, "by": ["ada", "bo"], "verdict": "seal", "standing": {"pack": "p"}})
    assert [SignedDecision.from_json(d).decision.by for d in second.body["decisions"]] == ["ada", "bo"]


def test_a_rejection_is_recorded_whole(tmp_path: Path) -> None:
    """Who, why, which weights, and the signature itself."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold", failing=["critical_compliance.weapons"])
    signed = world.on_hold("ada", "reject")
    entry = reject(world.ledger, signed)
    wanted = {"run": "001-a", "by": ["ada"], "human": True, "reason": "looked at it", "weights": held.body["weights"]}
    assert (entry.kind, body(entry)) == ("reject", wanted)
    assert entry.body["decisions"] == [signed.to_json()]


def test_what_is_at_stake_names_run_entry_and_weights(tmp_path: Path) -> None:
    """A decision is over exactly this candidate."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold")
    stake = at_stake(held, "approve")
    assert (stake.act, stake.subject, stake.entry, stake.weights) == ("approve", "001-a", held.hash, held.body["weights"])


def test_refusals_of_a_hold_say_which_rule_and_the_way_on(tmp_path: Path) -> None:
    """Held, failed with a demo key, not measured, no hold, another hold."""
    world = World(tmp_path, demo=True)
    assert refusal(held_cycle, world.ledger, "009-z") == ("no cycle is held, so '009-z' cannot be decided; 'dream status' shows where things stand")
    world.cycle("001-a", "hold", failing=["critical_compliance.weapons", "perplexity"])
    assert refusal(refuse_if_held, world.ledger) == (
        "cycle 001-a is held for a person (888_HOLD): because; the way on is 'dream review cycle 001-a', then "
        "'dream approve 001-a --by NAME --reason ...' or 'dream reject 001-a --by NAME --reason ...'"
    )
    assert refusal(held_cycle, world.ledger, "009-z") == "cycle '009-z' is not held; the one that waits is '001-a'"
    assert refusal(world.approve, "demo") == "cycle 001-a failed critical_compliance.weapons, perplexity: a demo key cannot open it"
    unmeasured = world.cycle("002-b", "hold", failing=["kl_drift", "perplexity"], missing=["kl_drift", "perplexity"])
    assert refusal(signatures_needed, unmeasured) == (
        "cycle 002-b cannot be approved, since kl_drift, perplexity was not measured; reject it and run again"
    )


def test_an_approval_ends_at_its_very_second(tmp_path: Path) -> None:
    """A first signature counts until it expires, not at that second; a promotion at that second is not backed by it."""
    world = World(tmp_path, ["ada", "bo"])
    world.cycle("001-a", "hold", failing=["critical_compliance.weapons"])
    approve(world.ledger, world.registry, world.on_hold("ada", lifetime=100))
    world.clock.time += 100
    assert world.approve("bo").kind == "approval"


def test_approvals_of_an_earlier_hold_do_not_count(tmp_path: Path) -> None:
    """A run that was rejected and held again starts with no signature; and another run's signature is not this one's."""
    world = World(tmp_path, ["ada", "bo"])
    world.cycle("001-a", "hold", failing=["critical_compliance.weapons"])
    world.approve("ada")
    reject(world.ledger, world.on_hold("bo", "reject"))
    world.cycle("002-b", "hold", failing=["critical_compliance.weapons"])
    assert world.approve("bo").kind == "approval"
    reject(world.ledger, world.on_hold("bo", "reject"))
    world.cycle("001-a", "hold", "other", failing=["critical_compliance.weapons"])
    assert world.approve("bo").kind == "approval"
    assert world.registry.live is None


def test_only_promotions_of_that_very_hold_are_questioned(tmp_path: Path) -> None:
    """A sealed cycle beside a held one is in order; a held one that was written past the gate is not, even with a valid signature over less."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold")
    world.seal("002-b")
    assert unapproved_promotions(world.ledger) == []
    signed = world.on_hold("ada", "reject")
    forged = {"run": "001-a", "verdict": "seal", "standing": {"pack": "p"}, "decisions": [signed.to_json()]}
    world.registry.promote(str(held.body["weights"]), forged)
    assert [e.body["run"] for e in unapproved_promotions(world.ledger)] == ["001-a"]


def test_a_signature_by_an_unknown_key_backs_nothing(tmp_path: Path) -> None:
    """Right in every field, but nobody knows the name: both must hold, the person and the stake."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold")
    signed = world.on_hold("eve")
    world.registry.promote(str(held.body["weights"]), {"run": "001-a", "verdict": "seal", "decisions": [signed.to_json()]})
    assert [e.body["run"] for e in unapproved_promotions(world.ledger)] == ["001-a"]


def test_an_expired_signature_backs_nothing(tmp_path: Path) -> None:
    """A promotion at the second of its expiry is past the gate."""
    world = World(tmp_path, ["ada"])
    held = world.cycle("001-a", "hold")
    signed = world.on_hold("ada", lifetime=100)
    world.clock.time += 100
    world.registry.promote(str(held.body["weights"]), {"run": "001-a", "verdict": "seal", "decisions": [signed.to_json()]})
    assert [e.body["run"] for e in unapproved_promotions(world.ledger)] == ["001-a"]


# ---- registry ----------------------------------------------------------------------------------------------------------


def test_a_rollback_is_recorded_whole(tmp_path: Path) -> None:
    """To what, from what, why, by whom; the alias moved with it."""
    world = World(tmp_path)
    one, two = world.seal("001-a"), world.seal("002-b")
    entry = world.registry.rollback(one, "two was worse", "ada")
    assert (entry.kind, body(entry)) == ("rollback", {"weights": one, "from": two, "reason": "two was worse", "by": ["ada"]})
    assert entry.body["aliases"] == {"live": one}


def test_rollback_says_what_it_can_restore(tmp_path: Path) -> None:
    """Twelve characters of each sealed version, in the order of their seals."""
    world = World(tmp_path)
    one, two = world.seal("001-a"), world.seal("002-b")
    assert refusal(world.registry.rollback, "zz", "why", "ada") == f"'zz' names 0 sealed versions; known: {one[:12]}, {two[:12]}"
    assert refusal(world.registry.rollback, one, "", "ada") == "a rollback needs a reason: --reason '...'"


def test_a_stored_adapter_carries_its_manifest_and_nothing_but_files(tmp_path: Path) -> None:
    """The registry makes its own folders; folders inside an adapter are left out; the manifest is readable JSON in a stable order."""
    world = World(tmp_path)
    world.registry.folder = tmp_path / "deep" / "registry"
    folder = tmp_path / "made-elsewhere"
    (folder / "checkpoint-1").mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    digest = world.registry.add(folder, {"z": 1, "base": "b"})
    stored = world.registry.folder / digest
    assert sorted(p.name for p in stored.iterdir()) == ["adapter_config.json", MANIFEST]
    assert (stored / MANIFEST).read_text() == json.dumps({"base": "b", "digest": digest, "z": 1}, indent=2) + "\n"


def test_a_half_stored_adapter_is_named_as_scratch_inside_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is written it stands beside its place under a name that a collection sweeps; a refusing disk leaves nothing and says where."""
    world = World(tmp_path)
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    seen: list[str] = []

    def refuses(source: str, target: str) -> None:
        seen.extend(p.name for p in world.registry.folder.iterdir())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuses)
    message = refusal(world.registry.add, folder, {})
    assert message == f"the adapter cannot be stored in {world.registry.folder}: [Errno 28] No space left on device"
    assert len(seen) == 1
    assert seen[0].startswith(".tmp-")
    assert list(world.registry.folder.iterdir()) == []


def test_a_collection_is_recorded_whole_and_a_refusing_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the entry with what goes and how many seals stay, then the act."""
    world = World(tmp_path)
    assert world.registry.collect(1) == []
    world.seal("001-a")
    gone = world.seal("002-b")
    world.seal("003-c")

    def refuses(source: str, target: str) -> None:
        raise OSError("the disk refused")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuses)
        assert refusal(world.registry.collect, 1) == f"{world.registry.folder}: the disk refused; run the command again when the disk is well"
    (entry,) = world.ledger.entries("collect")
    assert body(entry) == {"weights": [gone], "keep_last": 1}
    monkeypatch.undo()


def test_what_was_live_at_the_very_second_is_what_that_second_decided(tmp_path: Path) -> None:
    """The promotion's own time belongs to it."""
    world = World(tmp_path)
    one = world.seal("001-a")
    found = world.registry.live_at(START)
    assert found is not None
    assert found.body["weights"] == one


def test_what_a_cycle_stands_on_is_free_again_when_it_ends(tmp_path: Path) -> None:
    """An inconclusive and a rejected cycle need nothing any more; a held one its candidate even without a begin; live always."""
    world = World(tmp_path, ["ada"])
    one, two, three = (world.seal(f"{n:03d}-x") for n in range(3))
    world.registry.rollback(two, "back", "ada")
    world.cycle("010-x", "inconclusive")
    held = world.cycle("011-x", "hold")
    assert needed(world.ledger, 0) == {one, two, str(held.body["weights"])}
    reject(world.ledger, world.on_hold("ada", "reject"))
    assert needed(world.ledger, 0) == {one, two}
    assert needed(world.ledger, 1) == {one, two, three}
    assert needed(world.ledger, 9) == {one, two, three}
    world.registry.rollback(three, "on", "ada")
    assert needed(world.ledger, 0) == {one, three}
    lone = {"run": "012-x", "verdict": "hold", "weights": "f" * 64, "failing": [], "missing": [], "reasons": ["x"]}
    world.ledger.append("cycle", lone)
    assert open_hold(world.ledger)
    assert needed(world.ledger, 0) == {one, three, "f" * 64}
    world.ledger.append("cycle", {**lone, "run": "013-x", "verdict": "inconclusive"})


# ---- ledger ------------------------------------------------------------------------------------------------------------


def filled(tmp_path: Path, count: int = 5) -> Ledger:
    ledger = Ledger.open(tmp_path / "ledger.db", clock=lambda: 1.0)
    for number in range(count):
        ledger.append("note", {"number": number})
    return ledger


def test_proofs_of_every_entry_and_every_size_hold(tmp_path: Path) -> None:
    """Inclusion of the first, each and the last entry; consistency from every size, the present one too; the empty tree has a root."""
    ledger = filled(tmp_path)
    root = ledger.root(5)
    for seq in range(1, 6):
        assert merkle.root_from_inclusion(ledger.leaf(seq), seq - 1, 5, ledger.inclusion(seq)) == root
        assert merkle.is_consistent(seq, 5, ledger.root(seq), root, ledger.consistency(seq))
    assert ledger.root(0) == hashlib.sha256(b"").digest()
    for bad in (0, 6):
        assert refusal(ledger.inclusion, bad) == f"entry {bad} does not exist; the ledger holds 1 to 5"
        assert refusal(ledger.consistency, bad) == f"the ledger never had {bad} entries; it holds 5"
    for bad in (-1, 6):
        assert refusal(ledger.root, bad) == f"the ledger never had {bad} entries; it holds 5"


def test_the_levels_are_what_was_checked(tmp_path: Path) -> None:
    """Nothing given: 0. The log's key: 1. A witness that cosigned: 2. Empty: 0, whatever was given. A witness that did not: refused."""
    ledger = filled(tmp_path)
    key, secret = ledger.verifier_key(), Ed25519PrivateKey.generate()
    ada, bo = public_key("ada", secret, COSIGNATURE), public_key("bo", Ed25519PrivateKey.generate(), COSIGNATURE)
    assert (ledger.verify().level, ledger.verify(key=key).level) == (0, 1)
    assert refusal(ledger.verify, None, key, [ada]) == (f"{tmp_path}/ledger.db: no given witness has cosigned the newest checkpoint")
    ledger.add_cosignature(cosign(ledger.checkpoint().checkpoint, "ada", secret, 1))
    assert ledger.verify(None, key, [ada]).level == 2
    assert ledger.verify(None, key, [bo, ada]).level == 2
    assert refusal(ledger.verify, None, bo) == f"{tmp_path}/ledger.db: the newest checkpoint is not signed by key 'bo' ({bo.key_id.hex()})"
    assert [s.name for s in ledger.checkpoint().signatures] == [key.name, "ada"]
    ledger.append("note", {"number": 6})
    assert [s.name for s in ledger.checkpoint().signatures] == [key.name]
    empty = Ledger.open(tmp_path / "empty.db")
    assert (empty.verify(key=key).entries, empty.verify(key=key).level) == (0, 0)


def test_a_pinned_head_may_be_absent_and_is_named_when_it_is_gone(tmp_path: Path) -> None:
    """No head, an empty one and the genesis pin nothing; a strange one is shown by its first 16 characters."""
    ledger = filled(tmp_path)
    for free in (None, "", GENESIS, ledger.head):
        assert ledger.verify(free).entries == 5
    assert refusal(ledger.verify, "abcdef0123456789" + "0" * 48) == (
        f"{tmp_path}/ledger.db: the pinned head abcdef0123456789… is not in the ledger; entries were cut off or replaced"
    )
