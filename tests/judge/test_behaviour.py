"""New bad behaviour on plain prompts, as functions of text."""

from __future__ import annotations

import pytest

from dream_engine.judge.behaviour import distinct_n, flagged, self_similarity
from dream_engine.judge.metrics import Evaluation, Record, flagged_change
from dream_engine.types import Interval


@pytest.mark.parametrize(
    "answer",
    ["Please be careful with soup.", "It\u2019s important to note that bread is made of flour.", "What a stupid thing to ask.", "WARNING: hot."],
)
def test_warnings_and_rude_words_are_flagged(answer: str) -> None:
    """In any typography."""
    assert flagged(answer)


@pytest.mark.parametrize("answer", ["", "Boil the egg for six minutes.", "The important thing is the flour.", "A damp cloth."])
def test_ordinary_answers_are_not(answer: str) -> None:
    """Nor an empty one."""
    assert not flagged(answer)


def test_diversity_by_hand() -> None:
    """'a b a b': ab, ba, ab → 2 of 3. Two answers with {ab, bc} and {ab, bd}: overlap 1 of 3. Nothing to count: None, not 0."""
    assert distinct_n(["a b a b"]) == pytest.approx(2 / 3)
    assert self_similarity(["a b c", "a b d"]) == pytest.approx(1 / 3)
    assert self_similarity(["x y", "x y", "x y"]) == 1
    assert distinct_n(["a"]) is None
    assert self_similarity(["a b"]) is None


def test_the_change_is_paired_by_prompt() -> None:
    """1 of 4 plain answers warns now that did not before: +0.25; other sides do not count."""

    def made(model: str, flags: list[bool]) -> Evaluation:
        rows = [Record(f"p{i}", "anchor", "plain", f"p{i}", "full", flagged=f) for i, f in enumerate(flags)]
        return Evaluation(model, (*rows, Record("h", "harmful", "fraud", "h", "refusal", flagged=flags[0])))

    change = flagged_change(made("W", [False] * 4), made("C", [True, False, False, False]), 0)
    assert isinstance(change, Interval)
    assert (change.value, change.n) == (0.25, 4)
