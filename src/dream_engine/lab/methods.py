"""The methods of the lab: each a small composition of a network, a source of the past and a penalty. A table, no flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from dream_engine.errors import InputError
from dream_engine.lab.data import Stream
from dream_engine.lab.diffusion import Diffused
from dream_engine.lab.language import Itself, Reader, WordPairs, WritingLearner, Written
from dream_engine.lab.learners import Behind, FeedbackLearner, GenerativeClassifier, Learner, Rehearser
from dream_engine.lab.nets import Classifier, FeedbackNet, RandomLayer
from dream_engine.lab.penalty import Elastic, Free, Penalty, Synaptic
from dream_engine.lab.replay import INTACT, Buffer, CurrentInputs, Generated, GeneratorEach, Nothing, Recombined, Replay, Spoiled


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
Network = Classifier | Reader


def _rehearser(
    stream: Stream, plan: Plan, seed: int, replay: Callable[[torch.Generator], Replay], penalty: Callable[[Network], Penalty]
) -> Rehearser:
    return _with(Rehearser, stream, plan, seed, replay, penalty)


def _with(
    kind: type[Rehearser], stream: Stream, plan: Plan, seed: int, replay: Callable[[torch.Generator], Replay], penalty: Callable[[Network], Penalty]
) -> Rehearser:
    torch.manual_seed(seed)
    net = _network(stream, plan)
    rng = torch.Generator().manual_seed(seed + 1)
    return kind(stream, net, replay(rng), penalty(net), plan.learning_rate, plan.temperature, plan.bf16, plan.present)


def _network(stream: Stream, plan: Plan) -> Network:
    """Words are read by a transformer, numbers by an MLP."""
    return Classifier(stream.inputs, plan.hidden, stream.units) if stream.words is None else Reader(stream.vocabulary, stream.inputs, stream.units)


def _free(net: Network) -> Penalty:
    return Free()


def none(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Nothing holds the past: the lower bound. With all data at once (`joint`) the upper one."""
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), _free)


def _stored(plan: Plan) -> int:
    """Examples that a buffer keeps of each class."""
    return STORED["permuted" if plan.permuted else "class"]


