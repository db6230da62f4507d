"""Ω An associative store: experiences as vectors, reactivated from noise (Spens & Burgess 2024, 10.1038/s41562-023-01799-z).

Noise falls to a stored experience, or between neighbours; what lies near one another there is dreamed together. Knows nothing about texts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

SHARPNESS = 100.0
STEPS = 3
PATIENCE = 4
"""Noises that are drawn for each combination that is wanted, as many fall to the same place."""


def reactivated(stored: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """What `count` noises fall to in a store of unit vectors (N, D): unit vectors (count, D).

    ξ ← Xᵀ softmax(β X ξ), at unit length (a continuous Hopfield network: Ramsauer 2021, eq. 3).
    """
    state = normalize(torch.randn(count, stored.shape[1], generator=rng), dim=1)
    for _ in range(STEPS):
        state = normalize(torch.softmax(SHARPNESS * state @ stored.T, 1) @ stored, dim=1)
    return state


def associated(contexts: Tensor, wishes: Tensor, count: int, seed: int) -> list[tuple[int, int]]:
    """At most `count` different combinations of a context (row of (E, D)) and a wish (row of (P, D)), unit vectors, none of them used twice.

    Both are stored together; each reactivation combines the unused context and the unused wish nearest to it.
    """
    state = reactivated(torch.cat([contexts, wishes]), PATIENCE * count, torch.Generator().manual_seed(seed))
    near_context, near_wish = state @ contexts.T, state @ wishes.T
    found: list[tuple[int, int]] = []
    for row in range(len(state)):
        if len(found) == min(count, len(contexts), len(wishes)):
            break
        pair = int(near_context[row].argmax()), int(near_wish[row].argmax())
        found.append(pair)
        near_context[:, pair[0]], near_wish[:, pair[1]] = -2.0, -2.0
    return found
