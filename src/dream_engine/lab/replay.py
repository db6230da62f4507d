"""Where a learner's past comes from: nothing, stored examples, the current inputs, or a generator.

A source gives batches of the past and is told what was learned. It never sees a context's data after that context has ended,
unless storing some is what it does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from dream_engine.errors import InputError
from dream_engine.lab.batch import Batch, labelled
from dream_engine.lab.data import Context, Stream
from dream_engine.lab.nets import VAE

Keeping = Literal["class", "reservoir", "newest"]
"""`class`: the same number of every class. `reservoir`: a uniform sample of everything seen (Vitter 1985, algorithm R). `newest`: the last ones seen,
the oldest leaves first (the replay memory of DQN, Mnih 2015)."""


class Replay(Protocol):
    """A source of the past. Called in this order: `begin`, then `draw` and `learn` each step, then `end`."""

    def begin(self, number: int, net: nn.Module) -> None:
        """Context `number` (from 1) starts; `net` is the classifier as it was left."""

    def draw(self, count: int, now: Tensor) -> Batch | None:
        """A batch of the past, or None while there is none."""

    def learn(self, now: Batch, past: Batch | None, share: float) -> None:
        """One step was made on these; `share` is the weight of the present."""

    def end(self, context: Context) -> None:
        """The context is over."""


class Nothing:
    """No replay: the lower bound."""

    def begin(self, number: int, net: nn.Module) -> None: ...

    def draw(self, count: int, now: Tensor) -> Batch | None:
        return None

    def learn(self, now: Batch, past: Batch | None, share: float) -> None: ...

    def end(self, context: Context) -> None: ...


class Buffer:
    """Experience replay from stored examples, drawn evenly. `budget` is per class for `class`, in all for the others."""

    def __init__(self, stream: Stream, budget: int, keeping: Keeping, rng: torch.Generator) -> None:
        if budget < 1:
            raise InputError(f"an experience buffer of {budget} holds nothing; give a budget of 1 or more")
        self._stream, self._budget, self._keeping, self._rng = stream, budget, keeping, rng
        self._kept: list[tuple[Tensor, int]] = []
        self._number, self._offered = 0, 0

    def begin(self, number: int, net: nn.Module) -> None:
        self._number = number

    def draw(self, count: int, now: Tensor) -> Batch | None:
        if not self._kept:
            return None
        chosen = [self._kept[i] for i in torch.randint(len(self._kept), (count,), generator=self._rng).tolist()]
        y = torch.tensor([label for _, label in chosen])
        return Batch(torch.stack([x for x, _ in chosen]), y, self._stream.visible(self._number, y))

    def learn(self, now: Batch, past: Batch | None, share: float) -> None: ...

    def end(self, context: Context) -> None:
        if self._keeping == "class":
            for label in context.train.y.unique().tolist():
                some = context.train.of([label])
                order = torch.randperm(len(some), generator=self._rng)[: self._budget].tolist()
                self._kept += [(some.x[i], label) for i in order]
        else:
            for i in torch.randperm(len(context.train), generator=self._rng).tolist():
                self._offer((context.train.x[i], int(context.train.y[i])))

    def _offer(self, item: tuple[Tensor, int]) -> None:
        self._offered += 1
        if len(self._kept) < self._budget:
            self._kept.append(item)
            return
        oldest = (self._offered - 1) % self._budget
        slot = oldest if self._keeping == "newest" else int(torch.randint(self._offered, (1,), generator=self._rng))
        if slot < self._budget:
            self._kept[slot] = item


class Recombined(Buffer):
    """Experience replay of twists: each draw blends two stored examples of one class, at a share drawn evenly from 0 … 1 (mixup inside a class)."""

    def draw(self, count: int, now: Tensor) -> Batch | None:
        batch = super().draw(count, now)
        if batch is None:
            return None
        partner = torch.empty(count, dtype=torch.int64)
        for label in batch.y.unique().tolist():
            mine = (batch.y == label).nonzero().flatten()
            partner[mine] = mine[torch.randint(len(mine), (len(mine),), generator=self._rng)]
        share = torch.rand(count, 1, generator=self._rng)
        return Batch(share * batch.x + (1 - share) * batch.x[partner], batch.y, batch.visible)


class Past:
    """What the learner knew when the last context ended: a frozen copy that labels inputs for the contexts before."""

    def __init__(self, stream: Stream, rng: torch.Generator) -> None:
        self._stream, self._rng = stream, rng
        self._net: nn.Module | None = None
        self._number = 1

    def freeze(self, number: int, net: nn.Module) -> None:
        self._number = number
        self._net = copy.deepcopy(net).requires_grad_(False) if number > 1 else None

    def label(self, x: Tensor, temperature: float | None) -> Batch:
        """With the context told, one of the earlier contexts at random an example decides which units may be chosen."""
        assert self._net is not None, "nothing was frozen"
        visible = self._stream.seen(self._number - 1)
        if self._stream.scenario == "task":
            each = torch.stack([c.visible for c in self._stream.contexts[: self._number - 1]])
            visible = each[torch.randint(len(each), (len(x),), generator=self._rng)]
        with torch.no_grad():
            batch = labelled(self._net(x), x, visible, temperature)
        if self._stream.scenario != "class":
            return batch
        now = self._stream.seen(self._number)
        return Batch(x, batch.y, now, batch.soft)


class CurrentInputs:
    """Learning without forgetting (Li & Hoiem 2016): the current inputs, as the former network would have answered them."""

    def __init__(self, stream: Stream, temperature: float, rng: torch.Generator) -> None:
        self._past, self._temperature, self._number = Past(stream, rng), temperature, 1

    def begin(self, number: int, net: nn.Module) -> None:
        self._number = number
        self._past.freeze(number, net)

    def draw(self, count: int, now: Tensor) -> Batch | None:
        return self._past.label(now, self._temperature) if self._number > 1 else None

    def learn(self, now: Batch, past: Batch | None, share: float) -> None: ...

    def end(self, context: Context) -> None: ...


@dataclass(frozen=True)
class Spoiled:
    """How a generator is spoiled on purpose, to see that the gate notices.

    `noise` adds that standard deviation to every sample, `brightness` that constant; training stops after `steps`; samples that the
    former classifier takes for class `without` are replaced by others.
    """

    noise: float = 0.0
    brightness: float = 0.0
    steps: int | None = None
    without: int | None = None


INTACT = Spoiled()


class Generated:
    """Deep generative replay (Shin 2017): a second network generates inputs, the former classifier labels them.

    One generator learns the whole stream, its own samples included; its optimiser is kept over the contexts. With a temperature
    the labels are soft (DGR + distillation).
    """

    def __init__(
        self, stream: Stream, hidden: int, latents: int, lr: float, temperature: float | None, rng: torch.Generator, spoiled: Spoiled = INTACT
    ) -> None:
        self._past, self._temperature, self._rng, self._spoiled = Past(stream, rng), temperature, rng, spoiled
        self._vae = VAE(stream.inputs, hidden, latents)
        self._optimiser = torch.optim.Adam(self._vae.parameters(), lr, fused=True)
        self._source: VAE | None = None
        self.steps = 0

    def begin(self, number: int, net: nn.Module) -> None:
        if number > 1 and self.steps == 0:
            raise InputError("generative replay was asked for with a generator that was never trained; give it steps in the first context")
        self._past.freeze(number, net)
        self._source = copy.deepcopy(self._vae).requires_grad_(False) if number > 1 else None

    def draw(self, count: int, now: Tensor) -> Batch | None:
        if self._source is None:
            return None
        batch = self._past.label(self.generate(count), self._temperature)
        return batch if self._spoiled.without is None else _without(batch, self._spoiled.without)

    def generate(self, count: int) -> Tensor:
        """Inputs (count, D) of the contexts before."""
        if self._source is None:
            raise InputError("there is no past to generate from in the first context")
        x, spoiled = self._source.sample(count, self._rng), self._spoiled
        if spoiled.noise or spoiled.brightness:
            x = (x + spoiled.brightness + spoiled.noise * torch.randn(x.shape, generator=self._rng)).clamp(0, 1)
        return x

    def learn(self, now: Batch, past: Batch | None, share: float) -> None:
        if self._spoiled.steps is not None and self.steps >= self._spoiled.steps:
            return
        loss = self._vae.loss(now.x, self._rng).mean()
        if past is not None:
            loss = share * loss + (1 - share) * self._vae.loss(past.x, self._rng).mean()
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self.steps += 1

    def end(self, context: Context) -> None: ...


def _without(batch: Batch, label: int) -> Batch:
    """The batch with every example of one label replaced by others, in turn; as it was when there are no others."""
    others = (batch.y != label).nonzero().flatten()
    if not len(others):
        return batch
    rows = torch.arange(len(batch.y))
    rows[batch.y == label] = others[torch.arange(int((batch.y == label).sum())) % len(others)]
    visible = batch.visible[rows] if batch.visible.dim() == 2 else batch.visible
    return Batch(batch.x[rows], batch.y[rows], visible, None if batch.soft is None else batch.soft[rows])


class GeneratorEach:
    """A generator for each class, trained on that class alone and then never again, so that no sample is a copy of a copy.

    The labels are known by construction; the former classifier sorts out samples that it takes for another class (once there is one).
    Nothing is stored but generators, so memory grows with the classes, as a generative classifier's does.
    """

    def __init__(self, stream: Stream, hidden: int, latents: int, lr: float, temperature: float | None, rng: torch.Generator) -> None:
        self._stream, self._temperature, self._rng = stream, temperature, rng
        self._sizes = (stream.inputs, hidden, latents)
        self._lr = lr
        self._past = Past(stream, rng)
        self._known: dict[int, VAE] = {}
        self._learning: dict[int, tuple[VAE, torch.optim.Optimizer]] = {}
        self._number = 1

    def begin(self, number: int, net: nn.Module) -> None:
        self._number = number
        self._past.freeze(number, net)
        self._learning = {}

    def draw(self, count: int, now: Tensor) -> Batch | None:
        if not self._known:
            return None
        labels = sorted(self._known)
        y = torch.tensor(labels)[torch.randint(len(labels), (count,), generator=self._rng)].sort().values
        x = torch.cat([self._known[label].sample(int((y == label).sum()), self._rng) for label in labels])
        batch = self._past.label(x, self._temperature)
        return Batch(x, y, batch.visible, batch.soft)

    def learn(self, now: Batch, past: Batch | None, share: float) -> None:
        for label in now.y.unique().tolist():
            vae, optimiser = self._learning.setdefault(label, self._fresh())
            optimiser.zero_grad()
            vae.loss(now.x[now.y == label], self._rng).mean().backward()
            optimiser.step()

    def _fresh(self) -> tuple[VAE, torch.optim.Optimizer]:
        vae = VAE(*self._sizes)
        return vae, torch.optim.Adam(vae.parameters(), self._lr, fused=True)

    def end(self, context: Context) -> None:
        self._known |= {label: vae.requires_grad_(False) for label, (vae, _) in self._learning.items()}
