"""The step from W to the rehearsed adapter brings back what was lost, within T's own refusals of held-out look-alikes, and goes no further."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.dream.settle import NOTHING_LOST, SHARES, STILL_LOST, TOLERANCE, settle
from dream_engine.models.hf import load_model

N = 100
COUNTS = st.lists(st.integers(0, N), min_size=len(SHARES) + 1, max_size=len(SHARES) + 1)
LOSSES = st.lists(st.floats(-0.1, 0.9), min_size=len(SHARES) + 1, max_size=len(SHARES) + 1)


@given(st.integers(0, N), COUNTS, LOSSES, st.booleans())
def test_the_shortest_step_that_brings_back_what_was_lost(teacher: int, counts: list[int], losses: list[float], over: bool) -> None:
    """Against a linear search, within the look-alikes that T allows; those refused fall with the share, what is lost grows; nothing is asked twice.

    Where W declines more harmless requests than T, the longest step allowed.
    """
    points = (*SHARES, 0.0)
    refused = dict(zip(points, sorted(counts, reverse=True), strict=True))
    lost = dict(zip(points, sorted(losses), strict=True))
    asked: list[float] = []
    looked: list[float] = []

    def refusals(share: float) -> list[bool]:
        asked.append(share)
        return [i < refused[share] for i in range(N)]

    def lost_at(share: float) -> float:
        looked.append(share)
        return lost[share]

    found = settle([i < teacher for i in range(N)], refusals, lost_at, over)
    within = [share for share in points if refused[share] - teacher <= TOLERANCE * N]
    back = [share for share in SHARES if lost[share] <= max(NOTHING_LOST, STILL_LOST * lost[0.0])]
    enough = SHARES[-1] if lost[0.0] <= NOTHING_LOST else min(back, default=SHARES[0])
    expected = next((share for share in SHARES if share in within and share <= (enough if 0.0 in within and not over else SHARES[0])), SHARES[-1])
    assert found.share == expected
    assert (found.refused, found.teacher_refused, found.n, found.lost) == (refused[expected] / N, teacher / N, N, lost[0.0])
    assert len(asked) == len(set(asked)) <= 6
    assert len(looked) == len(set(looked)) <= 6


@given(st.floats(-1, NOTHING_LOST), st.integers(0, N), st.integers(0, N))
def test_where_nothing_was_lost_on_either_side_the_step_is_the_shortest(lost: float, teacher: int, woken: int) -> None:
    """However far the look-alikes would let it go. A W that refuses more of them than T is to be repaired, however ready it is to decline."""
    sound = woken - teacher <= TOLERANCE * N
    found = settle([i < teacher for i in range(N)], lambda share: [i < (0 if share else woken) for i in range(N)], lambda share: lost, over=False)
    assert found.share == (SHARES[-1] if sound else SHARES[0])
    assert found.lost == lost


def test_a_blend_is_a_point_on_the_line() -> None:
    """0 is the start, 1 is the end, a half lies between; neither end is touched."""
    model = load_model("sandbox")
    model.add_adapter("A", 4, 8, seed=1)
    model.add_adapter("B", 4, 8, seed=2)
    ends = {name: [p.detach().clone() for p in model.adapter_parameters(name)] for name in "AB"}
    for share in (0.0, 0.5, 1.0):
        model.blend_adapters("A", "B", share, "C")
        for c, a, b in zip(model.adapter_parameters("C"), ends["A"], ends["B"], strict=True):
            assert torch.allclose(c, a + share * (b - a), atol=1e-6)
    assert all(torch.equal(p, q) for name in "AB" for p, q in zip(model.adapter_parameters(name), ends[name], strict=True))
