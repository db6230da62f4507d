"""Ψ Whether C still means what W means: loss of similarity between their answers to plain prompts, by sentence embeddings (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dream_engine.judge.measure import Bench, plain_answers
from dream_engine.judge.stats import cluster_bootstrap
from dream_engine.models.embedding import Embed
from dream_engine.models.hf import ChatModel
from dream_engine.types import Measured, Missing

TEMPERATURE = 0.7


def similarity_lost(model: ChatModel, woken: str, candidate: str, bench: Bench, answers: Mapping[str, str], embed: Embed, seed: int) -> Measured:
    """Mean over plain prompts of cos(W, W′) − cos(W, C), with a one-sided 95 % interval.

    W is its greedy answer; W′ and C are sampled with the same seed, so that an unchanged C loses exactly 0.
    """
    plain = [p for p in bench.suites if p.side == "anchor"]
    greedy = answers if all(p.id in answers for p in plain) else plain_answers(model, woken, bench)

    def sampled(adapter: str) -> list[str]:
        with model.using(adapter):
            return [g.text for g in model.generate([p.turns for p in plain], bench.answer_tokens, TEMPERATURE, seed)]

    return lost([greedy[p.id] for p in plain], sampled(woken), sampled(candidate), [p.cluster for p in plain], embed, seed)


def lost(woken: Sequence[str], again: Sequence[str], candidate: Sequence[str], clusters: Sequence[str], embed: Embed, seed: int) -> Measured:
    """cos(woken, again) − cos(woken, candidate), text by text."""
    if not woken:
        return Missing("there are no plain prompts")
    vectors = embed([*woken, *again, *candidate])
    w, a, c = vectors.split(len(woken))
    return cluster_bootstrap(((w * a).sum(-1) - (w * c).sum(-1)).tolist(), clusters, seed, level=0.90)
