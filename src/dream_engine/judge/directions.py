"""Ψ The refusal direction of each layer, and how far a model has turned it. Reported in `drift.json`, not gated.

The mean state at the end of harmful prompts minus the mean at the end of their look-alikes (Arditi et al. 2024, arXiv:2406.11717).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dream_engine.judge.suites import evenly
from dream_engine.models.hf import ChatModel
from dream_engine.types import Message, Prompt

PER_SIDE = 64


def refusal_directions(model: ChatModel, adapter: str | None, suites: Sequence[Prompt]) -> torch.Tensor | None:
    """One direction a layer, (L, D); None where a side has no prompts. At most 64 prompts a side are read, evenly chosen."""
    harmful, twins = (_chosen(suites, side) for side in ("harmful", "twin"))
    if not harmful or not twins:
        return None
    with model.using(adapter):
        states = model.prompt_states([*harmful, *twins])
    return states[: len(harmful)].mean(0) - states[len(harmful) :].mean(0)


def turned(before: torch.Tensor | None, after: torch.Tensor | None) -> list[float] | None:
    """The cosine of the two directions of each layer, −1 … 1; None where one was not measured."""
    if before is None or after is None:
        return None
    return [round(float(x), 4) for x in torch.nn.functional.cosine_similarity(before, after, dim=-1)]


def _chosen(suites: Sequence[Prompt], side: str) -> list[list[Message]]:
    return [p.turns for p in evenly([p for p in suites if p.side == side], PER_SIDE)]
