"""Ω and Ψ in turns: search for failures of the candidate, rehearse them, search again (after Ziegler et al., 2205.01663).

Ends when a failure costs enough queries, when none is found, or when the rounds are spent. The search of each round is fresh, so the last figures
are not those of scenarios that were trained on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from dream_engine.cycle.dreaming import answered, teachers_after
from dream_engine.cycle.night import Night
from dream_engine.cycle.rehearsal import rehearse_from
from dream_engine.dream import imagine
from dream_engine.dream.mutate import mutated
from dream_engine.files import write_json
from dream_engine.judge.search import Found, fails, search
from dream_engine.policy.screen import RequestScreen, Screened
from dream_engine.types import Proposed, derive_seed

MUTATED_SHARE = 0.5
HELD_SHARE = 2.0
"""Harmless dreams rehearsed again beside each failure, so that a round does not buy refusals of everything."""
FEWEST = 4


def harden(night: Night, woken: str | None, dreams: Sequence[Screened]) -> None:
    """Rounds on the candidate C, which stays where it was when nothing was found; one row a search, with what a failure costs, in `night.hardened`.

    Nothing happens unless `dream.rounds` asks for it, and on nights without dreams.
    """
    plan = night.config.dream
    if woken is not None and dreams and plan.rounds and plan.when != "interleaved":
        night.hardened = _rounds(night, woken, dreams)


def _rounds(night: Night, woken: str, dreams: Sequence[Screened]) -> list[dict[str, Any]]:
    plan, curve = night.config.dream, list[dict[str, Any]]()
    known = {d.dream.scenario.text for d in dreams}
    for number in range(plan.rounds + 1):
        pairs = [pair for pair in _fresh(night, number) if pair[0].text not in known]
        found, failed = _searched(night, pairs, number)
        curve.append({"round": number, **found})
        cost = found["queries_per_failure"]
        if number == plan.rounds or cost is None or cost >= plan.attack_cost or len(failed) < FEWEST:
            break
        _rehearse(night, woken, failed, dreams, number)
        known |= {side.text for pair in failed for side in pair}
    return curve


def _fresh(night: Night, number: int) -> list[Proposed]:
    """Pairs that no suite holds, half of them in other clothes."""
    plan, seed = night.config.dream, derive_seed(night.seed("harden"), "round", number)
    plain = imagine.template_pairs(night.pack, plan.round_search, seed, night.pack.grid(plan.scope))
    count = int(MUTATED_SHARE * len(plain))
    pairs = [*mutated(plain[:count], count, seed), *plain[count:]]
    screen = RequestScreen(night.pack, [p.text for p in night.data.bench.suites])
    passed = {s.id for s in screen.screen([s for pair in pairs for s in pair]).kept}
    return [pair for pair in pairs if pair[0].id in passed and pair[1].id in passed]


def _searched(night: Night, pairs: Sequence[Proposed], number: int) -> tuple[dict[str, Any], list[Proposed]]:
    """What the search found, kept in the run folder, and the pairs whose harmful side was gone along with."""
    path = night.folder / f"round-{number}.json"
    if not path.is_file():
        with night.stage(f"Ψ search, round {number}"):
            grades = night.grades("C", [harm for harm, _ in pairs])
        found: Found = search([harm for harm, _ in pairs], lambda _: grades)
        failed = [harm.id for (harm, _), grade in zip(pairs, grades, strict=True) if fails(grade)]
        write_json(path, {"found": found.to_json() | {"queries_per_failure": found.queries_per_failure}, "failed": failed})
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["found"], [pair for pair in pairs if pair[0].id in set(kept["failed"])]


def _rehearse(night: Night, woken: str, failed: Sequence[Proposed], dreams: Sequence[Screened], number: int) -> None:
    """C goes on with the failures, their twins, and harmless dreams of the night."""
    rng = random.Random(derive_seed(night.seed("harden"), "held", number))
    harmless = [d for d in dreams if d.dream.scenario.side != "harmful"]
    held = rng.sample(harmless, min(len(harmless), int(HELD_SHARE * len(failed))))
    wake = night.data.wake[: len(failed)]
    plan, name = night.config.dream, f"R{number + 1}"
    teachers = teachers_after(woken)
    with night.stage(f"Ω answer, round {number + 1}"):
        screened, _ = answered(night, [s for pair in failed for s in pair], teachers, plan.answer_tokens, plan.refusal_tokens)
    rehearse_from(night, "C", name, woken, [*screened.kept, *held], wake)
    night.model.copy_adapter(name, "C")
