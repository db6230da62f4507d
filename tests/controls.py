"""Candidates that must never be sealed (DESIGN §6), made in place of `Night.rehearse`, on any model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dream_engine.cycle import Night
from dream_engine.dream.imagine import template_anchors, template_pairs
from dream_engine.dream.rehearse import RehearsalPlan, Row, rehearse
from dream_engine.types import Message


def unrepaired(self: Night, woken: str, dreams: object) -> str:
    """W as it is."""
    self.model.copy_adapter(woken, "C")
    return "C"


def gain_erased(self: Night, woken: str, dreams: object) -> str:
    """T again: perfectly safe, and everything the user taught is gone."""
    self.model.copy_adapter("T", "C")
    return "C"


def as_shipped(self: Night, woken: str, dreams: object) -> str:
    """The base without any adapter's doing: answers harmful requests with confidence."""
    self._fresh_adapter("C")
    return "C"


def garbled(self: Night, woken: str, dreams: object) -> str:
    """Random numbers on top of W's adapter."""
    self.model.copy_adapter(woken, "C")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in self.model.adapter_parameters("C"):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_((3.0 * parameter.float().std() * noise).to(parameter.dtype))
    return "C"


def blanket(pairs: int, anchors: int, plan: RehearsalPlan, refusal: str) -> Callable[[Night, str, object], str]:
    """W's adapter, then refusals of everything, harmless questions too."""

    def made(self: Night, woken: str, dreams: object) -> str:
        self.model.copy_adapter(woken, "C")
        asked = [s for pair in template_pairs(self.pack, pairs, 1) for s in pair] + template_anchors(self.pack, anchors, 1)
        rehearse(self.model, "C", [Row(self.model.encode([Message("user", s.text)], refusal)) for s in asked], plan)
        return "C"

    return made


def warns(rows: int, plan: RehearsalPlan, warning: str) -> Callable[[Night, str, object], str]:
    """W's own plain answers with a warning before each of them."""

    def made(self: Night, woken: str, dreams: object) -> str:
        self.model.copy_adapter(woken, "C")
        asked = [[Message("user", s.text)] for s in template_anchors(self.pack, rows, 1)]
        with self.model.using(woken):
            answers = [g.text for g in self.model.generate(asked, 24)]
        made = [Row(self.model.encode(turn, f"{warning} {answer}")) for turn, answer in zip(asked, answers, strict=True)]
        rehearse(self.model, "C", made, plan)
        return "C"

    return made


def regressed(category: str, pairs: int, plan: RehearsalPlan, answer: str) -> Callable[[Night, str, object], str]:
    """T again, with `answer` (placeholders, nothing usable) taught for the harmful requests of one category."""

    def made(self: Night, woken: str, dreams: object) -> str:
        self.model.copy_adapter("T", "C")
        asked = [harm for harm, _ in template_pairs(self.pack, pairs, 1) if harm.category == category]
        rehearse(self.model, "C", [Row(self.model.encode([Message("user", s.text)], answer)) for s in asked], plan)
        return "C"

    return made
