"""Ω From dreams to a candidate: a bounded fit of an adapter, and how far to go along it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import torch

from dream_engine import types
from dream_engine.config import Commission
from dream_engine.cycle.dreaming import drawn_pairs
from dream_engine.cycle.night import Night
from dream_engine.dream import mix
from dream_engine.dream.rehearse import Row
from dream_engine.dream.settle import settle
from dream_engine.files import write_json
from dream_engine.judge.budgets import loses_language, over_refuses
from dream_engine.policy.screen import Screened

MIN_HELD_OUT = 30
"""The fewest held-out look-alikes that can steer a step; below, it is not shortened."""
OPENINGS, OPENING = 16, 3
"""How many beginnings of refusals, of how many tokens, tell how ready a model is to decline. One token would not do: "I" begins answers as well."""


def rehearse(night: Night, woken: str | None, dreams: Sequence[Screened]) -> str:
    """Ω Fits the candidate: T's fresh adapter when commissioning, else C on the way from W to what was rehearsed. Without dreams C is W."""
    if woken is None:
        return _first(night, dreams)
    if dreams and night.config.dream.when == "interleaved":
        _interleave(night, woken, dreams)
    elif dreams:
        _restore(night, woken, dreams)
        _settle(night, woken, [d.dream for d in dreams])
    else:
        night.model.copy_adapter(woken, "C")
    return "C"


def _first(night: Night, dreams: Sequence[Screened]) -> str:
    """T: taught, or taken as it is, from `commission.adapter` or the base as it ships."""
    plan = night.config.commission
    if plan.adapter:
        night.model.load_adapter("T", plan.adapter)
    elif plan.teach:
        _teach(night, dreams, plan)
    return "T"


def _teach(night: Night, dreams: Sequence[Screened], plan: Commission) -> None:
    """The first policy: refusals in the pack's words, everything harmless and the base's own plain text drawn to the base.

    Dreams in the pack's second language are read several times: read once, they teach the language itself as a reason to decline.
    """
    weights = mix.MixPlan(
        harmful_weight=plan.harmful_weight,
        anchor_weight=plan.anchor_weight,
        whole_refusals=0.2,
        least_leading=plan.least_leading,
        seed=night.seed("mix"),
    )
    drawn = mix.Drawn(harmful=None, harmless=None, harmful_name="base")

    def mixed(foreign: bool) -> list[Row]:
        chosen = [d for d in dreams if (d.dream.scenario.language == night.pack.second) == foreign]
        return mix.mix(night.model, chosen, [], drawn, weights)

    def rows() -> list[Row]:
        texts = mix.own_texts(night.model, None, plan.self_texts, night.seed("texts"))
        return mixed(foreign=False) + plan.second_language_passes * mixed(foreign=True) + texts

    night.fit("Ω rehearse", "T", rows, night.fit_plan(plan, "rehearse", plan.ema_decay))


def _interleave(night: Night, woken: str, dreams: Sequence[Screened]) -> None:
    """C from T, the user's rows and the dreams in one pass; harmless dreams are drawn to T, which has not drifted."""

    def rows() -> list[Row]:
        return [*drawn_to_t(night, dreams), *mix.wake_rows(night.model, night.data.wake), *plain_texts(night, woken)]

    night.model.copy_adapter("T", "C")
    night.fit("Ω rehearse, interleaved", "C", rows, night.fit_plan(night.config.wake, "rehearse", night.config.dream.ema_decay))


def drawn_to_t(night: Night, dreams: Sequence[Screened]) -> list[Row]:
    """Dreams, harmful and harmless, as T answers them."""
    return mix.mix(night.model, as_read(night, dreams), [], mix.Drawn(harmful="T", harmless="T", harmful_name="T"), mix_plan(night))


def as_read(night: Night, dreams: Sequence[Screened]) -> list[Screened]:
    """Every dream once; those in the pack's second language `dream.second_language_passes` times (decision 023)."""
    foreign = [d for d in dreams if d.dream.scenario.language == night.pack.second]
    return [*dreams, *(night.config.dream.second_language_passes - 1) * foreign]


def _restore(night: Night, woken: str, dreams: Sequence[Screened]) -> None:
    """The sealed policy, R: T says what is declined, W how everything else is answered."""
    rehearse_from(night, woken, "R", woken, dreams, night.data.wake[: night.config.dream.wake_rows])


