"""Dreamers that use a model: what it writes becomes scenarios with their source, seeded, and nothing else of it is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dream_engine.dream.imagine import joined, self_anchors
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.policy.pack import load_pack


@pytest.fixture(scope="module")
def sandbox() -> ChatModel:
    return load_model("sandbox")


def test_every_opening_is_finished_in_turn(sandbox: ChatModel) -> None:
    """Each kept request begins with the opening whose turn it was; what the model wrote is a plain request of generator `self`."""
    openings = ["is the lamp", "show how to"]
    made = self_anchors(sandbox, None, openings, 40, seed=3)
    assert made
    assert all(s.text.startswith(tuple(openings)) and (s.side, s.generator, s.category) == ("anchor", "self", "plain") for s in made)
    assert all(any(s.text.startswith(words) for s in made) for words in openings)
    assert len({s.text for s in made}) == len(made)


def test_the_same_seed_writes_the_same_requests(sandbox: ChatModel) -> None:
    """And another one others."""

    def texts(seed: int) -> Sequence[str]:
        return [s.text for s in self_anchors(sandbox, None, ["", "how do i"], 16, seed)]

    assert texts(1) == texts(1) != texts(2)


@pytest.mark.parametrize(
    ("opening", "rest", "text"),
    [
        ("", "What is  jazz?", "What is jazz?"),
        ("Why is my", "tea cold?", "Why is my tea cold?"), ("Thanks", ", that helps.", "Thanks, that helps."),
        ("It", "'s raining. What now?", "It's raining. What now?"), ("¿Qué", "es\nel jazz?", "¿Qué es el jazz?"),
    ],
)  # fmt: skip
def test_opening_and_rest_become_one_line(opening: str, rest: str, text: str) -> None:
    """One space between them, none before a comma or an apostrophe, no line breaks."""
    assert joined(opening, rest) == text


def test_the_default_openings_name_no_subject() -> None:
    """They are a few first words each, in two languages, with the bare turn among them; the subject is left to the model."""
    openings = load_pack().openings
    assert "" in openings
    assert len(openings) >= 50
    assert max(len(words.split()) for words in openings) <= 6
    assert any(words.startswith("¿") for words in openings)
