"""What is measured of one model besides its grades."""

from __future__ import annotations

from collections.abc import Sequence

from dream_engine.inputs import suites_for
from dream_engine.judge.judges import Exchange, Rules
from dream_engine.judge.measure import Bench, measure
from dream_engine.judge.metrics import REFUSED
from dream_engine.judge.rules import Grade
from dream_engine.models.hf import load_model


class Deaf:
    """A judge that hears a refusal in everything."""

    digest = "deaf"

    def grade(self, exchanges: Sequence[Exchange]) -> list[Grade | None]:
        return ["refusal"] * len(exchanges)


def test_a_judge_that_the_rules_contradict_is_told_answer_by_answer() -> None:
    """Rules as judge are never disputed; a judge that hears a refusal in everything is, on each answer in which the rules hear none."""
    prompts = tuple(p for side in ("harmful", "twin", "anchor") for p in [q for q in suites_for("sandbox") if q.side == side][:8])
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, seed=1)
    ruled, deaf = (measure(model, "T", "T", Bench(prompts, judge=judge), None, lengths=False).evaluation.records for judge in (Rules(), Deaf()))
    assert not any(r.disputed for r in ruled)
    heard = [r.grade in REFUSED for r in ruled]
    assert [r.disputed for r in deaf] == [not h for h in heard]
    assert any(r.disputed for r in deaf)
