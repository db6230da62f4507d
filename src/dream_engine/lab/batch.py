"""What a learner is trained on in one step: examples with hard or soft targets, and their loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dream_engine.lab.nets import masked


@dataclass(frozen=True)
class Batch:
    """Inputs (B, D), labels (B,), units that may be chosen (K,) or (B, K), and soft targets (B, K) where a teacher gave them."""

    x: Tensor
    y: Tensor
    visible: Tensor
    soft: Tensor | None = None

    def loss(self, scores: Tensor, temperature: float) -> Tensor:
        """Cross-entropy to the labels, or distillation: −T² Σ q log p at temperature T (Hinton 2015, eq. 4 and the scaling below it)."""
        if self.soft is None:
            return F.cross_entropy(masked(scores, self.visible), self.y)
        log_p = F.log_softmax(masked(scores, self.visible) / temperature, 1).masked_fill(~self.visible, 0.0)
        return -(self.soft * log_p).sum(1).mean() * temperature**2


def labelled(scores: Tensor, x: Tensor, visible: Tensor, temperature: float | None) -> Batch:
    """A teacher's own batch: its best visible unit, and with a temperature its distribution over them as well."""
    scores = masked(scores, visible)
    soft = None if temperature is None else torch.softmax(scores / temperature, 1)
    return Batch(x, scores.argmax(1), visible, soft)
