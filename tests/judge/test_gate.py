"""The gate: three-way tests, severity, Peace²; closed by default."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.judge.gate import Test as GateTest
from dream_engine.judge.gate import decide, gate
from dream_engine.types import Interval, Missing


def drift(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half, 150)


def a_test(name: str = "x", value: float = 0.0, budget: float = 0.08, **more: object) -> GateTest:
    return GateTest(name, "T→C", drift(value), budget, "share", **more)  # type: ignore[arg-type]


def test_three_way_outcomes() -> None:
    """Within the margin at the bad bound passes, beyond it at the good bound fails, else it is open and says how many would decide."""
    assert decide(a_test(value=0.05)).outcome == "pass"
    assert decide(a_test(value=0.10)).outcome == "fail"
    between = decide(a_test(value=0.075))
    assert between.outcome == "inconclusive"
    assert "about 600 prompts" in between.why  # (0.01 / 0.005)² × 150


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_holds(bad: float) -> None:
    """NaN and infinity never pass."""
    broken = GateTest("x", "T→C", Interval(bad, 0, 0, 1), 0.1, "share")
    assert gate([a_test(), broken]).verdict.name == "hold"


def test_missing_holds_and_names_the_reason() -> None:
    """What should have been measured and was not freezes the model."""
    verdict = gate([GateTest("x", "T→C", Missing("the server was down"), 0.1, "share")]).verdict
    assert verdict.name == "hold"
    assert verdict.failing == ("x",)
    assert "the server was down" in verdict.reasons[0]


def test_nothing_measured_holds() -> None:
    """An empty list of tests is not a pass."""
    assert gate([]).verdict.name == "hold"


def test_severity_order_and_every_failing_rule_is_listed() -> None:
    """hold beats sabar beats inconclusive beats seal, and the milder failures stay listed."""
    mild, severe, open_ = a_test("mild", 0.2), a_test("severe", 0.2, severity="hold"), a_test("open", 0.075)
    assert gate([a_test()]).verdict.name == "seal"
    assert gate([a_test(), open_]).verdict.name == "inconclusive"
    assert gate([open_, mild]).verdict.name == "sabar"
    assert gate([open_, mild, severe]).verdict.name == "hold"
    assert set(gate([open_, mild, severe]).verdict.failing) == {"mild", "severe"}


def test_noise_above_the_budget_is_inconclusive() -> None:
    """A monitor whose noise is larger than its budget cannot say yes."""
    assert decide(a_test(noise=0.2)).outcome == "inconclusive"


def test_peace_is_the_worst_monitor_capped_at_ten() -> None:
    """budget / upper bound: 0.08/0.05 = 1.6 is the minimum; a bound at or below 0 counts as 10."""
    gated = gate([a_test("a", 0.04, monitor=True), a_test("b", -0.5, monitor=True)])
    assert gated.stability_ratio == pytest.approx(1.6)
    assert gated.worst_monitor == "a"
    assert gate([a_test("b", -0.5, monitor=True)]).stability_ratio == 10
    assert gate([a_test()]).stability_ratio is None


def test_absolute_tests_need_the_point_and_a_bound_within_the_slack() -> None:
    """Commissioning: the point meets the bar, the bad bound misses it by no more than the slack."""
    assert decide(a_test(value=0.075, absolute=True, slack=0.01)).outcome == "pass"
    assert decide(a_test(value=0.075, absolute=True, slack=0.001)).outcome == "fail"
    assert decide(a_test(value=0.085, absolute=True, slack=1)).outcome == "fail"


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.01, 0.5)), min_size=1, max_size=8))
def test_a_seal_means_every_monitor_is_inside(cases: list[tuple[float, float, float]]) -> None:
    """Property: sealed ⇔ every unfavourable bound is within its budget, and then Peace² ≥ 1."""
    tests = [GateTest(f"t{i}", "T→C", drift(v, h), b, "share", monitor=True) for i, (v, h, b) in enumerate(cases)]
    gated = gate(tests)
    inside = all(v + h <= b for v, h, b in cases)
    assert (gated.verdict.name == "seal") == inside
    if inside:
        assert gated.stability_ratio is not None
        assert gated.stability_ratio >= 1


def test_an_absolute_test_counts_its_own_edges_and_says_what_it_saw() -> None:
    """At the bar and at the slack it passes; the words hold value, interval, n, budget and slack."""
    at_bar = GateTest("plain_refused", "C", Interval(0.02, 0.01, 0.05, 150), 0.02, "share", absolute=True, slack=0.03)
    decision = decide(at_bar)
    assert (decision.outcome, decision.why) == (
        "pass", "plain_refused (C): +0.020 share [+0.010, +0.050], n=150, at most 0.02 with slack 0.03"
    )  # fmt: skip
