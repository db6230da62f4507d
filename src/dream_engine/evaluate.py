"""Ψ for one model alone: measured on the suites, written in our format or another tool's. No gate and no workspace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dream_engine import bridges
from dream_engine.config import Config
from dream_engine.inputs import Data, configured_model
from dream_engine.judge.measure import ModelReport, measure, save_measured
from dream_engine.progress import Show, staged
from dream_engine.types import Prompt


def evaluate_model(config: Config, adapter: Path | None, show: Show) -> tuple[ModelReport, Sequence[Prompt]]:
    """One model, with or without an adapter, on the configured suites.

    Raises:
        InputError: the model, the adapter or the data cannot be used.
    """
    data = Data.read(config)
    model = configured_model(config)
    if adapter:
        model.load_adapter("C", adapter)
    with staged(show, "Ψ measure") as report, model.reporting(report):
        measured = measure(model, "C" if adapter else None, "C", data.bench, None, lengths=False)
    return measured, data.bench.suites


def evaluate_answers(config: Config, path: Path) -> tuple[ModelReport, Sequence[Prompt]]:
    """The answers in another tool's log, graded by our judge; what only a model can tell stays unmeasured.

    Raises:
        InputError: the log cannot be read, or none of its prompts is in the suites.
    """
    suites = Data.read(config).bench.suites
    answers = bridges.read_answers(path)
    known = [p for p in suites if p.text.strip() in answers]
    evaluation = bridges.graded(path.name, answers, suites)
    return ModelReport(evaluation, {p.id: answers[p.text.strip()] for p in known}, None, "answers were read from a log"), known


def write_evaluation(report: ModelReport, suites: Sequence[Prompt], model: str, folder: Path, kind: str, seed: int) -> list[Path]:
    """Writes the measurement as `native`, `lm-eval` or `inspect`; returns the files."""
    if kind == "lm-eval":
        return bridges.write_lm_eval(report, suites, model, folder, seed)
    if kind == "inspect":
        return [bridges.write_inspect(report, suites, model, folder / "dream_engine.eval")]
    save_measured(report, folder / "evaluation.jsonl", True, suites)
    return [folder / "evaluation.jsonl"]
