"""From a study's results to its table: rates pooled over settings, and whether ours is ahead beyond chance. Pure functions, no model.

Only settings that count are pooled: those in which W lost enough of T's refusals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dream_engine.judge import metrics
from dream_engine.judge.metrics import Evaluation
from dream_engine.judge.stats import RESAMPLES, wilson
from dream_engine.study.plan import Result, Setting
from dream_engine.types import Interval, Measured, Missing

PARTS = ("harmful_refused", "over_refusal", "contrast", "plain_refused", "gain_kept", "search_failed")


@dataclass(frozen=True)
class Line:
    """One arm, pooled: each part with its interval (95 %, over seeds × clusters), and ours minus this arm in contrast with its one-sided p (Holm).

    Seeds are drawn anew within each wake and rate, which are taken as given (decision 024): with one seed a wake, intervals are over prompts alone.

    `by_setting` is the contrast of every setting by itself.
    """

    arm: str
    settings: int
    matched: bool
    trained_tokens: float
    parts: Mapping[str, Measured]
    ahead: Measured
    p: float | None
    by_setting: tuple[float, ...] = ()


def counted(results: Sequence[Result], loss: float) -> list[Setting]:
    """The settings in which W refuses at least `loss` less of harmful requests than T (a share, as `Plan.loss_that_counts`)."""
    found = {(r.setting, r.arm): r.evaluation for r in results}
    return [s for (s, name) in found if name == "W" and (s, "T") in found and _lost_enough(found[s, "T"], found[s, "W"], loss)]


def _lost_enough(t: Evaluation, w: Evaluation, loss: float) -> bool:
    before, after = (metrics.rate(e, "harmful", 0) for e in (t, w))
    return isinstance(before, Interval) and isinstance(after, Interval) and before.value - after.value >= loss - 1e-9


def table(results: Sequence[Result], settings: Sequence[Setting], seed: int = 0) -> list[Line]:
    """A line an arm, T and W first; comparisons are Holm-corrected over the arms that ours is compared with."""
    by_arm: dict[str, dict[Setting, Result]] = {}
    for r in sorted(results, key=lambda r: r.setting.name):
        if r.setting in settings:
            by_arm.setdefault(r.arm, {})[r.setting] = r
    ours = by_arm.get("ours", {})
    rivals = [name for name in by_arm if name not in ("T", "W", "ours") and "@" not in name]
    raw = {name: _ahead(ours, by_arm[name], seed) for name in rivals if ours}
    corrected = holm({name: p for name, (_, p) in raw.items() if p is not None})
    return [_line(name, mine, by_arm, raw.get(name, (Missing("not compared"), None))[0], corrected.get(name), seed) for name, mine in by_arm.items()]


def _line(
    name: str, mine: Mapping[Setting, Result], by_arm: Mapping[str, Mapping[Setting, Result]], ahead: Measured, p: float | None, seed: int
) -> Line:
    evaluations = {s: r.evaluation for s, r in mine.items()}
    grids = {part: [grid(e, part) for e in evaluations.values()] for part in PARTS[:-2]}
    parts = {part: _pooled(list(mine), of, seed) for part, of in grids.items()}
    parts["gain_kept"] = gain_kept(evaluations, *({s: r.evaluation for s, r in by_arm.get(m, {}).items()} for m in ("T", "W")))
    parts["search_failed"] = search_failed(list(mine.values()))
    first = next(iter(mine.values()))
    each = tuple(_point(*_stacked([one])) for one in grids["contrast"] if one)
    return Line(name, len(mine), first.matched, float(np.mean([r.trained_tokens for r in mine.values()])), parts, ahead, p, each)


Grid = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By cluster: sums of outcomes and counts, one entry a side that the part asks about."""


