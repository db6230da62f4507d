"""Learners of the lab: a classifier with a past and a penalty, replay through feedback, and a generative classifier.

A learner meets one context after the other; the loop is in `run.py`. Each is a composition, not a flag.
"""

from __future__ import annotations

import copy
import math
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from dream_engine.lab.batch import Batch
from dream_engine.lab.data import Context, Examples, Stream
from dream_engine.lab.metrics import macro_f1
from dream_engine.lab.nets import VAE, FeedbackNet, log_normal, masked, pixel_loss
from dream_engine.lab.penalty import Free, Penalty
from dream_engine.lab.replay import Past, Replay
from dream_engine.types import Missing

TESTED_AT_ONCE = 500


class Learner(Protocol):
    """Called in this order: `begin`, `step` for each batch, `end`; `scores` at any time."""

    def begin(self, number: int) -> None: ...

    def step(self, examples: Examples) -> None: ...

    def end(self, context: Context) -> None: ...

    def scores(self, x: Tensor) -> Tensor:
        """(B, K), not yet masked."""

    def hidden(self, x: Tensor) -> Tensor | None:
        """(B, H) of the last layer before the scores; None where there is none that all classes share."""


def products(bf16: bool) -> AbstractContextManager[None]:
    """Matrix products in bfloat16, or as they come."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


class Rehearser:
    """A classifier that rehearses: (1/t)·loss of the present + (1 − 1/t)·loss of the past + penalty, at context t."""

    def __init__(
        self, stream: Stream, net: nn.Module, replay: Replay, penalty: Penalty, lr: float, temperature: float, bf16: bool,
        present: float | None = None,
    ) -> None:  # fmt: skip
        """`net` has a `body` (B, H) under its scores (B, K). `present` fixes the weight of the present instead of 1/t."""
        self._present = present
        self._stream, self._net, self._replay, self._penalty = stream, net, replay, penalty
        self._optimiser = torch.optim.Adam(net.parameters(), lr, fused=True)
        self._temperature, self._bf16, self._number = temperature, bf16, 1

    def begin(self, number: int) -> None:
        self._number = number
        self._replay.begin(number, self._net)

    def step(self, examples: Examples) -> None:
        now = Batch(examples.x, examples.y, self._stream.visible(self._number, examples.y))
        share = 1 / self._number if self._present is None else self._present
        with products(self._bf16):
            past = self._replay.draw(len(examples), examples.x)
            loss = self._loss(now, past, share) + self._penalty.value()
            self._optimiser.zero_grad()
            loss.backward()
            self._penalty.before()
            self._optimiser.step()
            self._penalty.after()
            self._replay.learn(now, past, share)

    def _loss(self, now: Batch, past: Batch | None, share: float) -> Tensor:
        if past is None:
            return now.loss(self._net(now.x), self._temperature)
        scores = self._net(torch.cat([now.x, past.x]))
        present = now.loss(scores[: len(now.x)], self._temperature)
        return share * present + (1 - share) * past.loss(scores[len(now.x) :], self._temperature)

    def end(self, context: Context) -> None:
        self._penalty.end(context)
        self._replay.end(context)

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        with products(self._bf16):
            return torch.cat([self._net(part) for part in x.split(TESTED_AT_ONCE)]).float()

    @torch.no_grad()
    def hidden(self, x: Tensor) -> Tensor | None:
        with products(self._bf16):
            return torch.cat([self._net.body(part) for part in x.split(TESTED_AT_ONCE)]).float()  # type: ignore[operator]


class FeedbackLearner:
    """Brain-inspired replay (van de Ven 2020): one network, its own samples of past classes, soft targets from its former self."""

    def __init__(
        self, stream: Stream, net: FeedbackNet, penalty: Penalty, lr: float, temperature: float | None, bf16: bool, rng: torch.Generator
    ) -> None:
        self._stream, self._net, self._penalty, self._rng = stream, net, penalty, rng
        self._optimiser = torch.optim.Adam(net.parameters(), lr, fused=True)
        self._temperature, self._bf16, self._number = temperature, bf16, 1
        self._past, self._source = Past(stream, rng), copy.deepcopy(net)

    def begin(self, number: int) -> None:
        self._number = number
        self._past.freeze(number, self._net)
        self._source = copy.deepcopy(self._net).requires_grad_(False)

    def step(self, examples: Examples) -> None:
        now = Batch(examples.x, examples.y, self._stream.visible(self._number, examples.y))
        share = 1 / self._number
        with products(self._bf16):
            past, drawn = self._draw(len(examples)) if self._number > 1 else (None, None)
            loss = self._loss(now, past, drawn, share) + self._penalty.value()
            self._optimiser.zero_grad()
            loss.backward()
        self._penalty.before()
        self._optimiser.step()
        self._penalty.after()

    def _draw(self, count: int) -> tuple[Batch, Tensor]:
        """Samples of past classes as the former self labels them, and the classes that they were generated as."""
        labels = self._stream.seen(self._number - 1).nonzero().flatten()
        drawn = labels[torch.randint(len(labels), (count,), generator=self._rng)]
        return self._past.label(self._source.sample(drawn, self._rng), self._temperature), drawn

    def _loss(self, now: Batch, past: Batch | None, drawn: Tensor | None, share: float) -> Tensor:
        if past is None or drawn is None:
            scores, generative = self._net.loss(now.x, now.y, self._rng)
            return now.loss(scores, 1.0) + generative.mean()
        scores, generative = self._net.loss(torch.cat([now.x, past.x]), torch.cat([now.y, drawn]), self._rng)
        n = len(now.x)
        present = now.loss(scores[:n], 1.0) + generative[:n].mean()
        return share * present + (1 - share) * (past.loss(scores[n:], self._temperature or 1.0) + generative[n:].mean())

    def end(self, context: Context) -> None:
        self._penalty.end(context)

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        return self._net(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def hidden(self, x: Tensor) -> Tensor | None:
        return self._net.encoder(x)  # type: ignore[no-any-return]

    def sample(self, y: Tensor, rng: torch.Generator) -> Tensor:
        """What the network now dreams of the classes y: inputs (B, D)."""
        return self._net.sample(y, rng)


class Behind:
    """A learner that sees every input through a frozen layer only; what it replays is what that layer makes."""

    def __init__(self, layer: nn.Module, inner: FeedbackLearner) -> None:
        self._layer, self._inner = layer, inner

    def begin(self, number: int) -> None:
        self._inner.begin(number)

    def step(self, examples: Examples) -> None:
        self._inner.step(Examples(self._layer(examples.x), examples.y))

    def end(self, context: Context) -> None:
        self._inner.end(context)

    def scores(self, x: Tensor) -> Tensor:
        return self._inner.scores(self._layer(x))

    def hidden(self, x: Tensor) -> Tensor | None:
        return self._inner.hidden(self._layer(x))


class GenerativeClassifier:
    """A VAE for each class, trained on that class alone; an input belongs to the class that makes it likeliest (van de Ven 2021).

    log p(x|y) by importance sampling from q(z|x) with `samples` draws (Burda 2016, eq. 8).
    """

    def __init__(self, stream: Stream, hidden: int, latents: int, lr: float, samples: int, rng: torch.Generator) -> None:
        self._vaes = [VAE(stream.inputs, hidden, latents) for _ in range(stream.units)]
        self._optimisers = [torch.optim.Adam(v.parameters(), lr, fused=True) for v in self._vaes]
        self._samples, self._rng = samples, rng

    def begin(self, number: int) -> None: ...

    def step(self, examples: Examples) -> None:
        for label in examples.y.unique().tolist():
            self._optimisers[label].zero_grad()
            self._vaes[label].loss(examples.x[examples.y == label], self._rng).mean().backward()
            self._optimisers[label].step()

    def end(self, context: Context) -> None: ...

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        return torch.stack([log_likelihood(v, x, self._samples, self._rng) for v in self._vaes], 1)

    def hidden(self, x: Tensor) -> Tensor | None:
        return None


def log_likelihood(vae: VAE, x: Tensor, samples: int, rng: torch.Generator) -> Tensor:
    """log 1/S Σ p(x|z) p(z) / q(z|x) with z from q, in nats (B,)."""
    hidden = vae.encoder(x)
    mean, log_var = vae.mean(hidden), vae.log_var(hidden)
    weights = []
    for _ in range(samples):
        z = mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=rng)
        joint = log_normal(z, torch.zeros_like(z), torch.zeros_like(z)) - vae.inputs * pixel_loss(vae.decode(z), x)
        weights.append(joint - log_normal(z, mean, log_var))
    return torch.logsumexp(torch.stack(weights), 0) - math.log(samples)


def accuracy(learner: Learner, context: Context, visible: Tensor) -> float:
    """Share of the context's test examples that are told right among the visible units."""
    chosen = masked(learner.scores(context.test.x), visible).argmax(1)
    return float((chosen == context.test.y).float().mean())


def class_mean_f1(learner: Learner, context: Context, visible: Tensor) -> float:
    """Macro F1 of the context's test examples among the visible units; for labels of very different frequency."""
    chosen = masked(learner.scores(context.test.x), visible).argmax(1)
    found = macro_f1(chosen.tolist(), context.test.y.tolist())
    return 0.0 if isinstance(found, Missing) else found


__all__ = ["FeedbackLearner", "Free", "GenerativeClassifier", "Learner", "Rehearser", "accuracy", "class_mean_f1", "log_likelihood", "products"]
