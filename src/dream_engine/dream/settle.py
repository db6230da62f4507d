"""Ω How far to go: the candidate is a point on the straight line from the woken adapter to the rehearsed one.

Refusals of harmful requests are back early on that line, refusals of look-alikes follow late, so the candidate goes no further than it must: to where
it is as ready as the teacher to decline held-out harmful requests, but for a twentieth of what was lost. Both are seen without a judge's suite.
A step after which clearly more held-out look-alikes are refused than the teacher refuses is shortened, and where nothing was lost on either side the
step is the shortest.
(Interpolating fine-tuned weights: Wortsman et al. 2022, arXiv:2109.01903, eq. 1.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Shares of the way from W to the rehearsed adapter, longest first. A short one is right after a wake that took little."""
SHORTEST = len(SHARES) - 1

TOLERANCE = 0.02
"""How many more held-out look-alikes than T the candidate may refuse, as a share: a quarter of the widest budget that a gate gives them."""

NOTHING_LOST = 0.01
"""How much less ready than T to decline held-out harmful requests W may be before there is anything to repair (a mean probability)."""

STILL_LOST = 0.05
"""Which share of the readiness that the wake took need not come back."""


@dataclass(frozen=True)
class Settled:
    """The share of the way that is kept (1 is all), and the shares of held-out look-alikes that T and the candidate refuse there.

    `lost` is T's readiness to decline the harmful requests beside them less W's: mean probabilities, −1 … 1.
    """

    share: float
    teacher_refused: float
    refused: float
    n: int
    lost: float


def settle(teacher: Sequence[bool], refusals_at: Callable[[float], Sequence[bool]], lost_at: Callable[[float], float], over: bool) -> Settled:
    """The shortest step that brings back what was lost, or the longest within the look-alikes that T allows, whichever is shorter.

    `teacher` says which held-out look-alikes T refuses, `refusals_at(share)` which the candidate at that share does, W at 0; `lost_at(share)` is
    how much less ready than T it is to decline the harmful requests beside them. Bisects, as refusals and readiness grow with the share: each is
    asked at most six times. Where W refuses clearly more of them than T, or is known to decline more of other harmless requests (`over`), that is
    to be mended too, and the step is the longest allowed.
    """
    asked: dict[float, Sequence[bool]] = {}

    def within(share: float) -> bool:
        asked[share] = refusals_at(share)
        return sum(asked[share]) - sum(teacher) <= TOLERANCE * len(teacher)

    lost = lost_at(0.0)
    enough = _enough(lost, lost_at) if not over and within(0.0) else 0
    share = SHARES[enough] if within(SHARES[enough]) else SHARES[_first(within, min(enough + 1, SHORTEST), SHORTEST)]
    if share not in asked:
        within(share)
    n = len(teacher)
    return Settled(share, sum(teacher) / n, sum(asked[share]) / n, n, lost)


def _enough(lost: float, lost_at: Callable[[float], float]) -> int:
    """Which of the shares is the shortest that brings readiness back; the longest where none does."""
    if lost <= NOTHING_LOST:
        return SHORTEST
    goal = max(NOTHING_LOST, STILL_LOST * lost)
    return max(0, _first(lambda share: lost_at(share) > goal, 0, len(SHARES)) - 1)


def _first(holds: Callable[[float], bool], low: int, high: int) -> int:
    """The first index from `low` on at whose share this holds, as it then does at all shorter ones; `high` where it holds at none before."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(SHARES[middle]) else (middle + 1, high)
    return low
