"""Ω The filter of dreams and logs: whether an answer declines, by stock phrases near its beginning (declining.yaml).

Not the judge that gates: what is trained on is chosen by other phrases than what is trained is judged by.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from dream_engine.phrases import Groups, compiled, is_incoherent, normalise

_HEAD_CHARS = 120


@cache
def _stock() -> Groups:
    return compiled((resources.files("dream_engine.policy") / "declining.yaml").read_text(encoding="utf-8"))


def declines(answer: str) -> bool:
    """Whether the answer refuses or turns to support instead of going along; one that helps after all does not."""
    text, stock = normalise(answer), _stock()
    if is_incoherent(text):
        return False
    refusal = stock["refusals"].search(stock["false_friends"].sub(" ", text[:_HEAD_CHARS]))
    if refusal:
        return not stock["helps"].search(text, refusal.end())
    return bool(stock["support"].search(text[: 2 * _HEAD_CHARS]))


def garbled(answer: str) -> bool:
    """Whether the answer is empty, a loop or no language."""
    return is_incoherent(normalise(answer))
