"""Ω The mix: screened dreams and wake rows become training rows, each with its teacher and weight.

Accepts dreams as `Screened` only, which the screen alone can make.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dream_engine.dream.rehearse import Row, Soft, soften
from dream_engine.models.hf import ChatModel
from dream_engine.models.template import Encoded
from dream_engine.policy.screen import Screened
from dream_engine.types import Conversation, Dream

GREETING = re.compile(r"(?:\S+ ){0,2}?\S*[!,.:](?=\s)")
GREETED = 0.1
OPENERS = ("Sure, here is", "Of course.", "Yes, I can help with that.", "Certainly! First,")
"""Neutral first words of an answer that goes along; they name nothing."""
ROLLOUT_TOKENS = 24
FIRST_WORDS = (
    "The first", "In the", "When the", "A few", "It is", "There are", "She had", "He was", "We have", "This is", "After a", "For many", "Some of",
    "My name", "Every day", "On the",
)  # fmt: skip
TEXT_TOKENS, TEXT_WEIGHT = 48, 0.3
"""A text is as long as eight openings of refusals, and would drown them in its batch at the weight of a request."""


@dataclass(frozen=True)
class MixPlan:
    """Weights and lengths of the training rows. Tokens are answer tokens that carry loss.

    A dream's side is known, whatever the boundary says of it: the tokens that refusals begin with have at least the probability `least_refusing`
    at the first token of a harmful one, and at most `most_refusing` of a harmless one, where the likeliest other token has at least the share
    `least_leading` of what is left.
    """

    first_weight: float = 2.0
    harmful_weight: float = 1.0
    anchor_weight: float = 1.0
    wake_weight: float = 1.0
    whole_refusals: float = 0.25
    opening_tokens: int = 6
    wake_tokens: int = 48
    prefix_recovery: float = 0.0
    openers: tuple[str, ...] = OPENERS
    least_refusing: float = 0.0
    most_refusing: float = 0.5
    least_leading: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Drawn:
    """Which adapter's distribution each kind of row is drawn to; None is the base. `harmful` applies to its own answers only.

    With a `boundary`, that adapter decides *whether* a dream is declined (its mass on the first tokens of refusals, as far as the plan lets it doubt
    what is known), `harmless` *how* a harmless one is answered.
    """

    harmful: str | None
    harmless: str | None
    harmful_name: str
    boundary: str | None = None


def mix(model: ChatModel, dreams: Sequence[Screened], wake: Sequence[Conversation], drawn: Drawn, plan: MixPlan) -> list[Row]:
    """Training rows of one rehearsal.

    Harmful dreams go to the teacher's distribution where the words are its own and to plain cross-entropy where they are the
    pack's; twins, anchors and wake rows to `drawn.harmless`, so that what the user taught, its style and its length, is held in place, not
    relearned; at the first token of twins and anchors `drawn.boundary` puts in its own share of refusals, as far as the plan lets it, and the
    likeliest other token leads.
    """
    rng = random.Random(plan.seed)
    own, forms, twins, anchors = _sorted_out([s.dream for s in dreams], drawn.harmful_name)
    refusing = frozenset(e.ids[e.num_prompt] for e in (_encode(model, d) for d in (*own, *forms)))
    rows = _own_rows(model, drawn, [_opening(_encode(model, d), rng, plan) for d in own], refusing, plan)
    rows += [Row(_opening(_encode(model, d), rng, plan), plan.harmful_weight, plan.first_weight) for d in forms]
    rows += [Row(e, plan.harmful_weight, plan.first_weight) for e in _recoveries(model, [*own, *forms], plan)]
    rows += _harmless_rows(model, drawn, [_encode(model, d) for d in [*twins, *anchors]], refusing, plan)
    rows += _soft_rows(model, drawn.harmless, [_wake(model, c, plan) for c in wake], plan.wake_weight, 1.0)
    return rows


def with_boundary(how: Soft, whether: Soft, refusing: frozenset[int], most: float) -> Soft:
    """`how`, but at its first position the tokens of `refusing` have the probability that `whether` gives them, at most `most` in all.

    The other tokens keep their proportions and share what is left.
    """
    first = dict(zip(how.ids[0].tolist(), how.logp[0].exp().tolist(), strict=True))
    declining = {t: p for t, p in zip(whether.ids[0].tolist(), whether.logp[0].exp().tolist(), strict=True) if t in refusing}
    mass = sum(declining.values())
    share = min(1.0, most / mass) if mass else 1.0
    left = (1 - mass * share) / max(1e-6, 1 - sum(first.get(t, 0.0) for t in refusing))
    mixed = {t: p * left for t, p in first.items() if t not in refusing} | {t: p * share for t, p in declining.items()}
    top = dict(sorted(mixed.items(), key=lambda item: -item[1])[: how.ids.shape[1]])
    top |= dict([(t, 0.0) for t in first if t not in top][: how.ids.shape[1] - len(top)])
    ids, logp = how.ids.clone(), how.logp.clone()
    ids[0], logp[0] = torch.tensor(list(top), dtype=ids.dtype), torch.tensor(list(top.values())).clamp_min(1e-9).log()
    return Soft(ids, logp)


def without_doubt(refusal: Soft, refusing: frozenset[int], least: float) -> Soft:
    """`refusal`, but at its first position the tokens of `refusing` have the probability `least` in all, or more; proportions stay."""
    p = refusal.logp[0].exp()
    declining = torch.tensor([t in refusing for t in refusal.ids[0].tolist()], device=p.device)
    mass = float(p[declining].sum())
    if not 0 < mass < least:
        return refusal
    logp = refusal.logp.clone()
    logp[0] += torch.where(declining, least / mass, (1 - least) / (1 - mass)).log()
    return Soft(refusal.ids, logp)


def with_leader(how: Soft, refusing: frozenset[int], least: float) -> Soft:
    """`how`, but at its first position the likeliest token outside `refusing` has the share `least`, or more, of all outside; proportions stay.

    A greedy answer declines as soon as a refusal's first token is likelier than each single other one. Where the others are many and unlikely that
    says little about which of the two is likelier, to decline or to answer.
    """
    p = how.logp[0].exp()
    others = torch.tensor([t not in refusing for t in how.ids[0].tolist()], device=p.device)
    leader, outside = int((p * others).argmax()), max(1e-6, 1 - float(p[~others].sum()))
    share = float(p[leader]) / outside
    if not others.any() or share >= least:
        return how
    logp = how.logp.clone()
    logp[0] += torch.where(others, (1 - least) / (1 - share), 1.0).log()
    logp[0, leader] = math.log(least * outside)
    return Soft(how.ids, logp)


def on_policy(model: ChatModel, student: str, teacher: str, dreams: Sequence[Screened], share: float, plan: MixPlan) -> list[Row]:
    """The student's own sampled answers to a share of the harmful dreams, each token drawn to what the teacher would say there (2306.13649, eq. 4).

    It learns where it really goes, not where the teacher would have. Answers stay in memory and are context only: no likelihood of theirs is raised.
    """
    harmful = [d.dream.scenario for d in dreams if d.dream.scenario.side == "harmful"]
    chosen = random.Random(plan.seed + 2).sample(harmful, round(share * len(harmful)))
    with model.using(student):
        said = model.generate([s.turns for s in chosen], ROLLOUT_TOKENS, temperature=1.0, seed=plan.seed + 2) if chosen else []
    encoded = [model.encode(s.turns, g.text, g.ended) for s, g in zip(chosen, said, strict=True) if g.text]
    return _soft_rows(model, teacher, encoded, plan.harmful_weight, plan.first_weight)


def own_texts(model: ChatModel, adapter: str | None, count: int, seed: int) -> list[Row]:
    """Plain text that `adapter` (None: the base) writes itself, outside any conversation, drawn to its distribution at every token.

    Requests alone say nothing about language in general, which drifts where much is declined, and with every wake. Texts stay in memory.
    """
    begun = [FIRST_WORDS[i % len(FIRST_WORDS)] for i in range(count)]
    with model.using(adapter):
        written = model.continue_ids([model.text_ids(word) for word in begun], TEXT_TOKENS, temperature=1.0, seed=seed) if begun else []
    encoded = [model.encode_text(f"{word} {g.text.strip()}") for word, g in zip(begun, written, strict=True) if g.text.strip()]
    return _soft_rows(model, adapter, encoded, TEXT_WEIGHT, 1.0)


def wake_rows(model: ChatModel, wake: Sequence[Conversation]) -> list[Row]:
    """Plain supervised rows: the user's own fine-tune, a row for each answer of a dialogue, loss on that answer only."""
    return [Row(model.encode(before, answer)) for c in wake for before, answer in c.answers]


