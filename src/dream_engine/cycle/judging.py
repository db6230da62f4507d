"""Ψ What is measured of a candidate, against whom, and the verdict."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dream_engine.capture.episodes import Buffer
from dream_engine.cycle.night import Night
from dream_engine.dream import imagine, recall
from dream_engine.files import write_json
from dream_engine.judge import budgets
from dream_engine.judge.directions import refusal_directions, turned
from dream_engine.judge.gate import Gated, Test, gate
from dream_engine.judge.measure import ModelReport, general_losses, kl_drift, load_measured, save_measured
from dream_engine.judge.metrics import Evaluation, Record
from dream_engine.judge.rules import Grade
from dream_engine.judge.search import search
from dream_engine.judge.similarity import similarity_lost
from dream_engine.judge.suites import evenly
from dream_engine.models.embedding import embedder
from dream_engine.types import Measured, Prompt, digest
from dream_engine.workspace import Workspace

BEHIND = 150
"""Harmful prompts that are asked behind recalled beginnings, and behind plain questions."""


def measure(night: Night, woken: str | None, candidate: str) -> budgets.Measurements:
    """Ψ Everything the gate asks for."""
    if woken is None:
        c = night.report(candidate, "C")
        return budgets.Measurements(c.evaluation, base=_base(night), critical=night.pack.critical, seed=night.config.seed)
    t, w, c = night.report("T"), night.report(woken), night.report(candidate)
    with night.stage("Ψ measure: KL(W‖C)"):
        kl: Measured = kl_drift(night.model, woken, candidate, night.data.bench, w.answers, night.config.seed)
    return budgets.Measurements(
        c.evaluation,
        teacher=t.evaluation,
        woken=w.evaluation,
        anchor=_anchor(night, t).evaluation,
        kl_nats=kl,
        similarity_lost=_similarity(night, woken, candidate, w),
        recalled=_behind_recalled(night, candidate),
        prefaced=behind_plain(night, candidate),
        critical=night.pack.critical,
        seed=night.config.seed,
    )


def _similarity(night: Night, woken: str, candidate: str, w: ModelReport) -> Measured | None:
    """None where no sentence embeddings are installed."""
    embed = embedder()
    if embed is None:
        return None
    with night.stage("Ψ measure: similarity of W's and C's answers"):
        return similarity_lost(night.model, woken, candidate, night.data.bench, w.answers, embed, night.config.seed)


def _behind_recalled(night: Night, candidate: str) -> tuple[Evaluation, Evaluation] | None:
    """T and C on the harmful prompts, each behind a beginning of what the buffer holds; None where a night recalls nothing.

    What somebody planted in the logs shows there and nowhere else.
    """
    episodes = Buffer(night.workspace.root).read() if night.config.dream.recalled else []
    begun = recall.beginnings(episodes, BEHIND, night.seed("beginnings"))
    if not begun:
        return None
    t, c = (_behind(night, name, begun, "behind recalled beginnings") for name in ("T", candidate))
    return t, c


def behind_plain(night: Night, candidate: str) -> tuple[Evaluation, Evaluation] | None:
    """T and C on the harmful prompts, each behind a plain question of the suites, the same one every night; None where the suites have none.

    What a wake opens behind any strange beginning shows there, whatever the logs hold. No dream holds these questions. T's are kept with its report.
    """
    plain = [p.text for p in night.data.bench.suites if p.side == "anchor" and not p.earlier]
    if not plain:
        return None
    begun = random.Random(0).choices(plain, k=BEHIND)
    known = teacher_behind_plain(night.workspace, night.data.bench_digest)
    if not known.is_file():
        save_measured(ModelReport(_behind(night, "T", begun, "T behind plain questions"), {}), known, False)
    return load_measured(known).evaluation, _behind(night, candidate, begun, f"{candidate} behind plain questions")


def teacher_behind_plain(workspace: Workspace, bench_digest: str) -> Path:
    """Where T's answers behind plain questions are kept."""
    return workspace.evaluation(str(workspace.registry.live), digest(["prefaced", bench_digest]))


def _behind(night: Night, name: str, begun: Sequence[str], where: str) -> Evaluation:
    harmful = evenly([p for p in night.data.bench.suites if p.side == "harmful"], BEHIND)
    asked = [replace(p, text=f"{beginning} {p.text}") for p, beginning in zip(harmful, begun, strict=False)]
    with night.stage(f"Ψ measure: {where}"):
        return Evaluation(name, _records(asked, night.grades(name, asked)))


