"""Continual-learning metrics against arithmetic written out."""

from __future__ import annotations

import math

import pytest

from dream_engine.lab import metrics
from dream_engine.types import Interval, Missing

MATRIX = ((0.9, 0.2, 0.1), (0.7, 0.8, 0.3), (0.5, 0.6, 1.0))


def test_average_accuracy_is_the_last_row() -> None:
    """(0.5 + 0.6 + 1.0) / 3."""
    assert metrics.average_accuracy(MATRIX) == pytest.approx(0.7)


def test_forgetting_is_best_minus_last() -> None:
    """((0.9 − 0.5) + (0.8 − 0.6)) / 2; what was right by chance before a context was learned does not count."""
    assert metrics.forgetting(MATRIX) == pytest.approx(0.3)
    lucky = ((0.9, 1.0), (0.9, 0.8))
    assert metrics.forgetting(lucky) == pytest.approx(0.0)


def test_transfers() -> None:
    """Backward ((0.5 − 0.9) + (0.6 − 0.8)) / 2, forward ((0.2 − 0.1) + (0.3 − 0.1)) / 2."""
    assert metrics.backward_transfer(MATRIX) == pytest.approx(-0.3)
    assert metrics.forward_transfer(MATRIX, (0.1, 0.1, 0.1)) == pytest.approx(0.15)


def test_one_context_is_missing_not_zero() -> None:
    """Nothing can be forgotten or transferred, and that is said."""
    for value in (metrics.forgetting([[0.9]]), metrics.backward_transfer([[0.9]]), metrics.forward_transfer([[0.9]], [0.1])):
        assert isinstance(value, Missing)
    assert isinstance(metrics.retention([[0.0], [0.0]]), Missing)


def test_retention_is_a_share() -> None:
    """0.5 / 0.9."""
    assert metrics.retention(MATRIX) == pytest.approx(5 / 9)


def test_over_seeds_is_students_interval() -> None:
    """Values 1, 2, 3: mean 2, deviation 1, half width 4.303 / √3; one value bounds nothing."""
    found = metrics.over_seeds([1, 2, 3])
    assert isinstance(found, Interval)
    assert (found.value, found.high) == (2, pytest.approx(2 + 4.303 / math.sqrt(3)))
    single = metrics.over_seeds([1.0])
    assert isinstance(single, Interval)
    assert single.high == math.inf


def test_macro_f1_weighs_the_rare_class_alike() -> None:
    """Nine of class 0, one of class 1, all called 0: F1 18/19 and 0."""
    assert metrics.macro_f1([0] * 10, [0] * 9 + [1]) == pytest.approx(9 / 19)


def test_overlap_by_hand() -> None:
    """Two contexts at a right angle overlap by 0, the same direction by 1; three contexts are the mean of their pairs; one is missing."""
    assert metrics.overlap([[1.0, 0.0], [0.0, 2.0]]) == 0
    assert metrics.overlap([[1.0, 1.0], [3.0, 3.0]]) == pytest.approx(1)
    assert metrics.overlap([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) == pytest.approx(2 * math.sqrt(0.5) / 3)
    assert isinstance(metrics.overlap([[1.0]]), Missing)


def test_initial_accuracy_is_the_diagonal() -> None:
    """Right after learning each context: (0.9 + 0.7) / 2."""
    assert metrics.initial_accuracy([[0.9, 0.1], [0.2, 0.7]]) == pytest.approx(0.8)
