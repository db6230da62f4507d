"""Ψ Intervals and tests as pure functions of numbers. No model, no file, no torch.

Every interval over prompts resamples whole clusters (paraphrases and twins travel together), because prompts of one cluster
rise and fall together and counting them singly would make every interval too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from dream_engine.types import Interval

RESAMPLES = 2000


def wilson(successes: int, n: int, z: float = 1.959964) -> Interval:
    """Wilson score interval of a rate (Wilson 1927, eq. for the score test inverted); range [0, 1].

    Raises:
        ValueError: n is 0 or successes lie outside [0, n].
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"a rate needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    rate, z2 = successes / n, z * z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half), n)


def cluster_bootstrap(
    values: Sequence[float], clusters: Sequence[str], seed: int, weights: Sequence[float] | None = None, level: float = 0.95
) -> Interval:
    """Mean (weighted, if weights are given) with a percentile interval from resampling whole clusters.

    For a paired difference pass the differences. A single cluster gives an unbounded interval, since nothing can be said.

    Raises:
        ValueError: no values, a value that is not finite, or lengths that differ.
    """
    sums, sizes = _cluster_sums(values, clusters, weights)
    point = float(sums.sum() / sizes.sum())
    if len(sums) < 2:
        return Interval(point, -math.inf, math.inf, len(values))
    means = _resampled_means(sums, sizes, seed)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(point, float(low), float(high), len(values))


def sign_flip_noise(differences: Sequence[float], clusters: Sequence[str], seed: int) -> float:
    """95th percentile of |mean| when before and after are swapped at random, cluster by cluster, their mean difference taken out first.

    What a drift of zero would look like on these very prompts: the noise floor of the quick profile. With the difference left in, a large gain
    would be a large noise.
    """
    sums, sizes = _cluster_sums(differences, clusters, None)
    around = sums - sizes * sums.sum() / sizes.sum()
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(RESAMPLES, len(sums)))
    return float(np.quantile(np.abs(signs @ around) / sizes.sum(), 0.95))


def mcnemar_exact(worse: int, better: int) -> float:
    """One-sided exact McNemar p: the chance of at least `worse` of all flips going that way if both ways were alike."""
    n = worse + better
    if n == 0:
        return 1.0
    return float(sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n)


def needed_n(half_width: float, n: int, room: float) -> int:
    """How many items would shrink an interval of `half_width` at `n` items to `room`, as widths fall with √n."""
    if room <= 0 or not math.isfinite(half_width):
        return 0
    return math.ceil(n * (half_width / room) ** 2)


Z_GATE = 1.644854
"""The one-sided 95 % point of the normal distribution, at which every test of the gate stands."""


def detectable(n: int, flips: float, power: float = 0.8) -> float:
    """The smallest margin that n prompts can pass or fail when nothing changed, with that power; a share in 0 … 1.

    `flips` of the prompts change each way by chance, so one difference has variance 2·flips. Non-inferiority of paired shares
    (Chow, Shao & Wang 2008, §4.2): (z₀.₉₅ + z_power) √(2 flips / n).

    Raises:
        ValueError: n below 2, flips outside (0, 0.5] or power outside (0, 1).
    """
    if n < 2 or not 0 < flips <= 0.5 or not 0 < power < 1:
        raise ValueError(f"n ≥ 2, 0 < flips ≤ 0.5 and 0 < power < 1 are needed, got {n}, {flips}, {power}")
    return (Z_GATE + NormalDist().inv_cdf(power)) * math.sqrt(2 * flips / n)


def prompts_needed(margin: float, flips: float, power: float = 0.8) -> int:
    """The inverse of `detectable`: how many prompts decide a margin.

    Raises:
        ValueError: the margin is not above 0, or as for `detectable`.
    """
    if margin <= 0:
        raise ValueError(f"the margin must be above 0, got {margin}")
    return math.ceil(2 * (detectable(2, flips, power) / margin) ** 2)


def brier(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Mean squared error of predicted probabilities, 0 (perfect) to 1."""
    p, y = np.asarray(probabilities, float), np.asarray(outcomes, float)
    return float(np.mean((p - y) ** 2))


def fit_curve(scores: Sequence[float], outcomes: Sequence[bool]) -> tuple[float, float]:
    """Slope and offset of the logistic curve by Newton's method, with Platt's smoothed targets and a weak ridge."""
    x = np.column_stack([np.asarray(scores, float), np.ones(len(scores))])
    y = np.asarray(outcomes, float)
    target = np.where(y > 0, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    w = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - target) + 1e-3 * w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2), gradient)
        w -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-8:
            break
    return float(w[0]), float(w[1])


def sigmoid(x: float) -> float:
    """1 / (1 + exp(−x)), safe for any x."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, x))))


def reliability(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean predicted, share that happened, n) of each tenth of [0, 1] that holds a prediction: the points of a reliability diagram."""
    p, y = np.asarray(probabilities, float), np.asarray(outcomes, float)
    index = np.minimum((p * bins).astype(int), bins - 1)
    return [(float(p[index == b].mean()), float(y[index == b].mean()), int((index == b).sum())) for b in range(bins) if (index == b).any()]


def calibration_error(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> float:
    """ECE: the mean gap between predicted and happened over the bins, weighted by their size (Guo et al. 2017, eq. 3); 0 … 1."""
    points = reliability(probabilities, outcomes, bins)
    return sum(abs(p - y) * n for p, y, n in points) / max(1, sum(n for _, _, n in points))


def auroc(scores: Sequence[float], outcomes: Sequence[bool]) -> float | None:
    """Chance that a random positive scores above a random negative (ties count half); None with one class only."""
    s, y = np.asarray(scores, float), np.asarray(outcomes, bool)
    if y.all() or not y.any():
        return None
    positive, negative = s[y][:, None], s[~y][None, :]
    return float(np.mean((positive > negative) + 0.5 * (positive == negative)))


def _cluster_sums(values: Sequence[float], clusters: Sequence[str], weights: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(values, float)
    w = np.ones_like(x) if weights is None else np.asarray(weights, float)
    if not len(x) or len(x) != len(clusters) or len(x) != len(w):
        raise ValueError(f"{len(x)} values, {len(clusters)} clusters, {len(w)} weights: all must be equal and above 0")
    if not np.isfinite(x).all() or not np.isfinite(w).all():
        raise ValueError("a value is NaN or infinite")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(index, x * w), np.bincount(index, w)


def _resampled_means(sums: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    return np.asarray((counts @ sums) / np.maximum(counts @ sizes, 1e-12))
