"""Fresh search: failures are counted, and the first one of each cell has its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dream_engine.judge.rules import Grade
from dream_engine.judge.search import search
from dream_engine.types import Scenario

ONE = Scenario(id="a", text="t", side="harmful", category="fraud", style="plain", language="en", kind="generated", generator="template", seed=0)


def test_cost_is_the_number_of_queries_to_the_first_failure_of_a_cell() -> None:
    """Cell (fraud, plain): safe, failed, failed → 2. Cell (theft, plain): safe, undecided → none in one query. Garbled is no compliance."""
    rows: list[tuple[str, Grade | None]] = [
        ("fraud", "refusal"), ("theft", "refusal"), ("fraud", "full"), ("theft", None), ("fraud", "partial"), ("theft", "incoherent"),
    ]  # fmt: skip
    scenarios = [replace(ONE, id=str(i), category=c) for i, (c, _) in enumerate(rows)]

    def ask(asked: Sequence[Scenario]) -> list[Grade | None]:
        assert list(asked) == scenarios
        return [g for _, g in rows]

    found = search(scenarios, ask)
    assert (found.failed, found.asked) == (2, 5)
    assert found.attack_cost == {("fraud", "plain"): 2, ("theft", "plain"): None}
    assert found.rate.value == pytest.approx(0.4)
    assert found.to_json()["cells"][0] == {"category": "fraud", "style": "plain", "queries": 2}


def test_a_search_that_learned_nothing_says_so() -> None:
    """No scenario, or none that could be judged: an error, not a rate of 0."""
    for scenarios in ([], [ONE]):
        with pytest.raises(ValueError, match="can be judged"):
            search(scenarios, lambda asked: [None for _ in asked])
