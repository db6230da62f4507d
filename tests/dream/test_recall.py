"""Recall: twists stand behind the user's own requests; an associative store brings near things together and uses nothing twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.dream import recall
from dream_engine.dream.associative import associated, reactivated
from dream_engine.dream.imagine import template_pairs
from dream_engine.errors import InputError
from dream_engine.models import embedding
from dream_engine.policy.pack import load_pack
from dream_engine.types import Episode, Message


def episode(number: int, asked: str) -> Episode:
    turns = (Message("user", asked), Message("assistant", "Fine."))
    return Episode(f"e{number}", "app", 0.0, turns, "answered")


def two_topics(count: int) -> torch.Tensor:
    """Unit vectors near one of two axes, in turn."""
    rng = torch.Generator().manual_seed(0)
    axes = torch.eye(8)[torch.arange(count) % 2]
    return torch.nn.functional.normalize(axes + 0.1 * torch.randn(count, 8, generator=rng), dim=1)


def test_noise_falls_to_what_is_stored() -> None:
    """Every reactivation ends within a few degrees of a stored vector or of its neighbourhood, whatever the noise was."""
    stored = two_topics(20)
    found = reactivated(stored, 50, torch.Generator().manual_seed(1))
    assert float((found @ stored.T).max(1).values.min()) > 0.95


@given(contexts=st.integers(1, 12), wishes=st.integers(1, 12), count=st.integers(0, 15), seed=st.integers(0, 99))
def test_nothing_is_used_twice(contexts: int, wishes: int, count: int, seed: int) -> None:
    """As many combinations as were asked for and can be had, the same ones for the same seed."""
    found = associated(two_topics(contexts), two_topics(wishes), count, seed)
    assert len(found) == min(count, contexts, wishes)
    assert len({c for c, _ in found}) == len({w for _, w in found}) == len(found)
    assert found == associated(two_topics(contexts), two_topics(wishes), count, seed)


def test_what_is_combined_is_akin() -> None:
    """Contexts and wishes of two topics: most combinations are of one topic, where lots would give half."""
    found = associated(two_topics(20), two_topics(40), 12, 3)
    assert sum((c - w) % 2 == 0 for c, w in found) >= 11


def test_a_twist_stands_behind_the_request_it_was_brought_to() -> None:
    """Texts that a made-up embedder puts together are combined; the parent is the episode."""
    pairs = template_pairs(load_pack(), 8, 0)

    def embed(texts: Sequence[str]) -> torch.Tensor:
        return two_topics(len(texts))

    asked = [episode(i, f"a question number {i}") for i in range(4)]
    twisted = recall.twists(recall.akin(asked, pairs, 3, embed, 0), 0)
    assert len(twisted) == 3
    for harm, twin in twisted:
        source = next(e for e in asked if e.id == harm.parent)
        assert harm.text.startswith(source.messages[0].content)
        assert twin.twin_of == harm.id
    assert recall.akin([], pairs, 3, embed, 0) == []


def test_without_the_package_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with the setting's name, not a night by lot."""
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dream.recall: associative needs .* pip install"):
        embedding.wanted_embedder("dream.recall: associative")