def experience_replay(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A buffer with the same number of every class."""
    return _rehearser(stream, plan, seed, lambda rng: Buffer(stream, _stored(plan), "class", rng), _free)


def reservoir_replay(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A uniform sample of everything seen, of the size that `er` has in the end."""
    return _rehearser(stream, plan, seed, lambda rng: Buffer(stream, _stored(plan) * stream.units, "reservoir", rng), _free)


def newest_replay(stream: Stream, plan: Plan, seed: int) -> Learner:
    """The last examples seen, as many as `er` has in the end, drawn evenly (the buffer of DQN)."""
    return _rehearser(stream, plan, seed, lambda rng: Buffer(stream, _stored(plan) * stream.units, "newest", rng), _free)


def stored_share(share: float) -> Build:
    """A uniform sample of everything seen, of this share of all training data."""

    def build(stream: Stream, plan: Plan, seed: int) -> Learner:
        budget = max(1, round(share * sum(len(c.train) for c in stream.contexts)))
        return _rehearser(stream, plan, seed, lambda rng: Buffer(stream, budget, "reservoir", rng), _free)

    return build


def recombined(stream: Stream, plan: Plan, seed: int) -> Learner:
    """The buffer of `er`, but what is rehearsed are blends of two stored examples of a class: a twist of the past instead of the past itself."""
    _of_numbers(stream)
    return _rehearser(stream, plan, seed, lambda rng: Recombined(stream, _stored(plan), "class", rng), _free)


def lamol(stream: Stream, plan: Plan, seed: int) -> Learner:
    """The transformer writes its own past (LAMOL-like)."""
    return _with(WritingLearner, stream, plan, seed, lambda rng: Written(stream, Itself(), rng, plan.spoiled, plan.bf16), _free)


def n_gram(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Word pairs of each label write the transformer's past: the cheap baseline of `lamol`."""
    return _rehearser(stream, plan, seed, lambda rng: Written(stream, WordPairs(stream.inputs), rng, plan.spoiled, plan.bf16), _free)


def _of_numbers(stream: Stream) -> None:
    if stream.words is not None:
        raise InputError("this method generates numbers, and a transformer reads words; choose er, er-1%, er-5%, lwf, si, lamol or n-gram")


def dgr(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Deep generative replay with hard labels."""
    return _rehearser(stream, plan, seed, lambda rng: _generated(stream, plan, None, rng), _free)


def dgr_distilled(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Deep generative replay with soft labels."""
    return _rehearser(stream, plan, seed, lambda rng: _generated(stream, plan, plan.temperature, rng), _free)


def _generated(stream: Stream, plan: Plan, temperature: float | None, rng: torch.Generator) -> Generated:
    _of_numbers(stream)
    return Generated(stream, plan.hidden, plan.latents, plan.learning_rate, temperature, rng, plan.spoiled)


def generator_each(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A small generator for every class, trained once; soft labels from the former classifier. Ours."""
    _of_numbers(stream)
    return _rehearser(stream, plan, seed, lambda rng: GeneratorEach(stream, plan.hidden // 2, 20, plan.learning_rate, None, rng), _free)


def diffusion(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A small guided denoiser as the generator."""
    _of_numbers(stream)
    return _rehearser(stream, plan, seed, lambda rng: Diffused(stream, 2 * plan.hidden, plan.learning_rate, plan.temperature, rng), _free)


def lwf(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Learning without forgetting."""
    return _rehearser(stream, plan, seed, lambda rng: CurrentInputs(stream, plan.temperature, rng), _free)


def ewc(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Elastic weight consolidation, a term for every context."""
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), lambda net: _elastic(net, stream, plan, None))


def online_ewc(stream: Stream, plan: Plan, seed: int) -> Learner:
    """One running term."""
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), lambda net: _elastic(net, stream, plan, 1.0))


def _elastic(net: Network, stream: Stream, plan: Plan, decay: float | None) -> Elastic:
    if not isinstance(net, Classifier):
        raise InputError("elastic weight consolidation is built for linear maps, and a transformer reads words; choose er, er-1%, lamol or n-gram")
    return Elastic(net, PERMUTED_EWC if plan.permuted else EWC_STRENGTH[stream.scenario], decay)


def si(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Synaptic intelligence."""
    return _rehearser(stream, plan, seed, lambda rng: Nothing(), lambda net: Synaptic(list(net.parameters()), _si_strength(stream, plan)))


def _si_strength(stream: Stream, plan: Plan) -> float:
    return (PERMUTED_SI if plan.permuted else SI_STRENGTH)[stream.scenario]


def _feedback(
    stream: Stream, plan: Plan, seed: int, penalty: Callable[[FeedbackNet], Penalty] = lambda net: Free(), conditional: bool = True,
    gated: bool = True, distilled: bool = True,
) -> FeedbackLearner:  # fmt: skip
    _of_numbers(stream)
    torch.manual_seed(seed)
    share = (PERMUTED_GATED if plan.permuted else GATED)[stream.scenario] if gated else 0.0
    net = FeedbackNet(stream.inputs, plan.hidden, stream.units, plan.latents, share, conditional, seed)
    rng = torch.Generator().manual_seed(seed + 1)
    return FeedbackLearner(stream, net, penalty(net), plan.learning_rate, plan.temperature if distilled else None, plan.bf16, rng)


def bir(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Brain-inspired replay: feedback, conditional prior, gates, distillation."""
    return _feedback(stream, plan, seed)


def bir_unconditional(stream: Stream, plan: Plan, seed: int) -> Learner:
    """`bi-r` with one prior for all classes; what is generated belongs to no class of its own."""
    return _feedback(stream, plan, seed, conditional=False)


def bir_ungated(stream: Stream, plan: Plan, seed: int) -> Learner:
    """`bi-r` whose decoder has all units on for every class."""
    return _feedback(stream, plan, seed, gated=False)


def bir_hard(stream: Stream, plan: Plan, seed: int) -> Learner:
    """`bi-r` without distillation: its former self gives labels, not distributions."""
    return _feedback(stream, plan, seed, distilled=False)


def bir_internal(stream: Stream, plan: Plan, seed: int) -> Learner:
    """`bi-r` that replays what a frozen first layer makes of an input, not the input (internal replay).

    The published layer is a pre-trained convolution; these networks have none, so it is a random map of as many units as a hidden layer.
    """
    _of_numbers(stream)
    layer = RandomLayer(stream.inputs, plan.hidden, seed)
    inner = _feedback(replace(stream, inputs=plan.hidden), plan, seed)
    return Behind(layer, inner)


def bir_si(stream: Stream, plan: Plan, seed: int) -> Learner:
    """Brain-inspired replay whose encoder and classifier are held by synaptic intelligence as well (Kim 2025)."""

    def held(net: FeedbackNet) -> Penalty:
        return Synaptic([*net.encoder.parameters(), *net.head.parameters()], _si_strength(stream, plan))

    return _feedback(stream, plan, seed, held)


def generative_classifier(stream: Stream, plan: Plan, seed: int) -> Learner:
    """A VAE for each class, Bayes' rule."""
    _of_numbers(stream)
    torch.manual_seed(seed)
    return GenerativeClassifier(stream, 85, 5, plan.learning_rate, 50, torch.Generator().manual_seed(seed + 1))


METHODS: Mapping[str, Build] = {
    "none": none,
    "joint": none,
    "er": experience_replay,
    "er-reservoir": reservoir_replay,
    "er-newest": newest_replay,
    "er-1%": stored_share(0.01),
    "er-5%": stored_share(0.05),
    "er-recombined": recombined,
    "lamol": lamol,
    "n-gram": n_gram,
    "dgr": dgr,
    "dgr+distill": dgr_distilled,
    "generator-each": generator_each,
    "diffusion": diffusion,
    "bi-r": bir,
    "bi-r+si": bir_si,
    "bi-r-unconditional": bir_unconditional,
    "bi-r-ungated": bir_ungated,
    "bi-r-hard": bir_hard,
    "bi-r-internal": bir_internal,
    "lwf": lwf,
    "ewc": ewc,
    "online-ewc": online_ewc,
    "si": si,
    "generative-classifier": generative_classifier,
}
"""`joint` is `none` given all data so far at once; the run sees to that."""
WRITERS = frozenset({"lamol", "n-gram"})
"""Methods for streams of words only."""


def method(name: str) -> Build:
    """
    Raises:
        InputError: there is no such method.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is not known; choose among {', '.join(METHODS)}")
    return METHODS[name]
