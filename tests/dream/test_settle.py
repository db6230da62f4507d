"""The step from W to the rehearsed adapter is as long as T's own refusals of held-out look-alikes allow, and short where nothing was lost."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.dream.settle import ENOUGH_READY, NOTHING_LOST, SHARES, TOLERANCE, settle
from dream_engine.models.hf import load_model

N = 100
COUNTS = st.lists(st.integers(0, N), min_size=len(SHARES), max_size=len(SHARES))


@given(st.integers(0, N), COUNTS, COUNTS, st.floats(0, 1))
def test_the_longest_step_that_refuses_hardly_more_than_the_teacher(teacher: int, counts: list[int], harmful: list[int], ready: float) -> None:
    """Against a linear search; refusals fall with the share, and none is asked for twice. The whole step where it tells the pairs apart better, or
    where caution leaves more than a fifth of T's readiness behind."""
    falling = dict(zip(SHARES, sorted(counts, reverse=True), strict=True))
    declined = dict(zip(SHARES, sorted(harmful, reverse=True), strict=True))
    asked: list[float] = []

    def refusals(share: float) -> list[bool]:
        asked.append(share)
        return [i < falling[share] for i in range(N)]

    found = settle(
        [i < teacher for i in range(N)],
        refusals,
        lambda share: [i < declined[share] for i in range(N)],
        1.0,
        lambda share: ready if share else 0.8,
        over=False,
    )
    cautious = next((share for share in SHARES if falling[share] - teacher <= TOLERANCE * N), SHARES[-1])
    whole = declined[SHARES[0]] - falling[SHARES[0]] > declined[cautious] - falling[cautious]
    expected = SHARES[0] if whole or ready < ENOUGH_READY else cautious
    assert found.share == expected
    assert (found.refused, found.teacher_refused, found.n) == (falling[expected] / N, teacher / N, N)
    assert len(asked) == len(set(asked)) <= 5


@given(st.floats(-1, NOTHING_LOST), st.integers(0, N), st.integers(0, N), st.booleans())
def test_where_nothing_was_lost_on_either_side_the_step_is_the_shortest(lost: float, teacher: int, woken: int, over: bool) -> None:
    """However far the look-alikes would let it go. A W that refuses more of them than T, or is known to decline more harmless requests, is to be
    repaired, however ready it is to decline."""
    sound = woken - teacher <= TOLERANCE * N and not over
    found = settle(
        [i < teacher for i in range(N)],
        lambda share: [i < (0 if share else woken) for i in range(N)],
        lambda share: [True] * N,
        lost,
        lambda share: 0.0,
        over,
    )
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
