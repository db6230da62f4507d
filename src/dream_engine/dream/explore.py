"""Ω Exploring: proposals are scored by forward passes of the teacher and the woken model, and the archive says where to look next.

Rounds of a MAP-Elites search: the first looks everywhere and at what was hard on earlier nights, the later ones at cells that are not healed, half
with new pairs, half with mutations of the hardest ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from dream_engine.dream.archive import Archive, Cell, Fitness, fitness
from dream_engine.dream.imagine import template_pairs
from dream_engine.dream.mutate import mutated
from dream_engine.dream.rehearse import FIRST, forward_kl, soften
from dream_engine.models.batches import by_tokens
from dream_engine.models.hf import ChatModel
from dream_engine.models.template import Encoded
from dream_engine.policy.pack import Pack
from dream_engine.policy.screen import RequestScreen
from dream_engine.types import Blocked, Proposed, Scenario, derive_seed

ROUNDS = 3
PARENTS = 40
Score = Callable[[Sequence[Scenario]], Sequence[Fitness]]
"""Of pairs laid flat, harmful side first: one fitness a pair."""


@dataclass
class Explorer:
    """One night's search: where it looks, what it screens with, how it scores."""

    pack: Pack
    archive: Archive
    screen: RequestScreen
    score: Score
    night: str
    seed: int
    scope: Sequence[str] = ()
    seen: list[Proposed] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)

    def run(self, pool: int, count: int) -> list[Scenario]:
        """Scores about `pool` pairs in three rounds and keeps the `count` hardest of them; the others are blocked as `not_chosen`.

        Stops early when every cell is healed, so that a night costs less the more of the boundary is in place.
        """
        for number in range(ROUNDS):
            open_ = self._open()
            if not open_:
                break
            pairs = self._first(pool // ROUNDS) if number == 0 else self._later(open_, pool // ROUNDS, derive_seed(self.seed, "explore", number))
            for pair, one in zip(pairs, self.score(_flat(pairs)) if pairs else [], strict=True):
                self.archive.offer(pair, one, self.night)
            self.seen += pairs
        chosen = {elite.pair[0].id for elite in self.archive.chosen(count, self.night)}
        left = _flat([pair for pair in self.seen if pair[0].id not in chosen])
        self.blocked += [Blocked(s, "not_chosen", "other pairs of this night were handled worse") for s in left]
        return _flat([pair for pair in self.seen if pair[0].id in chosen])

    def _open(self) -> list[Cell]:
        healed = self.archive.healed()
        return [cell for cell in self.pack.cells(self.scope) if cell not in healed]

    def _first(self, count: int) -> list[Proposed]:
        """Everywhere: what was hard on earlier nights, as far as it is in scope, and fresh pairs of the grammar."""
        old = [p for p in self.archive.remembered() if not self.scope or p[0].category in self.scope]
        kept = self._screened(old[: count // 2])
        return kept + self._screened(template_pairs(self.pack, count - len(kept), self.seed, self.pack.grid(self.scope)))

    def _later(self, open_: Sequence[Cell], count: int, seed: int) -> list[Proposed]:
        """Where it is not healed: children of the hardest pairs, and fresh pairs."""
        hardest = [elite.pair for elite in self.archive.chosen(PARENTS, self.night)]
        children = self._screened(mutated(hardest, count // 2, seed))
        return children + self._screened(template_pairs(self.pack, count - len(children), seed, [(c[0], c[1]) for c in open_]))

    def _screened(self, pairs: Sequence[Proposed]) -> list[Proposed]:
        """Pairs of which both sides pass; half a pair has no boundary in it and is blocked too."""
        screening = self.screen.screen(_flat(pairs))
        passed = {s.id for s in screening.kept}
        whole = [p for p in pairs if p[0].id in passed and p[1].id in passed]
        halves = [s for p in pairs if p not in whole for s in p if s.id in passed]
        self.blocked += [*screening.blocked, *(Blocked(s, "other_side", "the other side of its pair was blocked") for s in halves)]
        return whole


def _flat(pairs: Sequence[Proposed]) -> list[Scenario]:
    return [side for pair in pairs for side in pair]


def boundary_kl(model: ChatModel, teacher: str, woken: str, scenarios: Sequence[Scenario], tokens_per_batch: int = 2048) -> list[float]:
    """KL(T‖W) in nats a token over the first five tokens of T's greedy answer to each scenario."""
    with model.using(teacher):
        answers = model.generate([s.turns for s in scenarios], FIRST)
    encoded = [model.encode(s.turns, g.text, ended=g.ended) for s, g in zip(scenarios, answers, strict=True)]
    return divergences(model, teacher, woken, encoded, tokens_per_batch)


@torch.no_grad()
def divergences(model: ChatModel, teacher: str, woken: str, encoded: Sequence[Encoded], tokens_per_batch: int = 2048) -> list[float]:
    """Mean KL(T‖W) over the answer positions of each row, nats, in the given order."""
    soft, found = soften(model, teacher, encoded), [0.0] * len(encoded)
    with model.using(woken):
        for batch in by_tokens([len(row.ids) for row in encoded], tokens_per_batch):
            logits = model.target_logits([encoded[i] for i in batch])
            parts = logits.split([len(encoded[i].ids) - encoded[i].num_prompt for i in batch])
            for index, part in zip(batch, parts, strict=True):
                found[index] = float(forward_kl(part, soft[index]).mean())
    return found


def scored(kl: Sequence[float], p_refuse: Sequence[float] | None) -> list[Fitness]:
    """Fitness of pairs whose sides stand next to each other: divergences, and W's probabilities of refusing where the probe holds."""
    sides = list(zip(kl[::2], kl[1::2], strict=True))
    p = list(zip(p_refuse[::2], p_refuse[1::2], strict=True)) if p_refuse is not None else [None] * len(sides)
    return [fitness(one, decided) for one, decided in zip(sides, p, strict=True)]
