"""Ψ The decision probe: how likely a model is to refuse, from forward passes only.

Openers are learned from the model's own judged answers, each with the share of the answers behind it that refuse. The score of a prompt is the
log-odds that its answer opens as refusals do, length-normalised, and a two-parameter logistic curve turns it into a probability (Platt 1999). It is
a reading of the first words: a model that opens with "Sure" and refuses later fools it, which is why judged answers are beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from dream_engine.judge.metrics import MIN_CLASS
from dream_engine.judge.stats import brier, fit_curve, sigmoid
from dream_engine.models.hf import ChatModel
from dream_engine.types import Message, Missing

READING = "openers by the share that refuses"
"""Names the way of reading: what was measured in another way is not compared with it."""
OPENER_TOKENS = 3
TOLD_APART = 0.08
"""Openers are one token long where that gives a Brier score of at most this, else up to `OPENER_TOKENS` where longer ones do better."""

NUM_SHORT, NUM_LONG = 32, 8
"""Openers of one token cost nothing each: they are read off one distribution. Longer ones are fed."""


@dataclass(frozen=True)
class Probe:
    """Openers as token ids, the share of answers behind each that refuses (in (0, 1)), the curve p = σ(slope · score + offset), and its Brier
    score where it was fitted."""

    openers: tuple[tuple[int, ...], ...]
    refusing: tuple[float, ...]
    slope: float
    offset: float
    brier: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Probe:
        return cls(tuple(map(tuple, data["openers"])), tuple(data["refusing"]), data["slope"], data["offset"], data["brier"])

    def probabilities(self, scores: Sequence[float]) -> list[float]:
        """p(refuse) for each score, in (0, 1)."""
        return [sigmoid(self.slope * s + self.offset) for s in scores]


def fit_probe(
    model: ChatModel, prompts: Sequence[Sequence[Message]], answers: Sequence[str | None], refused: Sequence[bool]
) -> tuple[Probe, list[float]] | Missing:
    """Learns openers and the curve from one model's judged answers; gives the probe and p(refuse) of each prompt.

    Prompts whose answer is None were not judged: they are read, not learned from. Missing when one class has fewer than 8 answers.
    """
    known = [i for i, answer in enumerate(answers) if answer is not None]
    outcomes = [refused[i] for i in known]
    if min(sum(outcomes), len(outcomes) - sum(outcomes)) < MIN_CLASS:
        return Missing(f"the probe needs {MIN_CLASS} refusals and {MIN_CLASS} answers to learn from, got {sum(outcomes)} of {len(outcomes)}")
    judged = {i: (answers[i] or "", refused[i]) for i in known}
    short = _fit(model, prompts, judged, 1)
    return short if short[0].brier <= TOLD_APART else min(short, _fit(model, prompts, judged, OPENER_TOKENS), key=lambda fit: fit[0].brier)


def _fit(model: ChatModel, prompts: Sequence[Sequence[Message]], judged: Mapping[int, tuple[str, bool]], length: int) -> tuple[Probe, list[float]]:
    """With openers of so many tokens; `judged` holds the answers by the place of their prompt, and whether they refuse."""
    heads = [(_head(model, answer, length), refuses) for answer, refuses in judged.values()]
    outcomes = [refuses for _, refuses in heads]
    openers = _commonest([head for head, _ in heads if head], NUM_SHORT if length == 1 else NUM_LONG)
    refusing = tuple(_refusing(opener, heads) for opener in openers)
    scores = probe_scores(model, Probe(openers, refusing, 1.0, 0.0, 0.0), prompts)
    slope, offset = fit_curve([scores[i] for i in judged], outcomes)
    fitted = Probe(openers, refusing, slope, offset, 0.0)
    p = fitted.probabilities(scores)
    return replace(fitted, brier=brier([p[i] for i in judged], outcomes)), p


def probe_scores(model: ChatModel, probe: Probe, prompts: Sequence[Sequence[Message]]) -> list[float]:
    """log Σ rₒ pₒ − log Σ (1 − rₒ) pₒ for each prompt: pₒ the length-normalised probability of opener o, rₒ the share behind it that refuses."""
    table, share = model.opener_logprobs(prompts, probe.openers), torch.tensor(probe.refusing)
    return [float(x) for x in (table + share.log()).logsumexp(-1) - (table + (1 - share).log()).logsumexp(-1)]


def _head(model: ChatModel, answer: str, length: int) -> tuple[int, ...]:
    return tuple(model.tokenizer(answer, add_special_tokens=False)["input_ids"][:length])


def _commonest(heads: Sequence[tuple[int, ...]], count: int) -> tuple[tuple[int, ...], ...]:
    """The commonest openers: up to half of them whole, where they repeat, the rest first tokens, so that varied answers are heard too."""
    whole = [h for h, n in Counter(heads).most_common(count // 2) if n > 1]
    singles = [h for h, _ in Counter(h[:1] for h in heads).most_common(count)]
    return tuple(dict.fromkeys([*whole, *singles]))[:count]


def _refusing(opener: tuple[int, ...], heads: Sequence[tuple[tuple[int, ...], bool]]) -> float:
    """Share of the answers that begin so and refuse; one more is counted that refuses as often as all of them do, so that it is never 0 or 1."""
    behind = [refuses for head, refuses in heads if head[: len(opener)] == opener]
    overall = sum(refuses for _, refuses in heads) / len(heads)
    return (sum(behind) + overall) / (len(behind) + 1)
