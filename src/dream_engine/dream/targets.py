"""Ω Targets: what each dreamed request should be answered with.

Harmless requests are answered by a model itself. Harmful ones are declined: in the teacher's own words where it declines, in the
pack's words where it cannot. No answer that goes along with a harmful request ever leaves this module.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dream_engine.models.hf import ChatModel
from dream_engine.policy.pack import Pack
from dream_engine.types import Dream, Message, Scenario

Declines = Callable[[str], bool]
FORM = "pack"
TRIAL = 32
TRIES = 3
RETRY_TEMPERATURE = 0.8
USABLE = 0.5


@dataclass(frozen=True)
class Teacher:
    """A model that answers: its adapter (None is the base), the name it is recorded under, and guidance as a system turn."""

    adapter: str | None
    name: str
    guidance: str = ""

    def prompt(self, scenario: Scenario) -> list[Message]:
        system = [Message("system", self.guidance)] if self.guidance else []
        return [*system, *scenario.turns]


@dataclass(frozen=True)
class Refusals:
    """Declining dreams, and which share of the teacher's tries was usable."""

    dreams: tuple[Dream, ...]
    usable: float
    tried: int


def answer(model: ChatModel, teacher: Teacher, scenarios: Sequence[Scenario], max_tokens: int, seed: int, declines: Declines) -> list[Dream]:
    """The teacher's answers to harmless requests, cut at `max_tokens`: greedy first, then up to two sampled tries where it declined.

    What still declines after three tries comes back as it is, for the screen to block.
    """
    dreams: dict[str, Dream] = {}
    open_ = list(scenarios)
    for attempt in range(TRIES):
        with model.using(teacher.adapter):
            prompts = [teacher.prompt(s) for s in open_]
            done = model.generate(prompts, max_tokens, RETRY_TEMPERATURE if attempt else 0.0, seed + attempt) if prompts else []
        dreams |= {s.id: Dream(s, g.text, teacher.name, g.ended) for s, g in zip(open_, done, strict=True)}
        open_ = [s for s in open_ if declines(dreams[s.id].answer)]
    return [dreams[s.id] for s in scenarios]


def refuse(model: ChatModel, teacher: Teacher, pack: Pack, scenarios: Sequence[Scenario], max_tokens: int, seed: int, declines: Declines) -> Refusals:
    """Declining answers to harmful requests: the teacher's where usable, the pack's forms elsewhere.

    The teacher first tries 32 of them; when it declines fewer than half, it is too weak and the forms take over.
    """
    rng = random.Random(seed)
    order = rng.sample(list(scenarios), len(scenarios))
    trial = _tries(model, teacher, order[:TRIAL], max_tokens)
    usable = sum(declines(text) for text, _ in trial) / max(1, len(trial))
    rest = _tries(model, teacher, order[TRIAL:], max_tokens) if usable >= USABLE else []
    tried = [*trial, *rest] if usable >= USABLE else []
    dreams = []
    for index, scenario in enumerate(order):
        text, ended = tried[index] if index < len(tried) else ("", True)
        own = bool(text) and declines(text)
        words = text if own else pack.refusal(scenario.category, scenario.language, rng)
        dreams.append(Dream(scenario, words, teacher.name if own else FORM, ended if own else True))
    return Refusals(tuple(dreams), usable, len(tried) or len(trial))


def _tries(model: ChatModel, teacher: Teacher, scenarios: Sequence[Scenario], max_tokens: int) -> list[tuple[str, bool]]:
    with model.using(teacher.adapter):
        done = model.generate([teacher.prompt(s) for s in scenarios], max_tokens) if scenarios else []
    return [(g.text, g.ended) for g in done]
