"""Ω Rehearsal: a bounded offline fit of one adapter on screened dreams. The only place that trains.

Knows nothing about safety or verdicts. Each row says which positions carry loss, how much each weighs, and whose distribution
it is drawn to: a teacher's (forward KL over its stored top-K) or the text's own (cross-entropy).
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from dream_engine.models.batches import by_tokens, log_softmaxes
from dream_engine.models.hf import ChatModel
from dream_engine.models.template import Encoded
from dream_engine.types import digest

_log = logging.getLogger(__name__)
TOP_K = 32
Progress = Callable[[int, int], None]


class Soft(NamedTuple):
    """A teacher's distribution at the answer positions: its K likeliest tokens (N, K) and their log-probabilities."""

    ids: torch.Tensor
    logp: torch.Tensor


@dataclass(frozen=True)
class Row:
    """One training row. `weight` scales the row, `first_weight` the first `FIRST` answer tokens; `soft` None is cross-entropy."""

    encoded: Encoded
    weight: float = 1.0
    first_weight: float = 1.0
    soft: Soft | None = None

    @property
    def num_targets(self) -> int:
        return len(self.encoded.ids) - self.encoded.num_prompt


FIRST = 5
"""Answer tokens in which the decision to refuse falls (2406.05946 puts the safety of aligned models there)."""


@dataclass(frozen=True)
class RehearsalPlan:
    """How one adapter is fitted. Field names follow TRL."""

    learning_rate: float
    num_train_epochs: float = 1.0
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    ema_decay: float = 0.0
    max_steps: int = 0
    seed: int = 0
    save_steps: int = 20
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class Pull:
    """A quadratic penalty ½ λ Σ F (θ − θ*)² on an adapter: `strength` λ, `towards` θ*, `importance` F, 1 everywhere without it.

    With Fisher information it is elastic weight consolidation (Kirkpatrick 2017, eq. 3), with path contributions synaptic intelligence (Zenke 2017,
    eq. 4), without either a proximal term. All of them are flat: the adapter's tensors one behind the other.
    """

    strength: float
    towards: torch.Tensor
    importance: torch.Tensor | None = None

    def gradient(self, weights: torch.Tensor) -> torch.Tensor:
        """λ F (θ − θ*)."""
        away = self.strength * (weights.detach() - self.towards)
        return away if self.importance is None else away * self.importance


def flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """All numbers of these tensors in one, in fp32 and apart from any graph."""
    return torch.cat([t.detach().flatten() for t in tensors]).float()


def pull_towards(model: ChatModel, adapter: str, strength: float, importance: torch.Tensor | None = None) -> Pull:
    """A pull towards this adapter, each weight by its importance scaled to mean 1, or all alike."""
    scaled = None if importance is None else importance / importance.mean().clamp_min(1e-30)
    return Pull(strength, flat(model.adapter_parameters(adapter)), scaled)


def fisher(model: ChatModel, adapter: str, rows: Sequence[Row]) -> torch.Tensor:
    """Diagonal Fisher information of the adapter at these rows, flat: the mean squared gradient of a row."""
    parameters = model.adapter_parameters(adapter)
    squares = torch.zeros_like(flat(parameters))
    with model.using(adapter), trained(parameters):
        for row in rows:
            batch_loss(model, [row]).backward()
            squares += taken_gradient(parameters).square() / len(rows)
    return squares


PATH_POINTS = 8


def path_contributions(model: ChatModel, adapter: str, rows: Sequence[Row]) -> torch.Tensor:
    """What each weight did for the loss on these rows along the straight way from no adapter to this one, nats, flat; they add up to what it fell by.

    ω = −∫ g dθ (Zenke 2017, eq. 3) by the midpoint rule. The straight way stands for the one that training took, which an adapter made elsewhere
    does not tell.
    """
    parameters = model.adapter_parameters(adapter)
    whole = flat(parameters)
    contributions = torch.zeros_like(whole)
    with model.using(adapter), trained(parameters):
        for point in range(PATH_POINTS):
            put(whole * ((point + 0.5) / PATH_POINTS), parameters)
            for row in rows:
                batch_loss(model, [row]).backward()
                contributions -= whole * taken_gradient(parameters) / (PATH_POINTS * len(rows))
        put(whole, parameters)
    return contributions


def synaptic(model: ChatModel, adapter: str, rows: Sequence[Row]) -> torch.Tensor:
    """Synaptic intelligence's importance (Zenke 2017, eq. 5), flat: max(ω, 0) / (Δ² + ξ), with Δ a weight's way from 0 and ξ the mean of Δ²."""
    moved = flat(model.adapter_parameters(adapter)).square()
    return path_contributions(model, adapter, rows).clamp_min(0) / (moved + moved.mean().clamp_min(1e-30))


