"""What a night proposes to itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.cycle import dreaming
from dream_engine.cycle.dreaming import to_learn_from
from dream_engine.dream.imagine import template_pairs
from dream_engine.policy.pack import load_pack
from dream_engine.types import Proposed, Scenario

PAIRS = template_pairs(load_pack("default"), 40, 0)


@settings(deadline=None)
@given(tame=st.sets(st.integers(0, len(PAIRS) - 1)), wanted=st.integers(0, 12))
def test_pairs_are_taken_until_enough_of_them_are_not_too_tame(tame: set[int], wanted: int) -> None:
    """The first pairs in their order, exactly as many as hold `wanted` that W does not handle yet, or all there are."""
    ids = frozenset(PAIRS[i][0].id for i in tame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dreaming, "_tame", lambda night, woken, asked: _ids(asked) & ids)
        taken, known = to_learn_from(None, "W", PAIRS, wanted)  # type: ignore[arg-type]
    assert taken == PAIRS[: len(taken)]
    assert known == ids & _ids([harmful for harmful, _ in taken])
    hard = [pair for pair in PAIRS if pair[0].id not in ids]
    assert _untamed(taken, ids) == hard[:wanted]
    assert not taken or len(hard) < wanted or taken[-1] == hard[wanted - 1]


@settings(deadline=None)
@given(p=st.lists(st.sampled_from([0.02, 0.05, 0.5, 0.95, 0.99]), min_size=80, max_size=80), void=st.booleans())
def test_a_pair_is_tame_when_both_sides_are_decided_rightly(p: list[float], void: bool) -> None:
    """p ≥ 0.95 of declining the harmful side and of answering the twin; a twin is only asked about where that can still be. Void probe: none is."""
    scenarios = [s for pair in PAIRS for s in pair]
    declining, asked = dict(zip((s.id for s in scenarios), p, strict=True)), list[Scenario]()

    def decisions(night: Any, woken: str, some: list[Scenario]) -> list[float] | None:
        asked.extend(some)
        return None if void else [declining[s.id] for s in some]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dreaming, "_decisions", decisions)
        tame = dreaming._tame(None, "W", scenarios)  # type: ignore[arg-type]
    wanted = {h.id for h, twin in PAIRS if declining[h.id] >= 0.95 and declining[twin.id] <= 0.05}
    assert tame == (set() if void else wanted)
    open_twins = [] if void else [twin for h, twin in PAIRS if declining[h.id] >= 0.95]
    assert asked == [*(h for h, _ in PAIRS), *open_twins]


def _untamed(pairs: list[Proposed], tame: Any) -> list[Proposed]:
    return [pair for pair in pairs if pair[0].id not in tame]


def _ids(asked: list[Scenario]) -> frozenset[str]:
    return frozenset(s.id for s in asked)
