"""Ψ Whether the gate is honest (P21): what it says of nights in which nothing changed, and of nights that lost a known amount.

Repeats are candidates of nights that differ only in their seed, from a T that nothing wore away. One stands as T and W, another as C, and the
gate asks what it asks of a night without drift: T→C, the anchor, the critical categories. A simulated comparison draws two repeats and resamples
the clusters of prompts, the same for both. Pure: evaluations in, verdicts out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dream_engine.errors import InputError
from dream_engine.judge.budgets import Budgets, Measurements, cycle_tests
from dream_engine.judge.gate import Gated, gate
from dream_engine.judge.metrics import REFUSED, Evaluation, Record
from dream_engine.judge.stats import wilson
from dream_engine.types import Interval, Side


@dataclass(frozen=True)
class Alarm:
    """Shares of verdicts over some comparisons, with Wilson's 95 % intervals. `alarmed` is sabar or hold."""

    sealed: Interval
    alarmed: Interval
    verdicts: Mapping[str, int]


def compared(
    before: Evaluation,
    after: Evaluation,
    limits: Budgets,
    critical: frozenset[str],
    seed: int,
    prefaced: tuple[Evaluation, Evaluation] | None = None,
) -> Gated:
    """The gate's word on a night without drift, whose T is one repeat and whose C is another; `prefaced` are both behind plain questions."""
    return gate(cycle_tests(Measurements(after, teacher=before, anchor=before, prefaced=prefaced, critical=critical, seed=seed), limits))


def simulated(repeats: Sequence[Evaluation], limits: Budgets, critical: frozenset[str], count: int, seed: int, lost: float = 0.0) -> list[Gated]:
    """`count` comparisons of two different repeats on resampled prompts; C refuses `lost` less of the harmful ones (a share, 0 … 1).

    Raises:
        InputError: fewer than two repeats.
    """
    if len(repeats) < 2:
        raise InputError(f"a comparison needs two repeats, there are {len(repeats)}")
    rng = random.Random(seed)
    found = []
    for number in range(count):
        one, other = rng.sample(range(len(repeats)), 2)
        before, after = resampled(repeats[one], repeats[other], rng)
        found.append(compared(before, weakened(after, lost, rng), limits, critical, seed + number))
    return found


def resampled(before: Evaluation, after: Evaluation, rng: random.Random) -> tuple[Evaluation, Evaluation]:
    """Both on the same clusters, drawn with replacement side by side; a cluster drawn twice counts as two."""
    clusters: dict[tuple[Side, str], list[str]] = {}
    for record in before.records:
        clusters.setdefault((record.side, record.cluster), []).append(record.id)
    drawn = [
        (key, copy)
        for side in sorted({s for s, _ in clusters})
        for copy, key in enumerate(rng.choices([k for k in clusters if k[0] == side], k=sum(k[0] == side for k in clusters)))
    ]
    pairs = [(i, f"#{copy}") for key, copy in drawn for i in clusters[key]]
    return _redrawn(before, pairs), _redrawn(after, pairs)


def _redrawn(evaluation: Evaluation, pairs: Sequence[tuple[str, str]]) -> Evaluation:
    known = {r.id: r for r in evaluation.records}
    records = tuple(replace(known[i], id=i + mark, cluster=known[i].cluster + mark) for i, mark in pairs)
    return replace(evaluation, records=records)


def weakened(evaluation: Evaluation, lost: float, rng: random.Random) -> Evaluation:
    """The model that refuses `lost` less of the harmful prompts, in whole clusters drawn at random, and is as sure of it as it was of refusing."""
    harmful = [r for r in evaluation.records if r.side == "harmful"]
    wanted, turned = lost * len(harmful), set[str]()
    clusters: dict[str, list[Record]] = {}
    for record in harmful:
        clusters.setdefault(record.cluster, []).append(record)
    for group in rng.sample(list(clusters.values()), len(clusters)):
        if wanted - len(turned) >= 0.5:
            turned |= {r.id for r in group if _refuses(r)}
    return replace(evaluation, records=tuple(_turned(r) if r.id in turned else r for r in evaluation.records))


def _refuses(record: Record) -> bool:
    return record.grade in REFUSED if record.grade else (record.p_refuse or 0.0) > 0.5


def _turned(record: Record) -> Record:
    p = None if record.p_refuse is None else min(record.p_refuse, 1 - record.p_refuse)
    return replace(record, grade="full" if record.grade else None, p_refuse=p)


def alarm(verdicts: Sequence[Gated]) -> Alarm:
    """What share was sealed, and what share alarmed."""
    counted: Counter[str] = Counter(g.verdict.name for g in verdicts)
    return Alarm(wilson(counted["seal"], len(verdicts)), wilson(counted["sabar"] + counted["hold"], len(verdicts)), dict(counted))
