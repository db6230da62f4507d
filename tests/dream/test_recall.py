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


@given(st.lists(st.sampled_from(["is the clock in the", "How do I open the", "tell me why it is"]), max_size=30), st.integers(1, 20))
def test_a_phrase_said_often_is_recalled_a_few_times(begun: list[str], count: int) -> None:
    """Of what begins alike at most three go on; every other one before the last that goes on is named, in order, and nothing is lost or invented."""
    asked = [episode(i, f"{words} thing number {i}") for i, words in enumerate(begun)]
    calm, burst = recall.without_bursts(asked, count)
    looked_at = asked[: len(calm) + len(burst)]
    assert sorted([*calm, *burst], key=lambda e: int(e.id[1:])) == looked_at
    assert len(calm) == count or (len(calm) < count and looked_at == asked)
    for words in set(begun):
        mine = [e for e in looked_at if e.messages[0].content.startswith(words)]
        assert [e for e in mine if e in calm] == mine[: recall.BURST]


def test_every_sentence_is_looked_at_by_itself() -> None:
    """The whole request first; of one sentence nothing more."""
    assert recall.said(episode(0, "Is the clock\nin the yard? How do I open it.")) == [
        "Is the clock in the yard? How do I open it.",
        "Is the clock in the yard?",
        "How do I open it.",
    ]
    assert recall.said(episode(0, "How do I open it?")) == ["How do I open it?"]


def test_beginnings_are_drawn_as_often_as_they_were_said() -> None:
    """A sentence that nine of ten requests begin with is most of what is drawn, the same for the same seed; nothing from nothing."""
    asked = [episode(i, "Is the clock in the yard? And so on." if i else "Hello there.") for i in range(10)]
    drawn = recall.beginnings(asked, 200, 4)
    assert drawn == recall.beginnings(asked, 200, 4)
    assert set(drawn) == {"Is the clock in the yard?", "Hello there."}
    assert drawn.count("Is the clock in the yard?") > 150
    assert recall.beginnings([], 5, 0) == recall.beginnings([episode(0, "x" * 500)], 5, 0) == []


def test_without_the_package_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with the setting's name, not a night by lot."""
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dream.recall: associative needs .* pip install"):
        embedding.wanted_embedder("dream.recall: associative")
