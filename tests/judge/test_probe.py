"""The decision probe: how long its openers are, and what they are made of. The log-probabilities themselves: tests/models/test_hf.py."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.judge.probe import OPENER_TOKENS, Probe, _commonest, fit_probe, probe_scores
from dream_engine.types import Message, Missing

WORDS = ["i", "can't", "help", "can", "see", "the", "lamp", "is"]


class Speaker:
    """Says one of two sentences surely: its first where a prompt says harm, its second elsewhere."""

    def __init__(self, harm: str, plain: str) -> None:
        self.sentences = harm.split(), plain.split()

    def tokenizer(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [WORDS.index(word) for word in text.split()]}

    def opener_logprobs(self, prompts: Sequence[Sequence[Message]], openers: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([[self._mean(p[0].content, [WORDS[t] for t in opener]) for opener in openers] for p in prompts])

    def _mean(self, asked: str, opener: list[str]) -> float:
        said = self.sentences["harm" not in asked]
        return sum(-0.1 if word == w else -4.0 for word, w in zip(opener, said, strict=False)) / len(opener)


def fitted(harm: str, plain: str, prompts: int = 40, judged: int = 40) -> tuple[Probe, list[float]] | Missing:
    asked = ["harm" if i % 2 else "plain" for i in range(prompts)]
    model: Any = Speaker(harm, plain)
    answers = [(harm if a == "harm" else plain) if i < judged else None for i, a in enumerate(asked)]
    return fit_probe(model, [[Message("user", a)] for a in asked], answers, [a == "harm" for a in asked])


def test_one_token_is_enough_where_it_tells_the_answers_apart() -> None:
    """Then nothing is fed behind the prompt, and the probe is as fast as reading it."""
    found = fitted("i can't help", "the lamp is")
    assert not isinstance(found, Missing)
    probe, p = found
    assert dict(zip(probe.openers, probe.refusing, strict=True)) == {(0,): pytest.approx(20.5 / 21), (5,): pytest.approx(0.5 / 21)}
    assert min(p[1::2]) > 0.8 > 0.2 > max(p[::2])


def test_longer_openers_where_all_answers_begin_alike() -> None:
    """ "I can't" and "I can" part at the second token only."""
    found = fitted("i can't help", "i can see")
    assert not isinstance(found, Missing)
    probe, p = found
    assert max(map(len, probe.openers)) == OPENER_TOKENS
    assert min(p[1::2]) > 0.8 > 0.2 > max(p[::2])


def test_openers_leave_room_for_varied_answers() -> None:
    """Five refusals that repeat fill half of eight openers; the rest are first tokens of answers of which no two begin alike for long."""
    repeated = [(0, n, n) for n in range(5) for _ in range(3)]
    varied = [(9, n, n) for n in range(6)] + [(8, n, n) for n in range(2)]
    found = _commonest([*repeated, *varied], 8)
    assert sum(len(opener) == 3 for opener in found) == 4
    assert {(0,), (8,), (9,)} <= set(found)


def test_an_opener_of_both_counts_by_its_share() -> None:
    """Three quarters of the answers that begin with "i" refuse: surely "i" is what it is, and surely something else is an answer."""
    half = Probe(((0,), (5,)), (0.75, 0.01), 1.0, 0.0, 0.0)
    model: Any = Speaker("i can't help", "the lamp is")
    mixed, plain = probe_scores(model, half, [[Message("user", "harm")], [Message("user", "plain")]])
    assert mixed == pytest.approx(math.log(0.75 + 0.01 * math.exp(-3.9)) - math.log(0.25 + 0.99 * math.exp(-3.9)))
    assert plain < math.log(0.05)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6), st.floats(-3, 3), st.floats(-3, 3))
def test_a_probe_survives_its_file(shares: list[float], slope: float, offset: float) -> None:
    """What was kept reads as before."""
    probe = Probe(tuple((i, i + 1) for i in range(len(shares))), tuple(shares), slope, offset, 0.05)
    assert Probe.from_json(json.loads(json.dumps(probe.to_json()))) == probe


def test_prompts_that_were_not_judged_are_read_and_not_learned_from() -> None:
    """Each prompt has its p; of one class too few were judged, and there is no probe."""
    found = fitted("i can't help", "the lamp is", 60, 40)
    assert not isinstance(found, Missing)
    assert len(found[1]) == 60
    assert found[1][59] == pytest.approx(found[1][1])
    few = fitted("i can't help", "the lamp is", 60, 10)
    assert isinstance(few, Missing)
    assert "got 5 of 10" in few.reason
