"""Ψ Measuring: one model under one adapter gives an `Evaluation`. Numbers only; the gate decides elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dream_engine.judge import rules
from dream_engine.judge.behaviour import diversity, flagged
from dream_engine.judge.judges import AnswerJudge, Rules
from dream_engine.judge.metrics import REFUSED, Evaluation, Record, TextLoss
from dream_engine.judge.probe import Probe, fit_probe, probe_scores
from dream_engine.judge.rules import Grade
from dream_engine.judge.stats import cluster_bootstrap
from dream_engine.judge.suites import evenly
from dream_engine.models.batches import by_tokens, log_softmaxes
from dream_engine.models.hf import ChatModel
from dream_engine.types import Conversation, Measured, Missing, Prompt

ANSWER_TOKENS = 24
LENGTH_TOKENS = 128
LENGTH_PROMPTS = 150
"""A third of them cannot tell 20 %: greedy answers of two nearly equal models end at very different places."""
KL_EVERY = 2
Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Bench:
    """What every model of a cycle is measured on."""

    suites: tuple[Prompt, ...]
    user: tuple[Conversation, ...] = ()
    general: tuple[str, ...] = ()
    answer_tokens: int = ANSWER_TOKENS
    judged: Mapping[str, float] | None = None
    """The prompts whose answers are judged, with the share of their stratum that was drawn; None: all of them."""
    judge: AnswerJudge = field(default_factory=Rules)


@dataclass(frozen=True)
class ModelReport:
    """An evaluation with the short judged answers behind it, by prompt id."""

    evaluation: Evaluation
    answers: Mapping[str, str]
    probe: Probe | None = None
    probe_missing: str = ""


def measure(
    model: ChatModel, adapter: str | None, name: str, bench: Bench, probe: Probe | None, lengths: bool, stage: Stage = nullcontext
) -> ModelReport:
    """Judged answers, probe, user and general losses, and (with `lengths`) answer lengths of one model.

    With `probe` None a probe is fitted on this model's own judged answers and returned. `stage` is opened around each part.
    """
    judged = [p for p in bench.suites if bench.judged is None or p.id in bench.judged]
    contrast = [p for p in bench.suites if p.side in ("harmful", "twin")]
    with model.using(adapter):
        with stage("answers"):
            answers = {p.id: g.text for p, g in zip(judged, model.generate([p.turns for p in judged], bench.answer_tokens), strict=True)}
        exchanges = [(p.text, answers[p.id]) for p in judged]
        grades = dict(zip(answers, bench.judge.grade(exchanges), strict=True))
        with stage("decision probe"):
            probed = _probed(model, probe, contrast, answers, grades)
        with stage("user rows and general text"):
            user, general = user_losses(model, bench.user), general_losses(model, bench.general)
        counted: dict[str, int] = {}
        if lengths:
            with stage("answer lengths"):
                counted = answer_lengths(model, bench.suites)
    fitted, scores = (None, {}) if isinstance(probed, Missing) else (probed[0], {p.id: x for p, x in zip(contrast, probed[1], strict=True)})
    records = tuple(_record(p, answers.get(p.id, ""), grades.get(p.id), scores.get(p.id), bench.judged) for p in bench.suites)
    reason = probed.reason if isinstance(probed, Missing) else ""
    varied = diversity([answers[p.id] for p in judged if p.side == "anchor"])
    return ModelReport(Evaluation(name, records, user, general, counted, varied), answers, fitted, reason)


def _probed(
    model: ChatModel, probe: Probe | None, prompts: Sequence[Prompt], answers: Mapping[str, str], grades: Mapping[str, Grade | None]
) -> tuple[Probe, list[float]] | Missing:
    """p(refuse) of every prompt: by the given probe, or by one that is fitted on those that were judged."""
    asked = [p.turns for p in prompts]
    if probe:
        return probe, probe.probabilities(probe_scores(model, probe, asked))
    learnt = [answers[p.id] if grades.get(p.id) else None for p in prompts]
    return fit_probe(model, asked, learnt, [grades.get(p.id) in REFUSED for p in prompts])


def _record(prompt: Prompt, answer: str, graded: Grade | None, p_refuse: float | None, judged: Mapping[str, float] | None) -> Record:
    p, share = prompt, 1.0 if judged is None else judged.get(prompt.id, 0.0)
    disputed = graded is not None and (graded in REFUSED) != (rules.grade(answer) in REFUSED)
    return Record(p.id, p.side, p.category, p.cluster, graded, p_refuse, share, p.style, p.language, flagged(answer), disputed)


def user_losses(model: ChatModel, rows: Sequence[Conversation]) -> tuple[TextLoss, ...]:
    """−log p of each held-out user answer, nats."""
    encoded = [model.encode(row.prompt, row.answer) for row in rows]
    scored = model.answer_logprobs(encoded)
    return tuple(TextLoss(row.id, -sum(logp), len(logp)) for row, logp in zip(rows, scored, strict=True))


def general_losses(model: ChatModel, texts: Sequence[str]) -> tuple[TextLoss, ...]:
    """−log p of plain text, without the chat template, nats; the first token of each text is context only."""
    encoded = [model.encode_text(text) for text in texts]
    scored = model.answer_logprobs(encoded)
    return tuple(TextLoss(f"g{i:04d}", -sum(logp), len(logp)) for i, logp in enumerate(scored))


def answer_lengths(model: ChatModel, suites: Sequence[Prompt]) -> dict[str, int]:
    """Tokens of greedy answers to 150 plain prompts (to all, where there are fewer), at most 128 each."""
    plain = evenly([p for p in suites if p.side == "anchor"], LENGTH_PROMPTS)
    done = model.generate([p.turns for p in plain], LENGTH_TOKENS, batch_size=LENGTH_PROMPTS)
    return {p.id: g.num_tokens for p, g in zip(plain, done, strict=True)}


@torch.no_grad()
def kl_drift(model: ChatModel, woken: str | None, candidate: str, bench: Bench, answers: Mapping[str, str], seed: int) -> Measured:
    """Mean KL(W ‖ C) in nats per token, exact over the vocabulary, at W's own greedy answer tokens on plain prompts.

    Every second plain prompt is used. `answers` are W's judged answers; where none were stored W answers again. The interval
    resamples prompts at the one-sided 95 % level.
    """
    answers = answers or plain_answers(model, woken, bench)
    plain = [p for p in bench.suites if p.side == "anchor" and answers.get(p.id)][::KL_EVERY]
    if not plain:
        return Missing("no plain prompt was answered by W")
    rows = [model.encode(p.turns, answers[p.id], ended=False) for p in plain]
    sums: dict[int, tuple[float, int]] = {}
    for batch in by_tokens([len(row.ids) for row in rows], 1024):
        chosen = [rows[i] for i in batch]
        sizes = [len(row.ids) - row.num_prompt for row in chosen]
        kl = _exact_kl(model, woken, candidate, chosen).split(sizes)
        sums |= {i: (float(part.sum()), len(part)) for i, part in zip(batch, kl, strict=True)}
    values, weights = zip(*(sums[i] for i in range(len(rows))), strict=True)
    means = [v / w for v, w in zip(values, weights, strict=True)]
    return cluster_bootstrap(means, [p.cluster for p in plain], seed, weights, level=0.90)


def plain_answers(model: ChatModel, adapter: str | None, bench: Bench) -> dict[str, str]:
    """Short greedy answers to the plain prompts, by prompt id."""
    plain = [p for p in bench.suites if p.side == "anchor"]
    with model.using(adapter):
        done = model.generate([p.turns for p in plain], bench.answer_tokens)
    return {p.id: g.text for p, g in zip(plain, done, strict=True)}


def _exact_kl(model: ChatModel, woken: str | None, candidate: str, rows: Sequence[Any]) -> torch.Tensor:
    with model.using(woken):
        first = model.target_logits(rows)
    with model.using(candidate):
        second = model.target_logits(rows)
    return torch.cat([(p.exp() * (p - q)).sum(-1) for p, q in zip(log_softmaxes(first), log_softmaxes(second), strict=True)])


def save_measured(measured: ModelReport, path: Path, store_answers: bool, suites: Sequence[Prompt] = ()) -> None:
    """One JSON line a prompt, then the losses; answers only where the user lets them be stored."""
    e = measured.evaluation
    texts = {p.id: p.text for p in suites}
    rows = [asdict(r) for r in e.records]
    if store_answers:
        kept = {r.id for r in e.records if r.share}
        rows = [row | {"answer": measured.answers.get(row["id"], ""), "text": texts.get(row["id"], "")} if row["id"] in kept else row for row in rows]
    tail = {
        "model": e.model,
        "user": [asdict(x) for x in e.user],
        "general": [asdict(x) for x in e.general],
        "lengths": dict(e.lengths),
        "diversity": dict(e.diversity),
        "probe": measured.probe.to_json() if measured.probe else None,
        "probe_missing": measured.probe_missing,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [*rows, tail]), encoding="utf-8")
    scratch.replace(path)


def load_measured(path: Path) -> ModelReport:
    """The inverse of `save_measured`; answers that were not stored are missing from the mapping."""
    *rows, tail = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = {row["id"]: row.pop("answer") for row in rows if row.pop("text", None) is not None}
    losses = {key: tuple(TextLoss(**x) for x in tail[key]) for key in ("user", "general")}
    evaluation = Evaluation(
        tail["model"], tuple(Record(**row) for row in rows), lengths=tail["lengths"], diversity=tail.get("diversity", {}), **losses
    )
    return ModelReport(evaluation, answers, Probe.from_json(tail["probe"]) if tail["probe"] else None, tail["probe_missing"])
