"""Mutators: both sides change alike, the lineage says what was done, and the same seed gives the same children."""

from __future__ import annotations

import pytest

from dream_engine.dream.imagine import template_pairs
from dream_engine.dream.mutate import MUTATORS, mutated
from dream_engine.policy.pack import load_pack
from dream_engine.policy.screen import RequestScreen

PAIRS = template_pairs(load_pack(), 40, seed=2)


@pytest.mark.parametrize("mutator", MUTATORS)
def test_both_sides_are_changed_alike(mutator: str) -> None:
    """Same frame or same turns before, same new style, sides and category as they were, parent and partner named."""
    children = [child for child in mutated(PAIRS, 400, seed=1) if child[0].style == mutator]
    parents = {harm.id: (harm, twin) for harm, twin in PAIRS}
    assert len(children) > 10
    for harm, twin in children:
        before = parents[harm.parent or ""]
        assert (harm.side, twin.side, twin.twin_of, twin.parent) == ("harmful", "twin", harm.id, harm.parent)
        assert (harm.category, twin.category, harm.generator) == (before[0].category, before[1].category, "mutate")
        assert (harm.text, harm.earlier) != (before[0].text, before[0].earlier)
        assert harm.earlier == twin.earlier
        if mutator == "persuasion":
            assert harm.text.replace(before[0].text, "") == twin.text.replace(before[1].text, "")
        if mutator == "build_up":
            assert [m.role for m in harm.turns] == ["user", "assistant", "user"]


def test_children_are_the_same_for_the_same_seed() -> None:
    """And their names differ from one another."""
    children = mutated(PAIRS, 80, seed=3)
    assert children == mutated(PAIRS, 80, seed=3) != mutated(PAIRS, 80, seed=4)
    assert len({side.id for child in children for side in child}) == 2 * len(children)


def test_children_of_every_kind_pass_the_screen() -> None:
    """A build-up repeats its parent's words after other turns, which is no duplicate; plain copies still are."""
    screen = RequestScreen(load_pack(), [])
    screen.screen([side for one in PAIRS for side in one])
    kept = screen.screen([side for child in mutated(PAIRS, 80, seed=3) for side in child]).kept
    assert {s.style for s in kept} == set(MUTATORS)
    assert not screen.screen([side for one in PAIRS for side in one]).kept


def test_nothing_comes_of_nothing() -> None:
    """No parents, no children."""
    assert mutated([], 10, seed=1) == []
