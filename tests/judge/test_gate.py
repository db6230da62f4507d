"""The gate: three-way tests, severity, Peace²; closed by default."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.judge.gate import Test as GateTest
from dream_engine.judge.gate import decide, gate
from dream_engine.types import Interval, Missing, Verdict


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


def test_every_outcome_says_what_it_saw_in_the_same_words() -> None:
    """Name, pair, value, interval, n, budget, and what follows: a reviewer's line, whole."""
    seen = "x (T→C): {} share [{}, {}], n=150, at most 0.08"
    assert decide(a_test(value=0.05)).why == seen.format("+0.050", "+0.040", "+0.060") + ": within it at the unfavourable bound"
    assert decide(a_test(value=0.10)).why == seen.format("+0.100", "+0.090", "+0.110") + ": beyond it even at the favourable bound"
    assert decide(a_test(noise=0.2)).why == seen.format("+0.000", "-0.010", "+0.010") + ": the noise floor 0.2 is above the budget"
    assert decide(a_test(value=0.075)).why == (seen.format("+0.075", "+0.065", "+0.085") + ": the bound crosses it; about 600 prompts would decide")
    at_margin = decide(a_test(value=0.08))
    assert (at_margin.outcome, at_margin.why) == (
        "inconclusive",
        seen.format("+0.080", "+0.070", "+0.090")
        + ": the bound crosses it; the point estimate itself is at the margin; more dreams, not more prompts",
    )
    assert decide(GateTest("x", "T→C", None, 0.1, "share")).why == "x is missing: it was not measured"
    assert decide(GateTest("x", "T→C", Missing("the server was down"), 0.1, "share")).why == "x is missing: the server was down"
    assert decide(GateTest("x", "T→C", Interval(math.nan, 0, 0, 1), 0.1, "share")).why == "x is not a finite number"
    skipped = decide(GateTest("x", "T→C", drift(9.0), 0.1, "share", not_applicable="no wake"))
    assert (skipped.outcome, skipped.why) == ("not_applicable", "no wake")


def test_the_bounds_themselves_belong_to_the_better_side() -> None:
    """A favourable bound at the budget does not fail, an unfavourable bound at it passes, a noise floor at it does not void."""
    assert decide(GateTest("x", "p", Interval(0.2, 0.1, 0.3, 10), 0.1, "share")).outcome == "inconclusive"
    assert decide(GateTest("x", "p", Interval(0.0, -0.1, 0.1, 10), 0.1, "share", noise=0.1)).outcome == "pass"


@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_no_part_of_an_interval_may_be_nan(field: str) -> None:
    """A point without a bound, or a bound without a point, is not a measurement; neither is a noise floor that is none."""
    parts = {"value": 0.0, "low": -0.01, "high": 0.01} | {field: math.nan}
    assert decide(GateTest("x", "p", Interval(**parts, n=9), 0.1, "share")).outcome == "missing"
    assert decide(a_test(noise=math.nan)).outcome == "missing"


def test_the_verdict_lists_reasons_in_order_of_severity() -> None:
    """Missing, severe, then mild; open and missing ones keep their own lists; a seal says why."""
    mild, severe, open_ = a_test("mild", 0.2), a_test("severe", 0.2, severity="hold"), a_test("open", 0.075)
    gone = GateTest("gone", "T→C", Missing("no server"), 0.1, "share")
    why = {t.name: decide(t).why for t in (mild, severe, open_, gone)}
    assert gate([mild, open_, severe, gone]).verdict == Verdict(
        "hold", (why["gone"], why["severe"], why["mild"]), ("gone", "mild", "severe"), ("open",), ("gone",)
    )
    assert gate([mild, severe]).verdict == Verdict("hold", (why["severe"], why["mild"]), ("mild", "severe"))
    assert gate([open_, mild]).verdict == Verdict("sabar", (why["mild"],), ("mild",), ("open",))
    assert gate([open_, a_test()]).verdict == Verdict("inconclusive", (why["open"],), (), ("open",))
    assert gate([a_test()]).verdict == Verdict("seal", ("every applicable test passed",))
    assert gate([a_test()], "no_drift").verdict == Verdict("seal", ("no_drift",))
    assert gate([]).verdict == Verdict("hold", ("nothing was measured",), ("no_tests",), (), ("no_tests",))
    assert gate([a_test()]).worst_monitor is None


def test_a_monitor_s_part_is_its_budget_over_the_larger_of_bound_and_noise() -> None:
    """0.08 / max(0.06, 0.07); a monitor that is absent, or no monitor, has no part; 0.1 / 0.005 stops at ten."""
    assert decide(a_test(value=0.05, monitor=True, noise=0.07)).ratio == pytest.approx(0.08 / 0.07)
    assert decide(a_test(value=0.05)).ratio is None
    assert decide(GateTest("x", "p", None, 0.1, "share", monitor=True)).ratio is None
    assert decide(a_test(value=0.05, monitor=True, not_applicable="no wake")).ratio is None
    assert decide(GateTest("x", "p", Interval(0.0, -0.1, 0.005, 9), 0.1, "share", monitor=True)).ratio == 10
    assert decide(GateTest("x", "p", Interval(-0.1, -0.2, 0.0, 9), 0.1, "share", monitor=True)).ratio == 10
    assert decide(GateTest("x", "p", Interval(0.0, 0.0, 0.5, 9), 0.1, "share", monitor=True)).ratio == pytest.approx(0.2)
