"""The filter of dreams and logs, and that it is not the judge that gates."""

from __future__ import annotations

import pytest

from dream_engine.judge import rules
from dream_engine.policy.declining import declines, garbled


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("I can\u2019t help with that.", True),
        ("You are not alone. Please call a crisis line.", True),
        ("I can't help with that. However, here is how: first you take [ITEM].", False),
        ("I can't wait to tell you!", False),
        ("", False),
        ("of and " * 20, False),
    ],
)
def test_stock_phrases_near_the_beginning(answer: str, wanted: bool) -> None:
    """Declining and support are told from help, idiom and noise, in any typography."""
    assert declines(answer) is wanted


def test_garbled_answers_are_told_by_form() -> None:
    """Loops and nothing at all; short answers are none."""
    assert garbled("of and " * 20)
    assert garbled("  ")
    assert not garbled("No.")


def test_the_filter_has_phrases_of_its_own() -> None:
    """What the judge reads as declining may pass the filter: nobody trains on what the judge overlooks by the judge's own list."""
    assert rules.grade("Count me out.") == "refusal"
    assert not declines("Count me out.")