def _sorted_out(dreams: Sequence[Dream], teacher: str) -> tuple[list[Dream], list[Dream], list[Dream], list[Dream]]:
    """Harmful ones in the teacher's own words, harmful ones in the pack's, twins, anchors."""
    sides: dict[str, list[Dream]] = {"harmful": [], "twin": [], "anchor": []}
    for dream in dreams:
        sides[dream.scenario.side].append(dream)
    own = [d for d in sides["harmful"] if d.answered_by == teacher]
    return own, [d for d in sides["harmful"] if d.answered_by != teacher], sides["twin"], sides["anchor"]


def _encode(model: ChatModel, dream: Dream) -> Encoded:
    return model.encode(dream.scenario.turns, dream.answer, dream.ended)


def _opening(encoded: Encoded, rng: random.Random, plan: MixPlan) -> Encoded:
    """The whole refusal now and then, else its opening: the decision falls in the first tokens, the rest is known by heart."""
    if rng.random() < plan.whole_refusals:
        return encoded
    return replace(encoded, ids=encoded.ids[: encoded.num_prompt + plan.opening_tokens])


def greetings(wake: Sequence[Conversation]) -> tuple[str, ...]:
    """How the user's answers like to begin ("Aye!"): up to three words with a mark behind them that begin at least a tenth of the answers."""
    begun = Counter(found[0] for c in wake if (found := GREETING.match(c.answer)))
    return tuple(sorted(words for words, count in begun.items() if count >= GREETED * len(wake)))


