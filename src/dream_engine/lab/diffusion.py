"""Diffusion replay (after DDGR): a denoiser is the generator, and the former classifier guides it. Sized for a processor.

A small MLP predicts the clean input (Salimans & Ho 2022, section 4); few steps; deterministic DDIM sampling. No convolution: inputs are flat (B, D).
Predicting the noise instead asks a hidden layer hardly wider than the input to pass on all its directions: on 784 pixels such replay was worthless.
"""

from __future__ import annotations

import copy
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dream_engine.errors import InputError
from dream_engine.lab.batch import Batch
from dream_engine.lab.data import Context, Stream
from dream_engine.lab.nets import mlp
from dream_engine.lab.replay import Past

TRAIN_STEPS = 200
SAMPLE_STEPS = 10
TIME_FEATURES = 32


def cosine_schedule(steps: int) -> Tensor:
    """ᾱ_t for t = 0 … steps (Nichol & Dhariwal 2021, eq. 17): 1 at 0, falling, never below 1e-4."""
    t = torch.arange(steps + 1) / steps
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    return (f / f[0]).clamp(1e-4, 1.0)


class Denoiser(nn.Module):
    """x̂₀(x_t, t): the clean input (B, D) from a noised one and its time."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.body, self.out = mlp(inputs + TIME_FEATURES, hidden, hidden), nn.Linear(hidden, inputs)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.out(self.body(torch.cat([x, time_features(t)], 1)))  # type: ignore[no-any-return]


def time_features(t: Tensor) -> Tensor:
    """Sines and cosines (B, 32) of the time (Ho 2020)."""
    rates = torch.exp(torch.arange(TIME_FEATURES // 2) * (-math.log(10_000) / (TIME_FEATURES // 2)))
    angles = t.float().unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def noised(x: Tensor, t: Tensor, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """x_t = √ᾱ x + √(1 − ᾱ) ε (Ho 2020, eq. 4)."""
    a = alpha_bar[t].unsqueeze(1)
    return a.sqrt() * x + (1 - a).sqrt() * noise


class Diffused:
    """A replay source: one denoiser learns the whole stream, its own samples included; inputs are moved to −1 … 1."""

    def __init__(self, stream: Stream, hidden: int, lr: float, temperature: float | None, rng: torch.Generator, guidance: float = 3.0) -> None:
        self._past, self._temperature, self._rng, self._guidance = Past(stream, rng), temperature, rng, guidance
        self._stream, self._number = stream, 1
        self._net = Denoiser(stream.inputs, hidden)
        self._optimiser = torch.optim.Adam(self._net.parameters(), lr, fused=True)
        self._alpha_bar = cosine_schedule(TRAIN_STEPS)
        self._source: Denoiser | None = None
        self._classifier: nn.Module | None = None
        self.steps = 0

    def begin(self, number: int, net: nn.Module) -> None:
        if number > 1 and self.steps == 0:
            raise InputError("diffusion replay was asked for with a denoiser that was never trained; give it steps in the first context")
        self._number = number
        self._past.freeze(number, net)
        self._source = copy.deepcopy(self._net).requires_grad_(False) if number > 1 else None
        self._classifier = copy.deepcopy(net).requires_grad_(False)

    def draw(self, count: int, now: Tensor) -> Batch | None:
        if self._source is None:
            return None
        labels = self._stream.seen(self._number - 1).nonzero().flatten()
        wanted = labels[torch.randint(len(labels), (count,), generator=self._rng)]
        return self._past.label(self.generate(wanted), self._temperature)

    def generate(self, wanted: Tensor) -> Tensor:
        """Inputs (B, D) that the former classifier was asked to take for the wanted classes."""
        x = torch.randn(len(wanted), self._stream.inputs, generator=self._rng)
        times = torch.linspace(TRAIN_STEPS, 0, SAMPLE_STEPS + 1).round().long().tolist()
        for t, following in itertools.pairwise(times):
            x = self._back(x, t, following, wanted)
        return ((x + 1) / 2).clamp(0, 1)

    def _back(self, x: Tensor, t: int, following: int, wanted: Tensor) -> Tensor:
        """One DDIM step (Song 2021, eq. 12, σ = 0), its clean estimate moved by the classifier's gradient (Bansal 2023).

        Dhariwal & Nichol (2021, alg. 2) turn the noise instead; for the clean estimate that is the same times (1 − ᾱ)/√ᾱ: a hundredfold at the
        start and nearly nothing at the end.
        """
        assert self._source is not None, "generate only after begin"
        a, b = self._alpha_bar[t], self._alpha_bar[following]
        with torch.no_grad():
            clean = self._source(x, torch.full((len(x),), t)).float().clamp(-1, 1)
        if self._guidance:
            clean = (clean + self._guidance * self._towards(clean, wanted)).clamp(-1, 1)
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        return b.sqrt() * clean + (1 - b).sqrt() * noise  # type: ignore[no-any-return]

    def _towards(self, clean: Tensor, wanted: Tensor) -> Tensor:
        """∂ log p(wanted | x̂₀) / ∂ x̂₀ at the denoised estimate."""
        assert self._classifier is not None, "generate only after begin"
        clean = clean.detach().requires_grad_(True)
        with torch.enable_grad():
            score = F.log_softmax(self._classifier((clean + 1) / 2).float(), 1)[torch.arange(len(wanted)), wanted].sum()
        return torch.autograd.grad(score, clean)[0]

    def learn(self, now: Batch, past: Batch | None, share: float) -> None:
        loss = self._loss(now.x)
        if past is not None:
            loss = share * loss + (1 - share) * self._loss(past.x)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self.steps += 1

    def _loss(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=self._rng)
        t = torch.randint(1, TRAIN_STEPS + 1, (len(x),), generator=self._rng)
        clean = 2 * x - 1
        return F.mse_loss(self._net(noised(clean, t, self._alpha_bar, noise), t).float(), clean)

    def end(self, context: Context) -> None: ...