@torch.no_grad()
def put(weights: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Flat weights into these parameters, in the parameters' own precision."""
    for parameter, part in zip(parameters, parts_of(weights, parameters), strict=True):
        parameter.copy_(part)


def parts_of(whole: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    """A flat tensor as views in these parameters' shapes."""
    return [part.view_as(p) for p, part in zip(parameters, whole.split([p.numel() for p in parameters]), strict=True)]


def taken_gradient(parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """What the last backward pass left at these parameters, flat, 0 where it left nothing; they have none afterwards."""
    found = flat(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
    for parameter in parameters:
        parameter.grad = None
    return found


@contextmanager
def trained(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Gradients for these parameters, and for nothing once it is over."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


@dataclass(frozen=True)
class Rehearsed:
    """What a fit cost and how its loss went. Trained tokens are positions that carry loss."""

    steps: int
    trained_tokens: int
    seen_tokens: int
    losses: tuple[float, ...]


def soften(model: ChatModel, adapter: str | None, rows: Sequence[Encoded], tokens_per_batch: int = 2048) -> list[Soft]:
    """The distribution of `adapter` at every answer position of `rows`, its top-K only. A row that is there several times is computed once."""
    distinct = list(dict.fromkeys(rows))
    out: dict[Encoded, Soft] = {}
    with model.using(adapter), torch.no_grad():
        for batch in by_tokens([len(row.ids) for row in distinct], tokens_per_batch):
            chosen = [distinct[i] for i in batch]
            top, ids = top_of(model.target_logits(chosen))  # (N, K)
            sizes = [len(row.ids) - row.num_prompt for row in chosen]
            out |= {row: Soft(i.to(torch.int32), t) for row, i, t in zip(chosen, ids.split(sizes), top.split(sizes), strict=True)}
            model.report(len(out), len(distinct))
    return [out[row] for row in rows]


def top_of(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The K largest log-probabilities of each row of logits (N, V) and their tokens, (N, K) each."""
    parts = [logp.topk(min(TOP_K, logp.shape[-1]), -1) for logp in log_softmaxes(logits)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def forward_kl(logits: torch.Tensor, soft: Soft) -> torch.Tensor:
    """KL(teacher ‖ student) per position in nats, over the teacher's top-K plus one bucket for all the rest.

    The bucket keeps it a divergence between true distributions (≥ 0, 0 iff they agree on the K + 1 events).
    """
    logq = torch.log_softmax(logits.float(), -1).gather(-1, soft.ids.long())  # (N, K)
    p = soft.logp.exp()
    rest_p = (1 - p.sum(-1)).clamp_min(1e-6)
    rest_q = (1 - logq.exp().sum(-1)).clamp_min(1e-6)
    return (p * (soft.logp - logq)).sum(-1) + rest_p * (rest_p.log() - rest_q.log())


def batch_loss(model: ChatModel, rows: Sequence[Row], weight: float | None = None) -> torch.Tensor:
    """Weighted mean over the batch's answer positions of forward KL (soft rows) or −log p (hard rows).

    With `weight`, the sum is divided by that instead: the parts of an accumulated batch then add up to the loss of the whole.
    """
    logits = model.target_logits([row.encoded for row in rows])  # (N, V)
    total = logits.new_zeros((), dtype=torch.float32)
    for row, part in zip(rows, logits.split([row.num_targets for row in rows]), strict=True):
        losses = forward_kl(part, row.soft) if row.soft else _cross_entropy(part, row)
        total = total + (losses * _position_weights(row, part.device)).sum()
    return total / max(total_weight(rows) if weight is None else weight, 1e-8)


def total_weight(rows: Sequence[Row]) -> float:
    """The weights of all positions that carry loss."""
    return sum(float(_position_weights(row, torch.device("cpu")).sum()) for row in rows)


def rehearse(
    model: ChatModel,
    adapter: str,
    rows: Sequence[Row],
    plan: RehearsalPlan,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    pull: Pull | None = None,
) -> Rehearsed:
    """Fits `adapter` on `rows`; with EMA the averaged weights are what remains in it.

    With `checkpoint`, progress is saved every `save_steps` and a killed fit goes on from there to bit-identical weights.
    """
    batches = list(_batches(rows, plan))
    state = AdapterFit(model.adapter_parameters(adapter), plan, len(batches), pull)
    losses = state.resume(checkpoint, _fingerprint(rows, plan, pull)) if checkpoint else []
    with model.using(adapter), model.checkpointing(plan.gradient_checkpointing), trained(state.parameters):
        for step in range(len(losses), len(batches)):
            losses.append(state.step(model, batches[step]))
            if progress:
                progress(step + 1, len(batches))
            if checkpoint and (step + 1) % plan.save_steps == 0:
                state.save(checkpoint, losses, _fingerprint(rows, plan, pull))
    state.finish()
    seen = [row for batch in batches for row in batch]
    return Rehearsed(len(batches), sum(r.num_targets for r in seen), sum(len(r.encoded.ids) for r in seen), tuple(losses))


class AdapterFit:
    """fp32 master weights, AdamW and EMA behind an adapter that computes in the model's own precision.

    They are flat: an adapter has hundreds of small tensors, and a CPU would spend a twentieth of each step on going from one to the next.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], plan: RehearsalPlan, total: int, pull: Pull | None = None) -> None:
        self.parameters, self.plan, self.total, self.done, self.pull = parameters, plan, total, 0, pull
        self.master = flat(parameters).requires_grad_(True)
        self.ema = self.master.detach().clone()
        self.decay = min(plan.ema_decay, 1 - 10 / total) if total > 10 else 0.0
        self.optimizer = torch.optim.AdamW(
            [self.master], lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=parameters[0].device.type == "cuda"
        )

    def step(self, model: ChatModel, batch: Sequence[Row]) -> float:
        """One batch, part by part where it is accumulated: its loss, the gradients, the update; returns the loss."""
        size, weight, total = self.plan.per_device_train_batch_size, total_weight(batch), 0.0
        for start in range(0, len(batch), size):
            loss = batch_loss(model, batch[start : start + size], weight)
            loss.backward()
            total += float(loss.detach())
        self.update()
        return total

    def update(self) -> None:
        """Moves the master weights by the adapter's gradients, publishes them, and averages."""
        gradient = taken_gradient(self.parameters)
        self.master.grad = gradient + self.pull.gradient(self.master) if self.pull else gradient
        norm = torch.nn.utils.get_total_norm(parts_of(self.master.grad, self.parameters))
        torch.nn.utils.clip_grads_with_norm_(self.master, self.plan.max_grad_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * schedule(self.done, self.total, self.plan.warmup_ratio)
        self.optimizer.step()
        self.done += 1
        put(self.master, self.parameters)
        self.ema.lerp_(self.master.detach(), 1 - self.decay)

    def finish(self) -> None:
        """Leaves the averaged weights in the adapter."""
        put(self.ema, self.parameters)

    def save(self, path: Path, losses: list[float], fingerprint: str) -> None:
        """Writes the whole state beside `path` and renames it into place, so that a kill leaves the old one."""
        moments = self.optimizer.state[self.master]
        tensors = {"master": self.master.detach(), "ema": self.ema, "m": moments["exp_avg"], "v": moments["exp_avg_sq"]}
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        save_file(tensors, scratch, metadata={"losses": json.dumps(losses), "fingerprint": fingerprint})
        os.replace(scratch, path)

    def resume(self, path: Path, fingerprint: str) -> list[float]:
        """Continues from `path` when it belongs to this very fit; returns the losses so far."""
        if not path.is_file():
            return []
        from safetensors import safe_open

        with safe_open(path, "pt") as opened:
            meta = opened.metadata()
        if meta.get("fingerprint") != fingerprint:
            _log.info("checkpoint %s belongs to other rows or another plan; starting over", path)
            return []
        tensors = load_file(path)
        losses: list[float] = json.loads(meta["losses"])
        self.done = len(losses)
        with torch.no_grad():
            self.master.copy_(tensors["master"])
        self.ema = tensors["ema"].to(self.master.device)
        moments = {"exp_avg": tensors["m"].to(self.master.device), "exp_avg_sq": tensors["v"].to(self.master.device)}
        self.optimizer.state[self.master] = {"step": torch.tensor(float(self.done), device=self.master.device), **moments}
        put(self.master, self.parameters)
        return losses


def schedule(step: int, total: int, warmup_ratio: float) -> float:
    """Linear warm-up, then cosine to a tenth; a factor in (0, 1] of the learning rate."""
    warmup = max(1, round(total * warmup_ratio))
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _batches(rows: Sequence[Row], plan: RehearsalPlan) -> Iterable[list[Row]]:
    """Shuffled rows, each once an epoch, grouped by length inside windows of eight batches; `max_steps` > 0 cuts."""
    rng = random.Random(plan.seed)
    size = plan.per_device_train_batch_size * plan.gradient_accumulation_steps
    wanted = math.ceil(len(rows) * plan.num_train_epochs)
    wanted = min(wanted, plan.max_steps * size) if plan.max_steps else wanted
    order: list[int] = []
    while len(order) < wanted:
        order += rng.sample(range(len(rows)), len(rows))
    del order[wanted:]
    for start in range(0, wanted, 8 * size):
        window = sorted(order[start : start + 8 * size], key=lambda i: len(rows[i].encoded.ids))
        batches = [window[i : i + size] for i in range(0, len(window), size)]
        rng.shuffle(batches)
        for batch in batches:
            yield [rows[i] for i in batch]


def _position_weights(row: Row, device: torch.device) -> torch.Tensor:
    weights = torch.full((row.num_targets,), float(row.weight), device=device)
    weights[:FIRST] *= row.first_weight
    return weights


def _cross_entropy(logits: torch.Tensor, row: Row) -> torch.Tensor:
    wanted = torch.tensor(row.encoded.ids[row.encoded.num_prompt :], device=logits.device)
    return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")


def _fingerprint(rows: Sequence[Row], plan: RehearsalPlan, pull: Pull | None) -> str:
    taught = [[row.encoded.ids, row.encoded.num_prompt, row.weight, row.first_weight] for row in rows]
    return digest(["each once, in lines", asdict(plan), taught, pull.strength if pull else None])
