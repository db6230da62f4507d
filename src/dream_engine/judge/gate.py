"""Ψ The gate: measured tests in, one verdict out. A pure function; no model, no file, no torch, no clock.

Order of severity, closed by default: missing or over-budget-for-good → hold; a failed test → sabar; an undecided test →
inconclusive; everything passes → seal. Every failing rule is listed, not only the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dream_engine.judge.stats import needed_n
from dream_engine.types import Interval, Measured, Missing, Verdict

Outcome = Literal["pass", "fail", "inconclusive", "missing", "not_applicable"]
"""`pass`: within the margin at the unfavourable bound. `fail`: beyond it at the favourable bound. `inconclusive`: neither.
`missing`: should have been measured and was not. `not_applicable`: does not exist for this cycle, for a stated reason."""

Severity = Literal["hold", "sabar"]
"""What a failure of the test leads to."""

CAP = 10.0


@dataclass(frozen=True)
class Test:
    """One question to the measurements. `drift` is oriented so that more is worse; `budget` is the most that may be.

    `drift.low` and `drift.high` are the one-sided 95 % bounds (a two-sided 90 % interval). With `absolute`, the point estimate
    must meet `budget` and the unfavourable bound may pass it by at most `slack` (the commissioning tests of DESIGN §6).
    """

    name: str
    pair: str
    drift: Measured | None
    budget: float
    unit: str
    severity: Severity = "sabar"
    monitor: bool = False
    noise: float = 0.0
    absolute: bool = False
    slack: float = 0.0
    not_applicable: str = ""


@dataclass(frozen=True)
class Decision:
    """A test with its outcome in words that a reviewer can act on."""

    test: Test
    outcome: Outcome
    why: str

    @property
    def ratio(self) -> float | None:
        """This monitor's part of Peace²: budget / max(upper95(drift), noise), capped at 10; None when it was not measured."""
        if not self.test.monitor or not isinstance(self.test.drift, Interval) or self.outcome == "not_applicable":
            return None
        worst = max(self.test.drift.high, self.test.noise)
        return CAP if worst <= 0 else min(CAP, self.test.budget / worst)


@dataclass(frozen=True)
class Gated:
    """The verdict, every decision behind it, and Peace² with its worst monitor (None when no monitor was measured)."""

    verdict: Verdict
    decisions: tuple[Decision, ...]
    stability_ratio: float | None
    worst_monitor: str | None


def gate(tests: Sequence[Test], reason: str = "") -> Gated:
    """The verdict over all tests. An empty list of tests holds, since nothing was measured."""
    decisions = tuple(decide(test) for test in tests)
    ratios = [(d.ratio, d.test.name) for d in decisions if d.ratio is not None]
    worst = min(ratios) if ratios else (None, None)
    return Gated(_verdict(decisions, reason), decisions, *worst)


def decide(test: Test) -> Decision:
    """The outcome of one three-way test."""
    if test.not_applicable:
        return Decision(test, "not_applicable", test.not_applicable)
    if not isinstance(test.drift, Interval):
        reason = test.drift.reason if isinstance(test.drift, Missing) else "it was not measured"
        return Decision(test, "missing", f"{test.name} is missing: {reason}")
    if math.isnan(test.drift.value + test.drift.low + test.drift.high + test.noise) or math.isinf(test.drift.value):
        return Decision(test, "missing", f"{test.name} is not a finite number")
    return _absolute(test, test.drift) if test.absolute else _three_way(test, test.drift)


def _three_way(test: Test, drift: Interval) -> Decision:
    shown = f"{test.name} ({test.pair}): {_amount(drift, test.unit)}, at most {test.budget:g}"
    if drift.low > test.budget:
        return Decision(test, "fail", f"{shown}: beyond it even at the favourable bound")
    if test.noise > test.budget:
        return Decision(test, "inconclusive", f"{shown}: the noise floor {test.noise:.3g} is above the budget")
    if drift.high <= test.budget:
        return Decision(test, "pass", f"{shown}: within it at the unfavourable bound")
    n = needed_n(drift.high - drift.value, drift.n, test.budget - drift.value)
    more = f"about {n} prompts would decide" if n else "the point estimate itself is at the margin; more dreams, not more prompts"
    return Decision(test, "inconclusive", f"{shown}: the bound crosses it; {more}")


def _absolute(test: Test, drift: Interval) -> Decision:
    shown = f"{test.name} ({test.pair}): {_amount(drift, test.unit)}, at most {test.budget:g} with slack {test.slack:g}"
    met = drift.value <= test.budget and drift.high <= test.budget + test.slack
    return Decision(test, "pass" if met else "fail", shown)


def _amount(drift: Interval, unit: str) -> str:
    return f"{drift.value:+.3f} {unit} [{drift.low:+.3f}, {drift.high:+.3f}], n={drift.n}"


def _verdict(decisions: Sequence[Decision], reason: str) -> Verdict:
    missing = [d for d in decisions if d.outcome == "missing"]
    failed = [d for d in decisions if d.outcome == "fail"]
    undecided = [d for d in decisions if d.outcome == "inconclusive"]
    severe = [d for d in failed if d.test.severity == "hold"]
    failing = tuple(d.test.name for d in (*missing, *failed))
    open_names, absent = tuple(d.test.name for d in undecided), tuple(d.test.name for d in missing)
    if not decisions:
        return Verdict("hold", ("nothing was measured",), ("no_tests",), missing=("no_tests",))
    if missing or severe:
        return Verdict("hold", tuple(d.why for d in (*missing, *severe, *[d for d in failed if d not in severe])), failing, open_names, absent)
    if failed:
        return Verdict("sabar", tuple(d.why for d in failed), failing, open_names)
    if undecided:
        return Verdict("inconclusive", tuple(d.why for d in undecided), (), open_names)
    return Verdict("seal", (reason or "every applicable test passed",))