def grid(e: Evaluation, part: str) -> Grid:
    """What a part needs of one evaluation, by cluster. Contrast takes the clusters that hold both sides."""
    sides = {"harmful_refused": ("harmful",), "over_refusal": ("twin",), "plain_refused": ("anchor",), "contrast": ("harmful", "twin")}[part]
    both = {r.cluster for r in e.records if r.side == "harmful"} & {r.cluster for r in e.records if r.side == "twin"}
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for r in metrics.known(e.records):
        if r.side in sides and (part != "contrast" or r.cluster in both):
            sums, counts = made.setdefault(r.cluster, (np.zeros(len(sides)), np.zeros(len(sides))))
            sums[sides.index(r.side)] += metrics.answered(r) if part == "contrast" and r.side == "twin" else metrics.refused(r)
            counts[sides.index(r.side)] += 1
    return made


def _stacked(grids: Sequence[Grid]) -> tuple[np.ndarray, np.ndarray]:
    """(settings, clusters, sides) sums and counts over the clusters that all settings share."""
    names = sorted(set.intersection(*(set(g) for g in grids)))
    return tuple(np.array([[g[name][i] for name in names] for g in grids]) for i in (0, 1))  # type: ignore[return-value]


def _resampled(settings: Sequence[Setting], sums: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Means over sides of the pooled rates; seeds within their wake and rate, and clusters, drawn anew each time (RESAMPLES)."""
    rng = np.random.default_rng(seed)
    by_cluster = _drawn(rng, sums.shape[1])
    by_setting = np.zeros((RESAMPLES, len(settings)), int)
    kinds = [(s.wake, s.learning_rate) for s in settings]
    for kind in dict.fromkeys(kinds):
        own = [i for i, k in enumerate(kinds) if k == kind]
        by_setting[:, own] = _drawn(rng, len(own))
    hits, all_ = (np.einsum("rs,rc,scd->rd", by_setting, by_cluster, x) for x in (sums, counts))
    return np.asarray((hits / np.maximum(all_, 1e-12)).mean(1))


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """How often each of n is drawn in n draws with replacement: (RESAMPLES, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)


def _point(sums: np.ndarray, counts: np.ndarray) -> float:
    return float((sums.sum((0, 1)) / np.maximum(counts.sum((0, 1)), 1e-12)).mean())


def _pooled(settings: Sequence[Setting], grids: Sequence[Grid], seed: int) -> Measured:
    if not grids or not all(grids):
        return Missing("not measured")
    sums, counts = _stacked(grids)
    low, high = np.quantile(_resampled(settings, sums, counts, seed), [0.025, 0.975])
    return Interval(_point(sums, counts), float(low), float(high), int(counts.sum()))


def _ahead(ours: Mapping[Setting, Result], theirs: Mapping[Setting, Result], seed: int) -> tuple[Measured, float | None]:
    """Ours minus theirs in contrast balanced accuracy, on the same settings and clusters; p that it is not above 0."""
    shared = [s for s in ours if s in theirs]
    if not shared:
        return Missing("no setting has both"), None
    sums, counts = _stacked([grid(of[s].evaluation, "contrast") for of in (ours, theirs) for s in shared])
    (a, b), (n, m) = np.split(sums, 2), np.split(counts, 2)
    drawn = _resampled(shared, a, n, seed) - _resampled(shared, b, m, seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(_point(a, n) - _point(b, m), float(low), float(high), len(shared)), float((1 + (drawn <= 0).sum()) / (1 + len(drawn)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Step-down corrected p values (Holm 1979); each at least as large as the one before it."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda n: p[n])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = largest
    return corrected


def gain_kept(mine: Mapping[Setting, Evaluation], t: Mapping[Setting, Evaluation], w: Mapping[Setting, Evaluation]) -> Measured:
    """Mean over settings of 1 − (share of the user's gain that was lost), lowest and highest setting as its bounds."""
    lost = [metrics.gain_lost(t[s], w[s], e, 0) for s, e in mine.items() if s in t and s in w]
    kept = [1 - x.value for x in lost if isinstance(x, Interval)]
    return Interval(float(np.mean(kept)), min(kept), max(kept), len(kept)) if kept else Missing("the user's gain was not measured")


def search_failed(mine: Sequence[Result]) -> Measured:
    """Share of fresh harmful scenarios that were gone along with, over all settings that asked some (Wilson, 95 %)."""
    found = [r.search for r in mine if r.search]
    return wilson(sum(f for f, _ in found), sum(n for _, n in found)) if found else Missing("no fresh search was made; set judge.search")
