"""Intervals and tests against hand-computed values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.judge.stats import (
    auroc,
    brier,
    calibration_error,
    cluster_bootstrap,
    detectable,
    mcnemar_exact,
    needed_n,
    prompts_needed,
    reliability,
    sign_flip_noise,
    wilson,
)


def test_wilson_of_zero_successes_starts_at_zero_and_ends_above() -> None:
    """0 of 10: upper end z²/(n+z²) = 3.8415/13.8415 = 0.2775."""
    interval = wilson(0, 10)
    assert interval.low == 0
    assert interval.high == pytest.approx(0.2775, abs=1e-4)


def test_wilson_refuses_an_empty_denominator() -> None:
    """A rate over nothing is an error, not 0."""
    with pytest.raises(ValueError, match="n > 0"):
        wilson(0, 0)


def test_mcnemar_is_the_binomial_tail() -> None:
    """7 against 1: (C(8,7) + C(8,8)) / 2⁸ = 9/256; no flips at all say nothing."""
    assert mcnemar_exact(7, 1) == pytest.approx(9 / 256)
    assert mcnemar_exact(0, 0) == 1.0


def test_bootstrap_is_wider_when_items_come_in_clusters() -> None:
    """Ten clusters of ten equal items know as much as ten items, not as a hundred."""
    values = [float(i // 10 % 2) for i in range(100)]
    clustered = cluster_bootstrap(values, [str(i // 10) for i in range(100)], seed=0)
    single = cluster_bootstrap(values, [str(i) for i in range(100)], seed=0)
    assert clustered.value == single.value == 0.5
    assert clustered.high - clustered.low > 2 * (single.high - single.low)


def test_bootstrap_of_one_cluster_is_unbounded() -> None:
    """One cluster cannot be resampled, so nothing is excluded."""
    assert cluster_bootstrap([1.0, 0.0], ["a", "a"], seed=0).high == math.inf


def test_bootstrap_refuses_nan() -> None:
    """A NaN never becomes a number."""
    with pytest.raises(ValueError, match="NaN"):
        cluster_bootstrap([1.0, math.nan], ["a", "b"], seed=0)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40), st.integers(0, 1000))
def test_bootstrap_interval_holds_its_point(values: list[float], seed: int) -> None:
    """low ≤ high, both within the data's range, and the same seed gives the same interval."""
    clusters = [str(i) for i in range(len(values))]
    interval = cluster_bootstrap(values, clusters, seed)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval == cluster_bootstrap(values, clusters, seed)


def test_noise_of_no_change_is_zero() -> None:
    """Identical answers leave no noise, nor does one and the same change of all; one flip among ten leaves at most its parts, 0.9 and 9 times 0.1."""
    apart = [str(i) for i in range(10)]
    assert sign_flip_noise([0.0] * 10, apart, seed=0) == 0
    assert sign_flip_noise([1.0] * 10, apart, seed=0) == 0
    assert 0.1 <= sign_flip_noise([1.0] + [0.0] * 9, apart, seed=0) <= 0.18


@given(st.lists(st.integers(-1, 1), min_size=2, max_size=40), st.floats(-1, 1), st.integers(0, 100))
def test_noise_does_not_grow_with_a_gain(flips: list[int], gain: float, seed: int) -> None:
    """What a drift of zero would look like does not depend on how large the drift was: changing every item by the same amount leaves it as it is."""
    clusters = [str(i // 2) for i in range(len(flips))]
    moved = sign_flip_noise([flip + gain for flip in flips], clusters, seed)
    assert moved == pytest.approx(sign_flip_noise([float(f) for f in flips], clusters, seed), abs=1e-9)


def test_auroc_and_brier_by_hand() -> None:
    """Scores .9 .4 | .5 .1: three of four pairs in order; Brier of (.8,1) and (.4,0) = (.04 + .16) / 2."""
    assert auroc([0.9, 0.4, 0.5, 0.1], [True, True, False, False]) == 0.75
    assert auroc([0.9, 0.4], [True, True]) is None
    assert brier([0.8, 0.4], [True, False]) == pytest.approx(0.1)


def test_needed_n_grows_with_the_square() -> None:
    """Half the width needs four times the items; no room at all cannot be bought with items."""
    assert needed_n(0.08, 150, 0.04) == 600
    assert needed_n(0.08, 150, 0.0) == 0


def test_power_against_the_normal_formula() -> None:
    """(1.645 + 0.842)·√(0.2 / 150) = 0.0908; the inverse gives the same n back; impossible questions are refused."""
    assert detectable(150, 0.1) == pytest.approx((1.644854 + 0.841621) * math.sqrt(0.2 / 150), rel=1e-5)
    assert prompts_needed(detectable(600, 0.1), 0.1) in (600, 601)
    for n, flips, power in ((1, 0.1, 0.8), (10, 0.0, 0.8), (10, 0.6, 0.8), (10, 0.1, 1.0)):
        with pytest.raises(ValueError, match="needed, got"):
            detectable(n, flips, power)
    with pytest.raises(ValueError, match="above 0"):
        prompts_needed(0, 0.1)


def test_calibration_by_hand() -> None:
    """Two at .05 of which none, two at .95 of which one happened: gaps .05 and .45, each half the weight."""
    p, y = [0.05, 0.05, 0.95, 0.95], [False, False, True, False]
    assert reliability(p, y) == [(pytest.approx(0.05), 0.0, 2), (pytest.approx(0.95), 0.5, 2)]
    assert calibration_error(p, y) == pytest.approx(0.25)
    assert calibration_error([1.0], [True]) == 0
