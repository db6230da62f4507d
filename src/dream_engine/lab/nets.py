"""Networks of the lab: a classifier, a variational autoencoder, and the one network of replay through feedback.

Sizes follow van de Ven & Tolias (1904.07734) and van de Ven et al. 2020. B examples, D inputs, K output units, Z latents, H hidden.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_2_PI = math.log(2 * math.pi)


def mlp(*sizes: int) -> nn.Sequential:
    """Linear maps with a rectifier after each."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


class Classifier(nn.Module):
    """D → H → H → K scores."""

    def __init__(self, inputs: int, hidden: int, units: int) -> None:
        super().__init__()
        self.body, self.head = mlp(inputs, hidden, hidden), nn.Linear(hidden, units)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


class VAE(nn.Module):
    """Symmetric, with a Bernoulli decoder. The loss is per pixel: reconstruction and KL both divided by D (reference code)."""

    def __init__(self, inputs: int, hidden: int, latents: int) -> None:
        super().__init__()
        self.inputs, self.latents = inputs, latents
        self.encoder, self.mean, self.log_var = mlp(inputs, hidden, hidden), nn.Linear(hidden, latents), nn.Linear(hidden, latents)
        self.decoder, self.pixels = mlp(latents, hidden, hidden), nn.Linear(hidden, inputs)

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the pixels (B, D)."""
        return self.pixels(self.decoder(z))  # type: ignore[no-any-return]

    def loss(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Negative evidence lower bound a pixel, one value an example (B,). Kingma & Welling 2014, eq. 10."""
        hidden = self.encoder(x)
        mean, log_var = self.mean(hidden).float(), self.log_var(hidden).float()
        z = reparametrised(mean, log_var, rng)
        kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1)
        return pixel_loss(self.decode(z), x) + kl / self.inputs  # type: ignore[no-any-return]

    @torch.no_grad()
    def sample(self, count: int, rng: torch.Generator) -> Tensor:
        """Inputs (count, D) from the prior."""
        return self.decode(torch.randn(count, self.latents, generator=rng)).float().sigmoid()


class FeedbackNet(nn.Module):
    """Replay through feedback (BI-R): one network classifies, encodes and generates.

    Each class has its own Gaussian prior over Z (conditional replay), and a fixed share of the decoder's hidden units is switched
    off for it (gating by internal context). `gated` is that share, 0 … 1.
    """

    gates: Tensor

    def __init__(self, inputs: int, hidden: int, units: int, latents: int, gated: float, conditional: bool, seed: int) -> None:
        super().__init__()
        self.inputs, self.latents, self.units, self.conditional = inputs, latents, units, conditional
        self.encoder, self.head = mlp(inputs, hidden, hidden), nn.Linear(hidden, units)
        self.mean, self.log_var = nn.Linear(hidden, latents), nn.Linear(hidden, latents)
        self.first, self.second, self.pixels = nn.Linear(latents, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, inputs)
        self.prior_mean = nn.Parameter(0.05 * torch.randn(units, latents, generator=torch.Generator().manual_seed(seed)))
        self.prior_log_var = nn.Parameter(torch.zeros(units, latents))
        rng = torch.Generator().manual_seed(seed + 1)
        self.register_buffer("gates", (torch.rand(2, units, hidden, generator=rng) >= gated).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))  # type: ignore[no-any-return]

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Logits of the pixels (B, D), through the units that class y (B,) leaves on."""
        hidden = F.relu(self.first(z)) * self.gates[0][y]
        hidden = F.relu(self.second(hidden)) * self.gates[1][y]
        return self.pixels(hidden)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Scores (B, K) and the generative loss a pixel (B,): reconstruction and log q(z|x) − log p(z|y) at one sample of z."""
        hidden = self.encoder(x)
        mean, log_var = self.mean(hidden).float(), self.log_var(hidden).float()
        z = reparametrised(mean, log_var, rng)
        kl = log_normal(z, mean, log_var) - self.log_prior(z, y)
        return self.head(hidden), pixel_loss(self.decode(z, y), x) + kl / self.inputs

    def log_prior(self, z: Tensor, y: Tensor) -> Tensor:
        """log p(z|y) (B,); without conditional replay a standard normal."""
        if not self.conditional:
            return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
        return log_normal(z, self.prior_mean[y], self.prior_log_var[y])

    @torch.no_grad()
    def sample(self, y: Tensor, rng: torch.Generator) -> Tensor:
        """Inputs (B, D) of the classes y."""
        z = torch.randn(len(y), self.latents, generator=rng)
        if self.conditional:
            z = self.prior_mean[y] + z * (self.prior_log_var[y] / 2).exp()
        return self.decode(z, y).float().sigmoid()


class RandomLayer(nn.Module):
    """A frozen random map with sigmoids, D → H (random features, Rahimi & Recht 2007); values in 0 … 1, as a Bernoulli decoder needs them."""

    def __init__(self, inputs: int, hidden: int, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", 4 * torch.randn(hidden, inputs, generator=rng) / math.sqrt(inputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(F.linear(x, self.weight))  # type: ignore[arg-type]


def reparametrised(mean: Tensor, log_var: Tensor, rng: torch.Generator) -> Tensor:
    """mean + σ·ε with σ = exp(log σ² / 2)."""
    return mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=rng)


def log_normal(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mean, exp(log_var)), summed over the last dimension."""
    return -0.5 * (LOG_2_PI + log_var + (z - mean).square() / log_var.exp()).sum(-1)


def pixel_loss(logits: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the pixels, one value an example (B,)."""
    return F.binary_cross_entropy_with_logits(logits.float(), x, reduction="none").mean(1)


def masked(scores: Tensor, visible: Tensor) -> Tensor:
    """Scores (B, K) with the units that may not be chosen at −∞; `visible` is (K,) or (B, K)."""
    return scores.float().masked_fill(~visible, -torch.inf)
