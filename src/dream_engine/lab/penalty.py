"""Penalties that hold parameters where the past needs them: EWC, online EWC, SI. They add a loss and watch the steps."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from dream_engine.lab.data import Context
from dream_engine.lab.nets import Classifier, masked

FISHER_BATCH = 256
TINY = 1e-30
"""Keeps a parameter that no context needs where it was, instead of 0/0."""


class Penalty(Protocol):
    """Called in this order each step: `value`, (backward), `before`, (optimiser), `after`; then `end` with the context."""

    def value(self) -> Tensor | float: ...

    def before(self) -> None: ...

    def after(self) -> None: ...

    def end(self, context: Context) -> None: ...


class Free:
    """No penalty."""

    def value(self) -> Tensor | float:
        return 0.0

    def before(self) -> None: ...

    def after(self) -> None: ...

    def end(self, context: Context) -> None: ...


class Elastic:
    """Elastic weight consolidation (Kirkpatrick 2017, eq. 3): ½ λ Σ F (θ − θ*)².

    `decay` None holds a term for every context; a number keeps one running term, F ← decay·F + F_new around the newest θ*
    (online EWC, Schwarz 2018). Terms of several contexts are one: Σ_t F_t (θ − θ_t)² = F (θ − θ̄)² + a constant, with F = Σ F_t and
    θ̄ = Σ F_t θ_t / F, so that a step costs the same however many contexts there were.
    """

    def __init__(self, net: Classifier, strength: float, decay: float | None = None) -> None:
        self._net, self._strength, self._decay = net, strength, decay
        self._fisher: list[Tensor] = []
        self._centre: list[Tensor] = []

    def value(self) -> Tensor | float:
        """The penalty without the constant, which no gradient sees."""
        terms = [(f * (p - c).square()).sum() for p, f, c in zip(self._net.parameters(), self._fisher, self._centre, strict=False)]
        return 0.5 * self._strength * torch.stack(terms).sum() if terms else 0.0

    def before(self) -> None: ...

    def after(self) -> None: ...

    def end(self, context: Context) -> None:
        new, at = fisher_diagonal(self._net, context), [p.detach().clone() for p in self._net.parameters()]
        if not self._fisher:
            self._fisher, self._centre = new, at
        elif self._decay is not None:
            self._fisher, self._centre = [self._decay * f + n for f, n in zip(self._fisher, new, strict=True)], at
        else:
            self._centre = [c + (a - c) * n / (f + n).clamp_min(TINY) for f, c, n, a in zip(self._fisher, self._centre, new, at, strict=True)]
            self._fisher = [f + n for f, n in zip(self._fisher, new, strict=True)]


def fisher_diagonal(net: Classifier, context: Context) -> list[Tensor]:
    """Diagonal of the Fisher information at the context's examples, one tensor a parameter, divided by N.

    F = 1/N Σ_x Σ_k p(k|x) (∂ log p(k|x)/∂θ)², exact over the units that may be chosen. For a linear map the squared gradient of one
    example is (δ_o a_i)², so a batch's sum is one product of squares, (δ²)ᵀ a².
    """
    total = [torch.zeros_like(p) for p in net.parameters()]
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    units = context.visible.nonzero().flatten().tolist()
    for start in range(0, len(context.train), FISHER_BATCH):
        x = context.train.x[start : start + FISHER_BATCH]
        inputs, outputs, scores = _traced(net, linear, x)
        log_p = torch.log_softmax(masked(scores, context.visible), 1)
        for k in units:
            deltas = torch.autograd.grad(log_p[:, k].sum(), outputs, retain_graph=True)
            weight = log_p[:, k].detach().exp().unsqueeze(1)
            for index, (a, delta) in enumerate(zip(inputs, deltas, strict=True)):
                squared = weight * delta.square()
                total[2 * index] += squared.T @ a.square()
                total[2 * index + 1] += squared.sum(0)
    return [t / len(context.train) for t in total]


def _traced(net: Classifier, linear: list[nn.Linear], x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Input and output of every linear map for a batch, and the scores."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        inputs.append(given[0].detach())
        outputs.append(made)

    hooks = [m.register_forward_hook(keep) for m in linear]
    try:
        scores = net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs, outputs, scores


class Synaptic:
    """Synaptic intelligence (Zenke 2017, eq. 4 and 5): c Σ Ω (θ − θ*)², Ω summed over contexts from ω / (Δ² + ξ).

    ω is the path integral of −gradient · step, gathered at every step. `over` are the parameters that it holds.
    """

    def __init__(self, over: list[nn.Parameter], strength: float, damping: float = 0.1) -> None:
        self._over, self._strength, self._damping = over, strength, damping
        self._path = [torch.zeros_like(p) for p in over]
        self._held = [torch.zeros_like(p) for p in over]
        self._at = [p.detach().clone() for p in over]
        self._was = [p.detach().clone() for p in over]
        self._any = False

    def value(self) -> Tensor | float:
        if not self._any:
            return 0.0
        return self._strength * torch.stack([(h * (p - a).square()).sum() for h, p, a in zip(self._held, self._over, self._at, strict=True)]).sum()

    def before(self) -> None:
        for was, p in zip(self._was, self._over, strict=True):
            was.copy_(p.detach())

    def after(self) -> None:
        for path, was, p in zip(self._path, self._was, self._over, strict=True):
            if p.grad is not None:
                path.sub_(p.grad * (p.detach() - was))

    def end(self, context: Context) -> None:
        for path, held, at, p in zip(self._path, self._held, self._at, self._over, strict=True):
            held.add_(path / ((p.detach() - at).square() + self._damping))
            at.copy_(p.detach())
            path.zero_()
        self._any = True
