"""Rows side by side: none lost, none over the budget, the same figures in parts."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.models.batches import by_length, by_tokens, common_prefix, log_softmaxes, logprobs_of, pad_left, pad_right


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 2000))
def test_batches_hold_every_row_once(lengths: list[int], budget: int) -> None:
    """Property: no row lost or doubled; no batch of several rows over its padded budget."""
    for batches in (by_tokens(lengths, budget), by_length(lengths, 7)):
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in by_tokens(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_padding_and_prefix() -> None:
    """Left and right padding, and the common beginning that leaves every row something to read."""
    assert pad_left([[1], [2, 3]], 0)[0].tolist() == [[0, 1], [2, 3]]
    assert pad_right([[1], [2, 3]], 0)[1].tolist() == [[1, 0], [1, 1]]
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_prefix([[1, 2], [1, 2]]) == 1
    assert common_prefix([[1, 2, 3]]) == 0


@given(st.integers(1, 150), st.integers(0, 9))
def test_log_probabilities_in_parts_are_those_of_the_whole(rows: int, seed: int) -> None:
    """Property: reading a few rows at a time changes no figure, at whatever row a part ends."""
    generator = torch.Generator().manual_seed(seed)
    logits, tokens = torch.randn(rows, 11, generator=generator), torch.randint(11, (rows,), generator=generator)
    whole = torch.log_softmax(logits, -1)
    assert torch.equal(torch.cat(list(log_softmaxes(logits))), whole)
    assert torch.equal(logprobs_of(tokens, logits), whole[torch.arange(rows), tokens])
