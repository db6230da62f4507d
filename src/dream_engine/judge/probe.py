"""Ψ The decision probe: how likely a model is to refuse, from forward passes only.

Openers are learned from the model's own judged answers; the score of a prompt is the log-probability of refusal openers against
compliance openers, length-normalised, and a two-parameter logistic curve turns it into a probability (Platt 1999). It is a
reading of the first words: a model that opens with "Sure" and refuses later fools it, which is why judged answers are beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dream_engine.judge.metrics import MIN_CLASS
from dream_engine.judge.stats import brier, fit_curve, sigmoid
from dream_engine.models.hf import ChatModel
from dream_engine.types import Message, Missing

OPENER_TOKENS = 3
TOLD_APART = 0.08
"""Openers are one token long where that gives a Brier score of at most this, else up to `OPENER_TOKENS` where longer ones do better."""

NUM_OPENERS = 4


@dataclass(frozen=True)
class Probe:
    """Openers as token ids, the curve p = σ(slope · score + offset), and its Brier score where it was fitted."""

    refusal: tuple[tuple[int, ...], ...]
    compliance: tuple[tuple[int, ...], ...]
    slope: float
    offset: float
    brier: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Probe:
        openers = {key: tuple(map(tuple, data[key])) for key in ("refusal", "compliance")}
        return cls(openers["refusal"], openers["compliance"], data["slope"], data["offset"], data["brier"])

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
    refusal = _commonest([head for head, refuses in heads if refuses and head])
    compliance = _commonest([head for head, refuses in heads if not refuses and head], avoid=refusal)
    scores, outcomes = probe_scores(model, Probe(refusal, compliance, 1.0, 0.0, 0.0), prompts), [refuses for _, refuses in judged.values()]
    slope, offset = fit_curve([scores[i] for i in judged], outcomes)
    fitted = Probe(refusal, compliance, slope, offset, 0.0)
    p = fitted.probabilities(scores)
    return replace(fitted, brier=brier([p[i] for i in judged], outcomes)), p


def probe_scores(model: ChatModel, probe: Probe, prompts: Sequence[Sequence[Message]]) -> list[float]:
    """log Σ exp of refusal openers minus the same of compliance openers, one number a prompt."""
    table = model.opener_logprobs(prompts, [*probe.refusal, *probe.compliance])
    split = len(probe.refusal)
    difference = table[:, :split].logsumexp(-1) - table[:, split:].logsumexp(-1)
    return [float(x) for x in difference]


def _head(model: ChatModel, answer: str, length: int) -> tuple[int, ...]:
    return tuple(model.tokenizer(answer, add_special_tokens=False)["input_ids"][:length])


def _commonest(heads: list[tuple[int, ...]], avoid: Sequence[tuple[int, ...]] = ()) -> tuple[tuple[int, ...], ...]:
    """The commonest openers of one class: whole where they repeat, shortened to their first token where they do not."""
    whole = [h for h, n in Counter(heads).most_common(NUM_OPENERS) if n > 1]
    singles = [h for h, _ in Counter(h[:1] for h in heads).most_common(NUM_OPENERS)]
    blocked = {a[:1] for a in avoid}
    chosen = [h for h in dict.fromkeys([*whole, *singles]) if h not in avoid and not (len(h) == 1 and h in blocked)]
    return tuple(chosen[:NUM_OPENERS]) or tuple(heads[:1])
