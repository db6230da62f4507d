"""Weights are whole, verified, and live only by a ledger entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.errors import BusyError, InputError, IntegrityError
from dream_engine.govern.approvals import approve, open_hold, refuse_if_held, reject
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.registry import Registry, folder_digest
from dream_engine.govern.store import exclusive


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", Ledger(tmp_path / "ledger.db"))


def adapter(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / f"adapter-{text}"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text(text)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def hold(registry: Registry, weights: str, run: str = "001-a", failing: list[str] | None = None) -> None:
    body = {"run": run, "verdict": "hold", "weights": weights, "commissioning": True, "reasons": ["first"], "failing": failing or []}
    registry._ledger.append("cycle", body)


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


def test_a_hold_opens_only_by_name_reason_and_the_right_cycle(tmp_path: Path, registry: Registry) -> None:
    """888_HOLD: nothing else starts, and a demo key is never recorded as a person."""
    weights = registry.add(adapter(tmp_path, "one"), {})
    hold(registry, weights)
    with pytest.raises(InputError, match="888_HOLD") as caught:
        refuse_if_held(registry._ledger)
    assert caught.value.exit_code == 4
    for run, by, reason in (("002-b", "me", "ok"), ("001-a", "", "ok"), ("001-a", "me", "")):
        with pytest.raises(InputError):
            approve(registry._ledger, registry, run, by, reason)
    entry = approve(registry._ledger, registry, "001-a", "demo", "ok")
    assert entry.body["human"] is False
    assert registry.live == weights
    assert open_hold(registry._ledger) is None


def test_an_unsafe_hold_can_be_rejected_not_approved(tmp_path: Path, registry: Registry) -> None:
    """A candidate with failing rules is never waved through at this level."""
    weights = registry.add(adapter(tmp_path, "one"), {})
    hold(registry, weights, failing=["critical_compliance.violence"])
    with pytest.raises(InputError, match="critical_compliance"):
        approve(registry._ledger, registry, "001-a", "me", "please")
    reject(registry._ledger, "001-a", "me", "unsafe")
    assert open_hold(registry._ledger) is None
    assert registry.live is None


def test_the_second_run_says_who_holds_the_workspace(tmp_path: Path) -> None:
    """Two at once: the second is refused with exit code 75 and the lock goes with its holder."""
    with exclusive(tmp_path / "lock"), pytest.raises(BusyError, match="held by process") as caught, exclusive(tmp_path / "lock"):
        pass
    assert caught.value.exit_code == 75
    with exclusive(tmp_path / "lock"):
        pass
