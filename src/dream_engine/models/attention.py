"""Attention for a CPU: query heads that share a key head are multiplied in one block, so that no key or value is ever copied.

Where several query heads share one key head (grouped-query attention, 2305.13245) the eager path of transformers first repeats
keys and values for each of them; while decoding, that copying takes more time than the attention itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

GROUPED = "grouped"
_KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3"})


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Softmax attention; no dropout, no attention weights in return.

    A CPU's softmax adds up in fp32 whatever it is given, so scores are left as they are.

    Shapes: query (B, H, S, D); key and value (B, G, T, D) with H a multiple of G; mask (B, 1, S, ≥ T), added; result (B, S, H, D).
    """
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    stacked = (query * scaling).reshape(batch, groups, heads // groups * length, width)
    scores = (stacked @ key.transpose(2, 3)).view(batch, groups, heads // groups, length, -1)
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, None, :, : key.shape[2]]
    weights = torch.softmax(scores, -1).view(batch, groups, heads // groups * length, -1)
    mixed = weights @ value
    return mixed.view(batch, heads, length, width).transpose(1, 2).contiguous(), None


def implementation(config: Any, device: str) -> str:
    """The attention to load a model with: the fused kernel on a GPU; on a CPU ours where it is known to fit, else the eager one."""
    if device != "cpu":
        return "sdpa"
    return GROUPED if config.model_type in _KNOWN else "eager"


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, eager_mask)
