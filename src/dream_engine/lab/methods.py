"""The methods of the lab: each a small composition of a network, a source of the past and a penalty. A table, no flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from dream_engine.errors import InputError
from dream_engine.lab.data import Stream
from dream_engine.lab.diffusion import Diffused
from dream_engine.lab.learners import FeedbackLearner, GenerativeClassifier, Learner, Rehearser
from dream_engine.lab.nets import Classifier, FeedbackNet
from dream_engine.lab.penalty import Elastic, Free, Penalty, Synaptic
from dream_engine.lab.replay import INTACT, Buffer, CurrentInputs, Generated, GeneratorEach, Nothing, Replay, Spoiled


@dataclass(frozen=True)
class Plan:
    """Sizes and rates of a run. Defaults are the reference's for split MNIST (van de Ven & Tolias 2019)."""

    iterations: int = 2000
    batch: int = 128
    learning_rate: float = 1e-3
    hidden: int = 400
    latents: int = 100
    temperature: float = 2.0
    bf16: bool = False
    permuted: bool = False
    present: float | None = None
    spoiled: Spoiled = INTACT


PERMUTED_PLAN = Plan(iterations=5000, learning_rate=1e-4, hidden=1000, permuted=True)
"""The reference's for permuted MNIST: ten contexts, images padded to 32 × 32."""

SI_STRENGTH = {"task": 10.0, "domain": 5e4, "class": 5e3}
EWC_STRENGTH = {"task": 1e5, "domain": 1e10, "class": 1e9}
PERMUTED_SI, PERMUTED_EWC = {"task": 10.0, "domain": 10.0, "class": 5.0}, 100.0
GATED = {"task": 0.0, "domain": 0.1, "class": 0.1}
PERMUTED_GATED = {"task": 0.0, "domain": 0.5, "class": 0.7}
STORED = {"class": 100, "permuted": 10}

Build = Callable[[Stream, Plan, int], Learner]


def _rehearser(
    stream: Stream, plan: Plan, seed: int, replay: Callable[[torch.Generator], Replay], penalty: Callable[[Classifier], Penalty]
) -> Rehearser:
    torch.manual_seed(seed)
    net = Classifier(stream.inputs, plan.hidden, stream.units)
    rng = torch.Generator().manual_seed(seed + 1)
    return Rehearser(stream, net, replay(rng), penalty(net), plan.learning_rate, plan.temperature, plan.bf16, plan.present)


def _free(net: Classifier) -> Penalty:
    return Free()


def none(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Nothing holds the past: the lower bound. With all data at once (`joint`) the upper one."""
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), _free)


def experience_replay(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A buffer with the same number of every class."""
    budget = STORED["permuted" if plan.permuted else "class"]
    return _rehearser(stream, plan, seed, lambda rng: Buffer(stream, budget, "class", rng), _free)


def reservoir_replay(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A uniform sample of everything seen, of the size that `er` has in the end."""
    budget = STORED["permuted" if plan.permuted else "class"] * stream.units
    return _rehearser(stream, plan, seed, lambda rng: Buffer(stream, budget, "reservoir", rng), _free)


def dgr(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Deep generative replay with hard labels."""
    return _rehearser(stream, plan, seed, lambda rng: _generated(stream, plan, None, rng), _free)


def dgr_distilled(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Deep generative replay with soft labels."""
    return _rehearser(stream, plan, seed, lambda rng: _generated(stream, plan, plan.temperature, rng), _free)


def _generated(stream: Stream, plan: Plan, temperature: float | None, rng: torch.Generator) -> Generated:
    return Generated(stream, plan.hidden, plan.latents, plan.learning_rate, temperature, rng, plan.spoiled)


def generator_each(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A small generator for every class, trained once; soft labels from the former classifier. Ours."""
    return _rehearser(stream, plan, seed, lambda rng: GeneratorEach(stream, plan.hidden // 2, 20, plan.learning_rate, None, rng), _free)


def diffusion(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A small guided denoiser as the generator."""
    return _rehearser(stream, plan, seed, lambda rng: Diffused(stream, 2 * plan.hidden, plan.learning_rate, plan.temperature, rng), _free)


def lwf(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Learning without forgetting."""
    return _rehearser(stream, plan, seed, lambda rng: CurrentInputs(stream, plan.temperature, rng), _free)


def ewc(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Elastic weight consolidation, a term for every context."""
    strength = PERMUTED_EWC if plan.permuted else EWC_STRENGTH[stream.scenario]
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), lambda net: Elastic(net, strength))


def online_ewc(stream: Stream, plan: Plan, seed: int) -> Learner:
    """One running term."""
    strength = PERMUTED_EWC if plan.permuted else EWC_STRENGTH[stream.scenario]
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), lambda net: Elastic(net, strength, decay=1.0))


def si(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Synaptic intelligence."""
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), lambda net: Synaptic(list(net.parameters()), _si_strength(stream, plan)))


def _si_strength(stream: Stream, plan: Plan) -> float:
    return (PERMUTED_SI if plan.permuted else SI_STRENGTH)[stream.scenario]


def _feedback(stream: Stream, plan: Plan, seed: int, penalty: Callable[[FeedbackNet], Penalty]) -> FeedbackLearner:
    torch.manual_seed(seed)
    gated = (PERMUTED_GATED if plan.permuted else GATED)[stream.scenario]
    net = FeedbackNet(stream.inputs, plan.hidden, stream.units, plan.latents, gated, conditional=True, seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    return FeedbackLearner(stream, net, penalty(net), plan.learning_rate, plan.temperature, plan.bf16, rng)


def bir(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Brain-inspired replay: feedback, conditional prior, gates, distillation."""
    return _feedback(stream, plan, seed, lambda net: Free())


def bir_si(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Brain-inspired replay whose encoder and classifier are held by synaptic intelligence as well (Kim 2025)."""

    def held(net: FeedbackNet) -> Penalty:
        return Synaptic([*net.encoder.parameters(), *net.head.parameters()], _si_strength(stream, plan))

    return _feedback(stream, plan, seed, held)


def generative_classifier(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A VAE for each class, Bayes' rule."""
    torch.manual_seed(seed)
    return GenerativeClassifier(stream, 85, 5, plan.learning_rate, 50, torch.Generator().manual_seed(seed + 1))


METHODS: Mapping[str, Build] = {
    "none": none,
    "joint": none,
    "er": experience_replay,
    "er-reservoir": reservoir_replay,
    "dgr": dgr,
    "dgr+distill": dgr_distilled,
    "generator-each": generator_each,
    "diffusion": diffusion,
    "bi-r": bir,
    "bi-r+si": bir_si,
    "lwf": lwf,
    "ewc": ewc,
    "online-ewc": online_ewc,
    "si": si,
    "generative-classifier": generative_classifier,
}
"""`joint` is `none` given all data so far at once; the run sees to that."""


def method(name: str) -> Build:
    """
    Raises:
        InputError: there is no such method.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is not known; choose among {', '.join(METHODS)}")
    return METHODS[name]
