"""Dreamers that use a model: what it writes becomes scenarios with their source, seeded, and nothing else of it is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.dream.imagine import MAX_PREFACE, anchor, evened, joined, prefaced, self_anchors, template_anchors, template_pairs
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.policy.pack import SECOND, load_pack


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


@given(st.lists(st.integers(1, 2 * MAX_PREFACE), max_size=6), st.integers(0, 12), st.integers(0, 99))
def test_both_sides_of_a_pair_stand_behind_the_same_short_request(lengths: list[int], count: int, seed: int) -> None:
    """Only what is short enough stands before another; its id is kept, and without any there is no pair."""
    pairs = template_pairs(load_pack("sandbox"), count, seed)
    beginnings = [anchor(f"{n}" + "." * (length - len(str(n))), "self", 0) for n, length in enumerate(lengths)]
    short = {b.id: b.text for b in beginnings if len(b.text) <= MAX_PREFACE}
    made = prefaced(pairs, beginnings, seed)
    assert made == prefaced(pairs, beginnings, seed)
    assert len(made) == (len(pairs) if short else 0)
    for (harm, twin), (was_harm, was_twin) in zip(made, pairs, strict=False):
        assert harm.parent == twin.parent
        assert (harm.text, twin.text) == tuple(f"{short[str(harm.parent)]} {was.text}" for was in (was_harm, was_twin))
        assert (harm.side, twin.side, twin.twin_of, harm.category) == ("harmful", "twin", harm.id, was_harm.category)


@given(wanted=st.integers(0, 60), plain=st.integers(0, 40), seed=st.integers(0, 3), times=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_second_language_is_as_often_plain_as_harmful(wanted: int, plain: int, seed: int, times: int) -> None:
    """With what `evened` adds, Spanish holds so many plain requests for each harmful one, all of them Spanish; what is plain enough gets none."""
    pack = load_pack()
    foreign = [cell for cell in pack.grid() if cell[1] == SECOND]
    dreamed = [side for pair in template_pairs(pack, wanted, 1, foreign) for side in pair] + [
        side for pair in template_pairs(pack, 30, 2) for side in pair
    ]
    harmful = sum(s.side == "harmful" and s.language == "es" for s in dreamed)
    dreamed += template_anchors(pack, plain, 3, "es")
    made = evened(pack, dreamed, seed, times)
    assert len(made) == max(0, times * harmful - plain)
    assert {(s.side, s.language) for s in made} <= {("anchor", "es")}


def test_a_pack_of_one_language_has_nothing_to_even() -> None:
    """The sandbox's pack has no second language, so nothing is added to forty of its pairs."""
    pack = load_pack("sandbox")
    assert evened(pack, [side for pair in template_pairs(pack, 40, 1) for side in pair], 1) == []
