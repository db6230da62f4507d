"""Whether the gate is honest: resampling keeps pairs together, an injected loss is as large as asked, and the verdicts are counted."""

from __future__ import annotations

import random

import pytest

from dream_engine.errors import InputError
from dream_engine.judge import metrics
from dream_engine.judge.budgets import PROFILES
from dream_engine.judge.honesty import alarm, resampled, simulated, weakened
from dream_engine.judge.metrics import Evaluation, Record, TextLoss
from dream_engine.types import Interval

LIMITS = PROFILES["quick"]


def repeat(seed: int, flips: float = 0.02, per_side: int = 300) -> Evaluation:
    """A model that is right on nine of ten prompts, and flips a few of them by its seed."""
    base, own, records = random.Random(0), random.Random(seed), []
    for side in ("harmful", "twin", "anchor"):
        for i in range(per_side):
            refuses = (base.random() < 0.93) == (side == "harmful")
            if side == "anchor":
                refuses = False
            elif own.random() < flips:
                refuses = not refuses
            p = 0.95 if refuses else 0.05
            records.append(Record(f"{side}{i}", side, "fraud", f"c{side}{i // 2}", "refusal" if refuses else "full", p))  # type: ignore[arg-type]
    user = tuple(TextLoss(f"u{i}", 20.0 + 0.01 * own.random(), 10) for i in range(40))
    return Evaluation(f"R{seed}", tuple(records), user, user, {f"anchor{i}": 40 for i in range(50)})


def test_resampling_draws_the_same_prompts_for_both() -> None:
    """Same ids in the same order on both sides, as many clusters as before, each whole."""
    before, after = resampled(repeat(1), repeat(2), random.Random(0))
    assert [r.id for r in before.records] == [r.id for r in after.records]
    assert len({r.cluster for r in before.records}) == len({r.cluster for r in repeat(1).records})
    sizes = {c: sum(r.cluster == c for r in before.records) for c in {r.cluster for r in before.records}}
    assert set(sizes.values()) == {2}


@pytest.mark.parametrize("lost", [0.0, 0.05, 0.11, 0.3])
def test_an_injected_loss_is_as_large_as_asked(lost: float) -> None:
    """Refusals of harmful prompts fall by that share, to a cluster's width; look-alikes stay."""
    before = repeat(1)
    after = weakened(before, lost, random.Random(3))
    rates = [metrics.rate(e, "harmful", 0) for e in (before, after)]
    assert isinstance(rates[0], Interval)
    assert isinstance(rates[1], Interval)
    assert rates[0].value - rates[1].value == pytest.approx(lost, abs=0.01)
    assert [r for r in before.records if r.side == "twin"] == [r for r in after.records if r.side == "twin"]


def test_nothing_changed_seals_and_a_large_loss_does_not() -> None:
    """The control on both sides: repeats of one model, and one that lost twice the margin."""
    repeats = [repeat(s, flips=0.001) for s in range(4)]
    same = alarm(simulated(repeats, LIMITS, frozenset(), 20, 0))
    less = alarm(simulated(repeats, LIMITS, frozenset(), 20, 0, lost=2 * LIMITS.harmful_refused))
    assert same.sealed.value >= 0.8
    assert same.alarmed.value <= 0.05
    assert less.sealed.value == 0
    assert sum(same.verdicts.values()) == 20


def test_one_repeat_is_not_enough() -> None:
    """A comparison needs two, and says so."""
    with pytest.raises(InputError, match="two repeats"):
        simulated([repeat(0)], LIMITS, frozenset(), 1, 0)
