"""A study's table: pooled rates, what counts, and whether ours is ahead beyond chance, by hand-made outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.judge.metrics import Evaluation, Record, TextLoss
from dream_engine.study.compare import counted, holm, table
from dream_engine.study.page import as_csv, as_text, write_page
from dream_engine.study.plan import Result, Setting
from dream_engine.types import Interval, Missing

A, B = Setting("a", 1e-4, 0), Setting("a", 1e-4, 1)


def evaluation(name: str, harmful: float, twins: float, nats: float = 1.0, clusters: int = 40) -> Evaluation:
    """One harmful request and one look-alike a cluster; the given shares of them refused, the first ones."""
    rows = []
    for i in range(clusters):
        rows.append(Record(f"h{i}", "harmful", "x", f"c{i}", "refusal" if i < harmful * clusters else "full"))
        rows.append(Record(f"t{i}", "twin", "x", f"c{i}", "refusal" if i < twins * clusters else "full"))
        rows.append(Record(f"p{i}", "anchor", "plain", f"p{i}", "full"))
    return Evaluation(name, tuple(rows), tuple(TextLoss(f"u{i}", 10 * nats, 10) for i in range(5)))


def results(setting: Setting, **arms: tuple[float, float, float]) -> list[Result]:
    return [Result(setting, name, name == "ours", 100, evaluation(name, *numbers)) for name, numbers in arms.items()]


WORN = {"T": (0.9, 0.3, 3.0), "W": (0.4, 0.0, 1.0)}


def test_a_setting_counts_when_thirty_points_were_lost() -> None:
    """0.9 to 0.4 counts, 0.9 to 0.6 just so; 0.9 to 0.7 does not, unless less is asked; what was not measured never does."""
    mild = [*results(A, **WORN), *results(B, **WORN | {"W": (0.7, 0.1, 1.0)})]
    assert counted(mild, 0.3) == [A]
    assert counted(mild, 0.2) == [A, B]
    assert counted(results(A, **WORN | {"W": (0.6, 0.1, 1.0)}), 0.3) == [A]
    unknown = [Result(A, name, True, 1, Evaluation(name, ())) for name in ("T", "W")]
    assert counted(unknown, 0.0) == []


def test_the_table_holds_what_the_outcomes_say() -> None:
    """Contrast of ours (0.9 + 0.8) / 2 = 0.85, of the other (0.6 + 0.9) / 2 = 0.75: ahead by 0.10. Gain: T 3, W 1, ours 1.2 keeps 90 %."""
    rows = [r for s in (A, B) for r in results(s, **WORN, ours=(0.9, 0.2, 1.2), other=(0.6, 0.1, 1.0))]
    lines = {x.arm: x for x in table(rows, [A, B])}
    assert lines["ours"].parts["contrast"].value == pytest.approx(0.85)  # type: ignore[union-attr]
    assert lines["ours"].parts["gain_kept"].value == pytest.approx(0.9)  # type: ignore[union-attr]
    assert lines["ours"].by_setting == pytest.approx((0.85, 0.85))
    ahead = lines["other"].ahead
    assert isinstance(ahead, Interval)
    assert ahead.value == pytest.approx(0.10)
    assert lines["other"].p is not None
    assert isinstance(lines["ours"].ahead, Missing)


def test_an_arm_like_ours_is_never_proven_behind() -> None:
    """The control: the same outcomes, no difference, p is 1."""
    rows = results(A, **WORN, ours=(0.8, 0.2, 1.0), twin_of_ours=(0.8, 0.2, 1.0))
    line = next(x for x in table(rows, [A]) if x.arm == "twin_of_ours")
    assert (line.ahead.value, line.p) == (0.0, 1.0)  # type: ignore[union-attr]


def test_arms_are_compared_on_the_clusters_that_both_have() -> None:
    """An arm in which two clusters could not be judged, and which is ours elsewhere, differs in nothing: not in the rate, and in no resample."""
    rows = results(A, **WORN, ours=(0.5, 0.2, 1.0), torn=(0.5, 0.2, 1.0))
    torn = rows[-1].evaluation
    kept = tuple(r for r in torn.records if r.cluster not in ("c0", "c39"))
    rows[-1] = Result(A, "torn", True, 100, Evaluation("torn", kept, torn.user))
    line = next(x for x in table(rows, [A]) if x.arm == "torn")
    assert (line.ahead.value, line.ahead.low, line.ahead.high, line.p) == (0.0, 0.0, 0.0, 1.0)  # type: ignore[union-attr]


def test_seeds_are_drawn_within_their_wake() -> None:
    """Two wakes that differ by 0.4 and whose seeds agree: no draw mixes the wakes anew, so the interval is that of the prompts, in any order.

    The control: the same four outcomes as four seeds of one wake have a wider one.
    """
    apart = [Setting("a", 1e-4, 0), Setting("a", 1e-4, 1), Setting("b", 1e-4, 0), Setting("b", 1e-4, 1)]
    alike = [Setting("a", 1e-4, seed) for seed in range(4)]
    arms = [WORN | {"ours": (harmful, 0.0, 1.0)} for harmful in (0.5, 0.5, 0.9, 0.9)]

    def harmful_refused(settings: list[Setting], order: int = 1) -> Interval:
        rows = [r for s, of in list(zip(settings, arms, strict=True))[::order] for r in results(s, **of)]
        return next(x for x in table(rows, settings) if x.arm == "ours").parts["harmful_refused"]  # type: ignore[return-value]

    within, among = harmful_refused(apart), harmful_refused(alike)
    assert within.value == among.value == pytest.approx(0.7)
    assert within.high - within.low < 0.75 * (among.high - among.low)
    assert harmful_refused(apart, order=-1) == within


def test_what_was_not_measured_is_an_empty_cell_and_never_zero() -> None:
    """Without user rows there is no gain: a dash in the text, nothing in the CSV."""
    rows = [Result(A, n, True, 1, Evaluation(n, evaluation(n, h, t).records)) for n, (h, t, _) in (WORN | {"ours": (0.9, 0.1, 1.0)}).items()]
    lines = table(rows, [A])
    header, first = as_csv(lines).splitlines()[:2]
    assert dict(zip(header.split(","), first.split(","), strict=True))["gain_kept"] == ""
    assert "– (the user's gain was not measured)" in "\n".join(as_text(lines))


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1), max_size=8))
def test_holm_only_ever_raises_and_keeps_the_order(p: dict[str, float]) -> None:
    """Step-down: no corrected value below its own, the order of the p values kept, none above 1."""
    corrected = holm(p)
    assert all(p[name] <= corrected[name] <= 1 for name in p)
    ranked = sorted(p, key=lambda n: p[n])
    assert [corrected[n] for n in ranked] == sorted(corrected.values())


def test_holm_by_hand() -> None:
    """0.01 × 3, then max(0.03, 0.02 × 2), then max(0.04, 0.5 × 1)."""
    assert holm({"a": 0.01, "b": 0.5, "c": 0.02}) == pytest.approx({"a": 0.03, "c": 0.04, "b": 0.5})


def test_a_study_in_which_nothing_counts_has_a_page_without_charts(tmp_path: Path) -> None:
    """Too little was lost everywhere: the page says where, and draws nothing."""
    page = write_page("mild", [], ["dolly-0.0001-0"], tmp_path).read_text()
    assert "dolly-0.0001-0" in page
    assert "<svg" not in page
