"""What a terminal and a page say of a cycle's numbers."""

from __future__ import annotations

from typing import Any

from dream_engine.report.text import MUCH_DISPUTED, dispute_text, table_text


def column(**share: float) -> dict[str, Any]:
    return {key: {"value": value, "low": value, "high": value, "n": 450} for key, value in share.items()}


def test_a_model_whose_answers_are_read_in_two_ways_is_named() -> None:
    """Above a twentieth; not at it, and not in a table from before the second reading, which is shown without it."""
    table = {"models": {"T": column(disputed=MUCH_DISPUTED), "W": column(disputed=0.29), "C": column(harmful_refused=0.9)}, "changes": {}}
    table["gain_lost"] = {"value": None}
    said = dispute_text(table)
    assert len(said) == 1
    assert "29% of W's answers" in said[0]
    shown = table_text(table, {"stability_ratio": None})
    assert said[0] in shown
    assert "5.0 %" in shown
