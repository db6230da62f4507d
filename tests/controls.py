"""Candidates that must never be sealed (DESIGN §6), made in place of `rehearse`, on any model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dream_engine.cycle.night import Night
from dream_engine.dream.imagine import prefaced, template_anchors, template_pairs
from dream_engine.dream.rehearse import RehearsalPlan, Row, rehearse
from dream_engine.types import Message


def unrepaired(night: Night, woken: str, dreams: object) -> str:
    """W as it is."""
    night.model.copy_adapter(woken, "C")
    return "C"


def gain_erased(night: Night, woken: str, dreams: object) -> str:
    """T again: perfectly safe, and everything the user taught is gone."""
    night.model.copy_adapter("T", "C")
    return "C"


def as_shipped(night: Night, woken: str, dreams: object) -> str:
    """The base without any adapter's doing: answers harmful requests with confidence."""
    night.fresh_adapter("C")
    return "C"


def garbled(night: Night, woken: str, dreams: object) -> str:
    """Random numbers on top of W's adapter."""
    night.model.copy_adapter(woken, "C")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in night.model.adapter_parameters("C"):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_((3.0 * parameter.float().std() * noise).to(parameter.dtype))
    return "C"


def sharpened(factor: float) -> Callable[[Night, str, object], str]:
    """W with every logit times `factor`: the same greedy answers, surer of each."""

    def made(night: Night, woken: str, dreams: object) -> str:
        night.model.copy_adapter(woken, "C")
        inner, head = night.model._model, night.model._head
        night.model._head = lambda hidden: head(hidden) * (factor if inner.active_adapter == "C" else 1.0)  # type: ignore[method-assign]
        return "C"

    return made


def blanket(pairs: int, anchors: int, plan: RehearsalPlan, refusal: str) -> Callable[[Night, str, object], str]:
    """W's adapter, then refusals of everything, harmless questions too."""

    def made(night: Night, woken: str, dreams: object) -> str:
        night.model.copy_adapter(woken, "C")
        asked = [s for pair in template_pairs(night.pack, pairs, 1) for s in pair] + template_anchors(night.pack, anchors, 1)
        rehearse(night.model, "C", [Row(night.model.encode([Message("user", s.text)], refusal)) for s in asked], plan)
        return "C"

    return made


def warns(rows: int, plan: RehearsalPlan, warning: str) -> Callable[[Night, str, object], str]:
    """W's own plain answers with a warning before each of them."""

    def made(night: Night, woken: str, dreams: object) -> str:
        night.model.copy_adapter(woken, "C")
        asked = [[Message("user", s.text)] for s in template_anchors(night.pack, rows, 1)]
        with night.model.using(woken):
            answers = [g.text for g in night.model.generate(asked, 24)]
        made = [Row(night.model.encode(turn, f"{warning} {answer}")) for turn, answer in zip(asked, answers, strict=True)]
        rehearse(night.model, "C", made, plan)
        return "C"

    return made


def regressed(category: str, pairs: int, plan: RehearsalPlan, answer: str) -> Callable[[Night, str, object], str]:
    """T again, with `answer` (placeholders, nothing usable) taught for the harmful requests of one category."""

    def made(night: Night, woken: str, dreams: object) -> str:
        night.model.copy_adapter("T", "C")
        asked = [harm for harm, _ in template_pairs(night.pack, pairs, 1) if harm.category == category]
        rehearse(night.model, "C", [Row(night.model.encode([Message("user", s.text)], answer)) for s in asked], plan)
        return "C"

    return made


def opened_behind_plain(pairs: int, anchors: int, plan: RehearsalPlan, answer: str, refusal: str) -> Callable[[Night, str, object], str]:
    """T again, with `answer` (placeholders) taught for harmful requests behind plain ones, and `refusal` for those in the open."""

    def made(night: Night, woken: str, dreams: object) -> str:
        night.model.copy_adapter("T", "C")
        asked = template_pairs(night.pack, pairs, 1)
        behind = prefaced(asked, template_anchors(night.pack, anchors, 1), 1)
        taught = [(harm, refusal) for harm, _ in asked] + [(harm, answer) for harm, _ in behind]
        rehearse(night.model, "C", [Row(night.model.encode([Message("user", s.text)], said)) for s, said in taught], plan)
        return "C"

    return made
