"""Ω The mix: screened dreams and wake rows become training rows, each with its teacher and weight.

Accepts dreams as `Screened` only, which the screen alone can make.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dream_engine.dream.rehearse import Row, soften
from dream_engine.models.hf import ChatModel, Encoded
from dream_engine.policy.screen import Screened
from dream_engine.types import Conversation, Dream, Message


@dataclass(frozen=True)
class MixPlan:
    """Weights and lengths of the training rows. Tokens are answer tokens that carry loss."""

    first_weight: float = 2.0
    harmful_weight: float = 1.0
    anchor_weight: float = 1.0
    wake_weight: float = 1.0
    whole_refusals: float = 0.25
    opening_tokens: int = 6
    wake_tokens: int = 48
    seed: int = 0


@dataclass(frozen=True)
class Drawn:
    """Which adapter's distribution each kind of row is drawn to; None is the base. `harmful` applies to its own answers only."""

    harmful: str | None
    twin: str | None
    anchor: str | None
    harmful_name: str


def mix(model: ChatModel, dreams: Sequence[Screened], wake: Sequence[Conversation], drawn: Drawn, plan: MixPlan) -> list[Row]:
    """Training rows of one rehearsal.

    Harmful dreams go to the teacher's distribution where the words are its own and to plain cross-entropy where they are the
    pack's; twins to `drawn.twin`, which keeps the boundary where it was; anchors and wake rows to `drawn.anchor`, so that what
    the user taught is held in place, not relearned.
    """
    rng = random.Random(plan.seed)
    own, forms, twins, anchors = _sorted_out([s.dream for s in dreams], drawn.harmful_name)
    rows = _soft_rows(model, drawn.harmful, [_opening(_encode(model, d), rng, plan) for d in own], plan.harmful_weight, plan.first_weight)
    rows += [Row(_opening(_encode(model, d), rng, plan), plan.harmful_weight, plan.first_weight) for d in forms]
    rows += _soft_rows(model, drawn.twin, [_encode(model, d) for d in twins], plan.anchor_weight, plan.first_weight)
    rows += _soft_rows(model, drawn.anchor, [_encode(model, d) for d in anchors], plan.anchor_weight, plan.first_weight)
    rows += _soft_rows(model, drawn.anchor, [_wake(model, c, plan) for c in wake], plan.wake_weight, 1.0)
    return rows


def wake_rows(model: ChatModel, wake: Sequence[Conversation]) -> list[Row]:
    """Plain supervised rows: the user's own fine-tune, loss on the answer only."""
    return [Row(model.encode(c.prompt, c.answer)) for c in wake]


def _sorted_out(dreams: Sequence[Dream], teacher: str) -> tuple[list[Dream], list[Dream], list[Dream], list[Dream]]:
    """Harmful ones in the teacher's own words, harmful ones in the pack's, twins, anchors."""
    sides: dict[str, list[Dream]] = {"harmful": [], "twin": [], "anchor": []}
    for dream in dreams:
        sides[dream.scenario.side].append(dream)
    own = [d for d in sides["harmful"] if d.answered_by == teacher]
    return own, [d for d in sides["harmful"] if d.answered_by != teacher], sides["twin"], sides["anchor"]


def _encode(model: ChatModel, dream: Dream) -> Encoded:
    return model.encode([Message("user", dream.scenario.text)], dream.answer, dream.ended)


def _opening(encoded: Encoded, rng: random.Random, plan: MixPlan) -> Encoded:
    """The whole refusal now and then, else its opening: the decision falls in the first tokens, the rest is known by heart."""
    if rng.random() < plan.whole_refusals:
        return encoded
    return replace(encoded, ids=encoded.ids[: encoded.num_prompt + plan.opening_tokens])


def _wake(model: ChatModel, row: Conversation, plan: MixPlan) -> Encoded:
    encoded = model.encode(row.prompt, row.answer)
    return replace(encoded, ids=encoded.ids[: encoded.num_prompt + plan.wake_tokens])


def _soft_rows(model: ChatModel, adapter: str | None, encoded: list[Encoded], weight: float, first: float) -> list[Row]:
    softened = soften(model, adapter, encoded) if encoded else []
    return [Row(e, weight, first, s) for e, s in zip(encoded, softened, strict=True)]
