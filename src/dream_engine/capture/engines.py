"""Other engines that look for personal data beside our patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from dream_engine.errors import InputError
from dream_engine.policy.personal import Found

Engine = Callable[[str], Iterable[Found]]
ASKS_THE_NETWORK = {"EMAIL_ADDRESS", "URL"}
"""Entities whose recognisers fetch a list of domains; our own patterns find mail addresses."""


def engine_named(name: str) -> Engine | None:
    """The engine of `capture.personal_engine`; None for the patterns alone.

    Raises:
        InputError: its package is not installed.
    """
    if name == "patterns":
        return None
    try:
        import presidio_analyzer  # noqa: F401
    except ImportError as error:
        raise InputError("capture.personal_engine: presidio is not installed; run: pip install 'dream-engine[presidio]'") from error
    return _presidio


def _presidio(text: str) -> list[Found]:
    """Presidio's pattern recognisers; its language model, which needs a download, is left out."""
    seen = [result for recogniser in _recognisers() for result in recogniser.analyze(text, recogniser.supported_entities, None)]
    return [Found(r.entity_type.lower().replace("_", " "), r.start, r.end) for r in seen if r.score >= 0.5]


@cache
def _recognisers() -> list[Any]:
    from presidio_analyzer import PatternRecognizer, RecognizerRegistry

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers()
    own = [r for r in registry.recognizers if isinstance(r, PatternRecognizer) and r.supported_language == "en"]
    return [r for r in own if not ASKS_THE_NETWORK & set(r.supported_entities)]
