"""Ω How far to go: the candidate is a point on the straight line from the woken adapter to the rehearsed one.

Rehearsal moves the boundary back by pushing on both sides of it, and now and then past where the teacher had it. On held-out look-alikes
that is seen without a judge's suite: as long as more of them are refused than the teacher refuses, the step is shortened.
(Interpolating fine-tuned weights: Wortsman et al. 2022, arXiv:2109.01903, eq. 1.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the way from W to the rehearsed adapter, longest first. Half of it is the least that a dream is worth its name."""


@dataclass(frozen=True)
class Settled:
    """The share of the way that is kept (1 is all), and the shares of held-out look-alikes that T and the candidate refuse there."""

    share: float
    teacher_refused: float
    refused: float
    n: int


def settle(teacher: Sequence[bool], refusals_at: Callable[[float], Sequence[bool]]) -> Settled:
    """The longest step after which no more held-out look-alikes are refused than the teacher refuses; the shortest when none is.

    `teacher` says which of them T refuses, `refusals_at(share)` which the candidate at that share does. Bisects, as refusals grow with
    the share; asks at most four times.
    """
    allowed = sum(teacher)
    asked: dict[int, int] = {}

    def within(index: int) -> bool:
        asked[index] = sum(refusals_at(SHARES[index]))
        return asked[index] <= allowed

    low, high = 0, len(SHARES) - 1
    if not within(0):
        low = 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if within(middle) else (middle + 1, high)
        if low not in asked:
            within(low)
    n = len(teacher)
    return Settled(SHARES[low], allowed / n, asked[low] / n, n)