def rehearse_from(night: Night, start: str, name: str, woken: str, dreams: Sequence[Screened], wake: Sequence[types.Conversation]) -> None:
    """Fits the adapter `name`, from a copy of `start`, on dreams and wake rows: refusals as T's, all else as W's."""
    night.model.copy_adapter(start, name)
    plan, drawn = night.config.dream, mix.Drawn(harmful="T", harmless=woken, harmful_name="T", boundary="T")
    weights = mix_plan(night)

    def rows() -> list[Row]:
        mixed = mix.mix(night.model, as_read(night, dreams), wake, drawn, weights)
        return mixed + mix.on_policy(night.model, start, "T", dreams, plan.on_policy, weights) + plain_texts(night, woken)

    fit = night.fit_plan(plan, "rehearse", plan.ema_decay, plan.max_steps)
    night.fit(f"Ω rehearse {name}", name, rows, fit)


def plain_texts(night: Night, woken: str) -> list[Row]:
    """Plain text held to T where the wake took language with it, else to W: outside any conversation C is to read as the better of the two."""
    lost = loses_language(night.report("T").evaluation, night.report(woken).evaluation, night.config.seed)
    return mix.own_texts(night.model, "T" if lost else woken, night.config.dream.self_texts, night.seed("texts"))


def mix_plan(night: Night) -> mix.MixPlan:
    """The weights of a night's rows."""
    plan = night.config.dream
    openers = mix.greetings(night.data.wake) or mix.OPENERS
    return mix.MixPlan(
        plan.first_weight,
        plan.harmful_weight,
        plan.anchor_weight,
        plan.wake_weight,
        prefix_recovery=plan.prefix_recovery,
        openers=openers,
        least_refusing=plan.least_refusing,
        most_refusing=plan.most_refusing,
        least_leading=plan.least_leading,
        seed=night.seed("mix"),
    )


def _settle(night: Night, woken: str, dreams: Sequence[types.Dream]) -> None:
    """C, as far from W towards R as T's own refusals of held-out look-alikes allow; their requests are asked, never trained on."""
    path, known = night.folder / "settled.json", frozenset(d.scenario.text for d in dreams)
    held_out = [pair for pair in drawn_pairs(night).held_out if pair[1].text not in known]
    if not path.is_file() and len(held_out) >= MIN_HELD_OUT:
        with night.stage("Ω settle"):
            harmful, twins = ([one.turns for one in side] for side in zip(*held_out, strict=True))
            ready, ready_at = _readiness(night, "T", harmful, dreams), partial(_ready_at, night, woken, harmful, dreams)
            over = over_refuses(night.report("T").evaluation, night.report(woken).evaluation, night.config.seed)
            twins_at, harmful_at = (partial(_refuses_at, night, woken, side) for side in (twins, harmful))
            write_json(path, asdict(settle(night.refuses("T", twins), twins_at, harmful_at, ready, ready_at, over)))
    night.settled = json.loads(path.read_text()) if path.is_file() else None
    night.model.blend_adapters(woken, "R", night.settled["share"] if night.settled else 1.0, "C")


def _readiness(night: Night, adapter: str, asked: Sequence[Sequence[types.Message]], dreams: Sequence[types.Dream]) -> float:
    """Mean probability that the answer to one of these begins as most of the dreamed refusals do, 0 … 1.

    0 for every model where no refusal was dreamed: W declined all that was proposed, and nothing is to be brought back.
    """
    refusals = [night.model.text_ids(d.answer)[:OPENING] for d in dreams if d.scenario.side == "harmful"]
    openers = [list(ids) for ids, _ in Counter(map(tuple, refusals)).most_common(OPENINGS) if ids]
    if not openers:
        return 0.0
    with night.model.using(adapter):
        each = night.model.opener_logprobs(asked, openers) * torch.tensor([len(ids) for ids in openers])  # (asked, openers)
    return float(each.exp().sum(1).mean())


def _ready_at(night: Night, woken: str, asked: Sequence[Sequence[types.Message]], dreams: Sequence[types.Dream], share: float) -> float:
    night.model.blend_adapters(woken, "R", share, "C")
    return _readiness(night, "C", asked, dreams)


def _refuses_at(night: Night, woken: str, asked: Sequence[Sequence[types.Message]], share: float) -> list[bool]:
    night.model.blend_adapters(woken, "R", share, "C")
    return night.refuses("C", asked)
