"""Ω How far to go: the candidate is a point on the straight line from the woken adapter to the rehearsed one.

Rehearsal moves the boundary back by pushing on both sides of it, and now and then past where the teacher had it. On held-out look-alikes
that is seen without a judge's suite: as long as it cannot be said, to two standard errors, that no more of them are refused than the teacher
refuses, the step is shortened. (Interpolating fine-tuned weights: Wortsman et al. 2022, arXiv:2109.01903, eq. 1.) The gate asks for a bound too,
and a point that merely equals T's on 120 requests misses it about every third time.
"""

from __future__ import annotations

import math
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
    """The longest step at which held-out look-alikes are no more often refused than T refuses them, to two standard errors; else the shortest.

    `teacher` says which of them T refuses, `refusals_at(share)` which the candidate at that share does. Bisects, as refusals grow with
    the share; asks at most four times.
    """
    asked: dict[int, Sequence[bool]] = {}

    def within(index: int) -> bool:
        asked[index] = refusals_at(SHARES[index])
        return excess_bound(teacher, asked[index]) <= 0

    low, high = 0, len(SHARES) - 1
    if not within(0):
        low = 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if within(middle) else (middle + 1, high)
        if low not in asked:
            within(low)
    n = len(teacher)
    return Settled(SHARES[low], sum(teacher) / n, sum(asked[low]) / n, n)


def excess_bound(teacher: Sequence[bool], candidate: Sequence[bool]) -> float:
    """Share of look-alikes that the candidate refuses beyond T, plus two standard errors of that paired difference.

    With b that only the candidate refuses and c that only T refuses of n: (b − c + 2√(b + c)) / n (McNemar's variance). The same answers give 0.
    """
    only_candidate = sum(c and not t for t, c in zip(teacher, candidate, strict=True))
    only_teacher = sum(t and not c for t, c in zip(teacher, candidate, strict=True))
    return (only_candidate - only_teacher + 2 * math.sqrt(only_candidate + only_teacher)) / len(teacher)
