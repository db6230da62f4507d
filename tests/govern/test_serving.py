"""What serves while a cycle waits for a person (DESIGN §8): the alias never moves, the limited mode only takes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.govern.approvals import reject
from dream_engine.govern.serving import serving
from govern_world import World


def held(tmp_path: Path, mode: str | None) -> tuple[World, str, str]:
    """Two sealed versions, then a hold recorded with this mode: the world, the anchor, the live digest."""
    world = World(tmp_path, ["ada"])
    first, second = world.seal("001-a"), world.seal("002-b")
    body = {"run": "003-c", "verdict": "hold", "weights": world.adapter("003-c"), "commissioning": False, "reasons": ["because"]}
    more = {} if mode is None else {"while_held": mode}
    world.ledger.append("cycle", {**body, "failing": [], "missing": [], "standing": {"pack": "p"}, **more})
    return world, first, second


@pytest.mark.parametrize(
    ("mode", "served", "named"), [(None, 1, "normal"), ("sealed", 1, "normal"), ("anchor", 0, "limited"), ("none", None, "limited")]
)
def test_a_hold_serves_as_it_was_recorded_to(tmp_path: Path, mode: str | None, served: int | None, named: str) -> None:
    """Sealed, anchor or nothing; the live alias is the sealed one in every mode."""
    world, *digests = held(tmp_path, mode)
    found = serving(world.ledger)
    assert (found.weights, found.mode) == (None if served is None else digests[served], named)
    assert "003-c" in found.reason
    assert world.registry.live == digests[1]


def test_the_limited_mode_ends_with_the_decision_of_a_person(tmp_path: Path) -> None:
    """A rejection brings the sealed weights back, and no time does: a month later nothing has changed."""
    world, _, live = held(tmp_path, "none")
    world.clock.time += 30 * 86400
    assert serving(world.ledger).weights is None
    reject(world.ledger, world.on_hold("ada", "reject"))
    assert serving(world.ledger).weights == live


def test_an_approved_candidate_serves_at_once(tmp_path: Path) -> None:
    """With the signature the candidate is live and served."""
    world, *_ = held(tmp_path, "anchor")
    entry = world.approve("ada")
    assert serving(world.ledger).weights == entry.body["weights"]


def test_nothing_serves_before_the_first_seal(tmp_path: Path) -> None:
    """Said as such, not as an empty digest."""
    found = serving(World(tmp_path).ledger)
    assert (found.weights, found.reason) == (None, "nothing is sealed yet")
