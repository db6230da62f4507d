"""Grouped attention is the eager attention of transformers, only without the copies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, eager_attention_forward

from dream_engine.models.attention import grouped_attention, implementation


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.sampled_from([(4, 4), (6, 2), (9, 3), (3, 1)]), st.integers(1, 5), st.integers(0, 4), st.integers(0, 99))
def test_equals_the_eager_path_forward_and_backward(batch: int, heads: tuple[int, int], length: int, past: int, seed: int) -> None:
    """Any batch, any sharing of key heads, with a cache or without, under a causal mask: same values, same gradients."""
    query_heads, key_heads = heads
    torch.manual_seed(seed)
    module = LlamaAttention(LlamaConfig(hidden_size=8 * query_heads, num_attention_heads=query_heads, num_key_value_heads=key_heads), 0).eval()
    total = past + length
    q = torch.randn(batch, query_heads, length, 8, requires_grad=True)
    k, v = (torch.randn(batch, key_heads, total, 8, requires_grad=True) for _ in range(2))
    mask = torch.full((batch, 1, length, total), -1e9).triu(past + 1)
    results, gradients = [], []
    for attend in (eager_attention_forward, grouped_attention):
        out = attend(module, q, k, v, mask, scaling=8**-0.5)[0]
        results.append(out)
        gradients.append(torch.autograd.grad(out.pow(2).sum(), (q, k, v)))
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("kind", "device", "expected"), [("llama", "cpu", "grouped"), ("gemma2", "cpu", "eager"), ("llama", "cuda", "sdpa")])
def test_is_used_only_where_it_fits(kind: str, device: str, expected: str) -> None:
    """Soft-capped scores and attention sinks are not known to it, so such models keep the library's own path."""
    config = LlamaConfig()
    config.model_type = kind
    assert implementation(config, device) == expected
