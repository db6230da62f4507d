"""Continual-learning metrics as pure functions of one accuracy matrix. No model, no torch.

`matrix[i][j]` is the accuracy on context j after learning context i, `untrained[j]` that of the untrained learner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from dream_engine.types import Interval, Measured, Missing

Matrix = Sequence[Sequence[float]]
STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Quantiles of Student's t for 1 to 9 degrees of freedom."""


def average_accuracy(matrix: Matrix) -> float:
    """Mean over contexts after the last one, 0 … 1 (Lopez-Paz & Ranzato 2017, eq. 2)."""
    return mean(matrix[-1])


def forgetting(matrix: Matrix) -> float | Missing:
    """Mean over all contexts but the last of (best accuracy before the end − accuracy at the end), −1 … 1 (Chaudhry 2018, eq. 3).

    The best is looked for from the moment at which the context was learned. With one context nothing can be forgotten: missing, not 0.
    """
    if len(matrix) < 2:
        return Missing("one context only: nothing came after it that could make it forgotten")
    last = len(matrix) - 1
    return mean(max(matrix[i][j] for i in range(j, last)) - matrix[last][j] for j in range(last))


def backward_transfer(matrix: Matrix) -> float | Missing:
    """Mean of (accuracy at the end − accuracy right after learning), all contexts but the last (Lopez-Paz & Ranzato 2017, eq. 3)."""
    if len(matrix) < 2:
        return Missing("one context only: nothing came after it")
    return mean(matrix[-1][j] - matrix[j][j] for j in range(len(matrix) - 1))


def forward_transfer(matrix: Matrix, untrained: Sequence[float]) -> float | Missing:
    """Mean of (accuracy right before learning a context − untrained accuracy), all contexts but the first (eq. 4 there)."""
    if len(matrix) < 2:
        return Missing("one context only: nothing came before it")
    return mean(matrix[j - 1][j] - untrained[j] for j in range(1, len(matrix)))


def retention(matrix: Matrix, context: int = 0) -> float | Missing:
    """Final accuracy of a context as a share of its initial one (Kim 2025); missing when the initial one is 0."""
    initial = matrix[context][context]
    return matrix[-1][context] / initial if initial else Missing("the context was never learned")


def initial_accuracy(matrix: Matrix) -> float:
    """Mean over contexts of the accuracy right after learning each, 0 … 1 (Kim 2025)."""
    return mean(matrix[i][i] for i in range(len(matrix)))


def overlap(activity: Sequence[Sequence[float]]) -> float | Missing:
    """Mean cosine between the contexts' mean hidden activity, over all pairs of contexts: −1 … 1, 1 when they cannot be told apart inside.

    Kim (2025) speaks of a blur of representations; this is our measure of it, for activity (contexts, H).
    """
    if len(activity) < 2:
        return Missing("overlap needs the hidden activity of two contexts")
    pairs = [(activity[i], activity[j]) for i in range(len(activity)) for j in range(i)]
    return mean(sum(a * b for a, b in zip(x, y, strict=True)) / max(math.hypot(*x) * math.hypot(*y), 1e-12) for x, y in pairs)


def over_seeds(values: Sequence[float]) -> Measured:
    """Mean over seeds with Student's 95 % interval; with one seed the interval is unknown and so infinite."""
    if not values:
        return Missing("no run ended")
    if len(values) == 1:
        return Interval(values[0], -math.inf, math.inf, 1)
    half = STUDENT_975[min(len(values), 10) - 2] * stdev(values) / math.sqrt(len(values))
    return Interval(mean(values), mean(values) - half, mean(values) + half, len(values))


def macro_f1(predicted: Sequence[int], right: Sequence[int]) -> float | Missing:
    """Mean over the classes that occur of 2·tp / (2·tp + fp + fn): a rare class weighs as much as a frequent one."""
    if not right:
        return Missing("no examples")
    found = []
    for label in sorted(set(right)):
        hits = sum(p == r == label for p, r in zip(predicted, right, strict=True))
        found.append(2 * hits / (sum(p == label for p in predicted) + sum(r == label for r in right)))
    return mean(found)
