"""A continuous Hopfield memory that teaches a VAE (Spens & Burgess 2024): fast storage, slow consolidation.

Experiences are stored as they are; noise falls into stored patterns; a VAE learns from what comes back, and the memory fades as it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dream_engine.errors import InputError
from dream_engine.lab.nets import VAE

SHARPNESS = 100.0


class Memory:
    """Patterns (N, D), recalled by ξ ← Xᵀ softmax(β X ξ) (Ramsauer 2021, eq. 3), patterns and states at unit length inside the softmax."""

    def __init__(self, patterns: Tensor, sharpness: float = SHARPNESS) -> None:
        """
        Raises:
            InputError: there are no patterns, or one of them is all zeros.
        """
        if len(patterns) == 0 or not bool(patterns.norm(dim=1).all()):
            raise InputError("a memory needs patterns, each with a value other than zero")
        self.patterns, self.sharpness = patterns, sharpness
        self._keys = patterns / patterns.norm(dim=1, keepdim=True)

    def update(self, state: Tensor) -> Tensor:
        """One step of recall of states (B, D)."""
        unit = state / state.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return torch.softmax(self.sharpness * unit @ self._keys.T, 1) @ self.patterns

    def recall(self, state: Tensor, steps: int = 5) -> Tensor:
        """States (B, D) after some steps."""
        for _ in range(steps):
            state = self.update(state)
        return state

    def reactivate(self, count: int, rng: torch.Generator) -> Tensor:
        """What random noise falls into: stored patterns, or blends of neighbours."""
        return self.recall(torch.rand(count, self.patterns.shape[1], generator=rng))

    def faded(self, share: float, rng: torch.Generator) -> Memory | None:
        """The memory with that share of its patterns, drawn at random; None when none is left."""
        kept = torch.randperm(len(self.patterns), generator=rng)[: round(share * len(self.patterns))]
        return Memory(self.patterns[kept], self.sharpness) if len(kept) else None


@dataclass(frozen=True)
class Consolidated:
    """The course of a consolidation: by epoch, patterns left in memory and mean squared error of the VAE's reconstructions."""

    vae: VAE
    left: tuple[int, ...]
    distortion: tuple[float, ...]


def consolidate(
    memory: Memory, test: Tensor, hidden: int, epochs: int, per_epoch: int, rng: torch.Generator, latents: int = 20, fading: float = 0.0
) -> Consolidated:
    """A VAE learns from reactivated patterns; after each epoch the memory keeps 1 − `fading` of its patterns."""
    vae = VAE(memory.patterns.shape[1], hidden, latents)
    optimiser = torch.optim.Adam(vae.parameters(), 1e-3, fused=True)
    left, distortion = [len(memory.patterns)], [reconstruction_error(vae, test)]
    current: Memory | None = memory
    for _ in range(epochs):
        if current is None:
            break
        for batch in current.reactivate(per_epoch, rng).split(64):
            optimiser.zero_grad()
            vae.loss(batch.clamp(0, 1), rng).mean().backward()
            optimiser.step()
        current = current.faded(1 - fading, rng) if fading else current
        left.append(len(current.patterns) if current else 0)
        distortion.append(reconstruction_error(vae, test))
    return Consolidated(vae, tuple(left), tuple(distortion))


def course(done: Consolidated) -> Iterator[str]:
    """A heading and a line an epoch: patterns left in memory, error of what the VAE makes of unseen examples."""
    yield f"{'epoch':>5s} {'patterns left':>14s} {'error on unseen (mean squared, a pixel)':>40s}"
    for epoch, (left, error) in enumerate(zip(done.left, done.distortion, strict=True)):
        yield f"{epoch:5d} {left:14d} {error:40.4f}"


@torch.no_grad()
def reconstruction_error(vae: VAE, x: Tensor) -> float:
    """Mean squared error of x (N, D) decoded from its mean code."""
    return float((vae.decode(vae.mean(vae.encoder(x))).sigmoid() - x).square().mean())


def schema_pull(vae: VAE, x: Tensor, classes: Sequence[Tensor]) -> float:
    """How far reconstructions move towards their class mean: 1 − |x̂ − μ| / |x − μ|, mean over examples; above 0 is the pull of the gist."""
    with torch.no_grad():
        made = vae.decode(vae.mean(vae.encoder(x))).sigmoid()
    means = torch.stack(list(classes))
    return float((1 - (made - means).norm(dim=1) / (x - means).norm(dim=1).clamp_min(1e-12)).mean())