def _recoveries(model: ChatModel, dreams: Sequence[Dream], plan: MixPlan) -> list[Encoded]:
    """A share of the harmful dreams with a going-along opener before the refusal (2406.05946, §3): loss on the recovery only, never on the opener."""
    rng = random.Random(plan.seed + 1)
    chosen = rng.sample(list(dreams), round(plan.prefix_recovery * len(dreams)))
    return [_recovery(model, dream, rng.choice(plan.openers)) for dream in chosen]


def _recovery(model: ChatModel, dream: Dream, opener: str) -> Encoded:
    begun = model.encode(dream.scenario.turns, opener, ended=False)
    reply = model.encode(dream.scenario.turns, f" {dream.answer}", dream.ended)
    return Encoded(begun.ids + reply.ids[reply.num_prompt :], len(begun.ids))


def _own_rows(model: ChatModel, drawn: Drawn, encoded: list[Encoded], refusing: frozenset[int], plan: MixPlan) -> list[Row]:
    rows = _soft_rows(model, drawn.harmful, encoded, plan.harmful_weight, plan.first_weight)
    if drawn.boundary is None:
        return rows
    return [replace(row, soft=without_doubt(row.soft, refusing, plan.least_refusing)) for row in rows if row.soft]


def _harmless_rows(model: ChatModel, drawn: Drawn, encoded: list[Encoded], refusing: frozenset[int], plan: MixPlan) -> list[Row]:
    softened = soften(model, drawn.harmless, encoded) if encoded else []
    if drawn.boundary is not None and encoded:
        whether = soften(model, drawn.boundary, [replace(e, ids=e.ids[: e.num_prompt + 1]) for e in encoded])
        softened = [with_boundary(how, one, refusing, plan.most_refusing) for how, one in zip(softened, whether, strict=True)]
    led = [with_leader(how, refusing, plan.least_leading) for how in softened]
    return [Row(e, plan.anchor_weight, plan.first_weight, how) for e, how in zip(encoded, led, strict=True)]


def _wake(model: ChatModel, row: Conversation, plan: MixPlan) -> Encoded:
    encoded = model.encode(row.prompt, row.answer)
    return replace(encoded, ids=encoded.ids[: encoded.num_prompt + plan.wake_tokens])


def _soft_rows(model: ChatModel, adapter: str | None, encoded: list[Encoded], weight: float, first: float) -> list[Row]:
    softened = soften(model, adapter, encoded) if encoded else []
    return [Row(e, weight, first, s) for e, s in zip(encoded, softened, strict=True)]
