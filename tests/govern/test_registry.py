"""Weights are whole, verified, and live only by a ledger entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.errors import BusyError, InputError, IntegrityError
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.registry import Registry, folder_digest
from dream_engine.govern.store import exclusive
from govern_world import World


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", Ledger.open(tmp_path / "ledger.db"))


def adapter(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / f"adapter-{text}"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text(text)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_stored_weights_come_back_byte_identical_and_twice_is_once(tmp_path: Path, registry: Registry) -> None:
    """The name is the digest of the bytes; adding again changes nothing and leaves no scratch folder."""
    folder = adapter(tmp_path, "one")
    first, second = registry.add(folder, {}), registry.add(folder, {"other": 1})
    assert first == second == folder_digest(folder)
    assert (registry.verified(first) / "adapter_model.safetensors").read_text() == "one"
    assert [p.name for p in registry.folder.iterdir()] == [first]


def test_changed_weights_are_not_served(tmp_path: Path, registry: Registry) -> None:
    """One flipped byte is an integrity failure (exit 5), and so is a missing folder."""
    digest = registry.add(adapter(tmp_path, "one"), {})
    (registry.folder / digest / "adapter_model.safetensors").write_text("onf")
    with pytest.raises(IntegrityError, match="was changed"):
        registry.promote(digest, {})
    assert registry.live is None
    with pytest.raises(IntegrityError, match="is not in"):
        registry.verified("0" * 64)


def test_rollback_restores_the_earlier_digest_and_needs_a_reason(tmp_path: Path, registry: Registry) -> None:
    """Live moves back by a ledger entry; the anchor stays the first sealed one."""
    one, two = (registry.add(adapter(tmp_path, t), {}) for t in ("one", "two"))
    registry.promote(one, {"run": "1"})
    registry.promote(two, {"run": "2"})
    assert (registry.live, registry.anchor) == (two, one)
    with pytest.raises(InputError, match="reason"):
        registry.rollback(one, " ", "me")
    registry.rollback(one[:10], "two was worse", "me")
    assert registry.live == one
    assert registry._ledger.verify().entries == 3


def test_rollback_to_what_was_never_sealed_is_refused(tmp_path: Path, registry: Registry) -> None:
    """The message lists what can be restored."""
    stored = registry.add(adapter(tmp_path, "one"), {})
    with pytest.raises(InputError, match="known: none"):
        registry.rollback(stored, "why not", "me")


def test_the_second_run_says_who_holds_the_workspace(tmp_path: Path) -> None:
    """Two at once: the second is refused with exit code 75 and the lock goes with its holder."""
    with exclusive(tmp_path / "lock"), pytest.raises(BusyError, match="held by process") as caught, exclusive(tmp_path / "lock"):
        pass
    assert caught.value.exit_code == 75
    with exclusive(tmp_path / "lock"):
        pass


def test_collection_never_takes_what_is_needed(tmp_path: Path) -> None:
    """Live, anchor, the last two sealed, and what an open and a held cycle stand on stay; the rest goes, recorded first."""
    world = World(tmp_path, ["ada"])
    sealed = [world.seal(f"{n:03d}-x") for n in range(6)]
    inconclusive = str(world.cycle("006-x", "inconclusive").body["weights"])
    world.registry.rollback(sealed[3], "going back", "ada")
    world.ledger.append("begin", {"run": "007-x", "live": sealed[2]})
    held = str(world.cycle("008-x", "hold").body["weights"])
    assert world.registry.collect(2, dry=True) == sorted([sealed[1], inconclusive])
    assert world.registry.collect(2) == sorted([sealed[1], inconclusive])
    assert {p.name for p in world.registry.folder.iterdir()} == {sealed[0], *sealed[2:], held}
    with pytest.raises(IntegrityError, match="was removed by entry"):
        world.registry.verified(sealed[1])
    with pytest.raises(InputError, match="names 0 sealed versions"):
        world.registry.rollback(sealed[1], "again", "ada")
    assert world.registry.collect(2) == []
    assert world.registry.add(tmp_path / "adapter-001-x", {}) == sealed[1]
    world.registry.promote(sealed[1], {"run": "009-x"})
    assert world.registry.live == sealed[1]


def test_a_killed_collection_is_finished_by_the_next(tmp_path: Path) -> None:
    """A folder that was set aside and not yet removed is no adapter, and goes."""
    world = World(tmp_path, ["ada"])
    world.seal("001-x")
    (world.registry.folder / ".tmp-half").mkdir()
    assert world.registry.collect(1) == []
    assert not (world.registry.folder / ".tmp-half").exists()


def test_the_log_knows_what_was_live_when(tmp_path: Path) -> None:
    """Before the first seal nothing; then each move from its own time on."""
    world = World(tmp_path, ["ada"])
    moves = []
    for number in range(3):
        world.clock.time += 100
        moves.append((world.clock.time, world.seal(f"{number:03d}-x")))
    assert world.registry.live_at(moves[0][0] - 1) is None
    for when, digest in moves:
        found = world.registry.live_at(when + 50)
        assert found
        assert found.body["weights"] == digest