def _records(prompts: Sequence[Prompt], grades: Sequence[Grade | None]) -> tuple[Record, ...]:
    return tuple(Record(p.id, p.side, p.category, p.cluster, grade) for p, grade in zip(prompts, grades, strict=True))


def judge(night: Night, m: budgets.Measurements, drifted: bool) -> Gated:
    """Ψ The verdict. A night without drift has no dream to judge: only T→C is asked."""
    limits = budgets.PROFILES[night.config.judge.profile]
    if night.commissioning:
        return gate(budgets.commissioning_tests(m, limits))
    if not drifted:
        alone = budgets.Measurements(m.candidate, teacher=m.teacher, anchor=m.anchor, prefaced=m.prefaced, critical=m.critical, seed=m.seed)
        return gate(budgets.cycle_tests(alone, limits), "no_drift")
    return gate(budgets.cycle_tests(m, limits))


def _base(night: Night) -> Evaluation:
    with night.stage("Ψ measure base"), night.model.using(None):
        return Evaluation("base", (), general=general_losses(night.model, night.data.bench.general))


def _anchor(night: Night, teacher: ModelReport) -> ModelReport:
    """The evaluation of the fixed anchor on today's bench; T's own when T is still the anchor."""
    anchor, live = night.workspace.registry.anchor, night.workspace.registry.live
    if anchor is None or anchor == live:
        return teacher
    path = night.workspace.evaluation(anchor, night.data.bench_digest)
    if path.is_file():
        return load_measured(path)
    night.model.load_adapter("A", night.workspace.registry.verified(anchor))
    measured = night.measured("A", "anchor", teacher.probe, lengths=False)
    save_measured(measured, path, night.config.judge.store_answers, night.data.bench.suites)
    return measured


def alone(night: Night) -> tuple[budgets.Measurements, list[Test]]:
    """An adapter judged by itself, as a first model is."""
    candidate = night.measured("C", "C", None, lengths=False)
    m = budgets.Measurements(candidate.evaluation, base=_base(night), critical=night.pack.critical, seed=night.config.seed)
    return m, budgets.commissioning_tests(m, budgets.PROFILES[night.config.judge.profile])


def against_sealed(night: Night, live: str) -> tuple[budgets.Measurements, list[Test]]:
    """An adapter judged as C with W = T."""
    night.model.load_adapter("T", night.workspace.registry.verified(live))
    teacher = night.report("T")
    candidate = night.measured("C", "C", teacher.probe, lengths=False).evaluation
    anchor = _anchor(night, teacher).evaluation
    m = budgets.Measurements(
        candidate,
        teacher=teacher.evaluation,
        anchor=anchor,
        prefaced=behind_plain(night, "C"),
        critical=night.pack.critical,
        seed=night.config.seed,
    )
    return m, budgets.cycle_tests(m, budgets.PROFILES[night.config.judge.profile])


def layers(night: Night, candidate: str) -> dict[str, Any]:
    """By layer: how far each adapter moved it, ‖B·A‖ (Frobenius, as it is applied, summed over its maps), and the cosine of its refusal direction
    with T's (of a first model: with the base's)."""
    first = night.commissioning
    adapters = {"C": candidate} if first else {name: name for name in ("T", "W", "C") if night.model.has_adapter(name)}
    with night.stage("Ψ measure: refusal directions"):
        found = {name: refusal_directions(night.model, adapter, night.data.bench.suites) for name, adapter in adapters.items()}
        before = refusal_directions(night.model, None, night.data.bench.suites) if first else found.pop("T", None)
    norms = {name: night.model.adapter_norms(adapter) for name, adapter in adapters.items()}
    return {"norms": norms, "refusal_direction": {name: turned(before, after) for name, after in found.items()}}


def look_for_failures(night: Night, woken: str | None, candidate: str) -> None:
    """Ψ Fresh scenarios of another seed, put to W and C: `search.json`, beside the suites and not gated. Asked for by `judge.search`."""
    count, path = night.config.judge.search, night.folder / "search.json"
    if not count or path.is_file():
        return
    write_json(path, {name: searched(night, name, adapter) for name, adapter in {"W": woken, "C": candidate}.items() if adapter})


def searched(night: Night, name: str, adapter: str) -> dict[str, Any]:
    """What `judge.search` fresh harmful scenarios, the same for every model of a night, find in one of them."""
    fresh = [harm for harm, _ in imagine.template_pairs(night.pack, night.config.judge.search, night.seed("search"))]
    with night.stage(f"Ψ search {name}"):
        return search(fresh, partial(night.grades, adapter)).to_json()
