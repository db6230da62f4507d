"""What the steps of one cycle share: model, data, run folder, seeds, timed stages, fits and measurements that are made once."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from dream_engine import types
from dream_engine.config import Commission, Config, DreamPlan, Wake
from dream_engine.dream.rehearse import Pull, RehearsalPlan, Rehearsed, Row, rehearse
from dream_engine.errors import InputError
from dream_engine.files import write_json
from dream_engine.govern.commitments import committed
from dream_engine.govern.registry import folder_digest
from dream_engine.inputs import Data
from dream_engine.judge.measure import ModelReport, load_measured, measure, save_measured
from dream_engine.judge.probe import Probe
from dream_engine.judge.rules import Grade
from dream_engine.judge.suites import suite_digest
from dream_engine.models.hf import ChatModel, Report
from dream_engine.policy.declining import declines
from dream_engine.policy.pack import Pack
from dream_engine.progress import RunLog
from dream_engine.provenance import code_revision, libraries
from dream_engine.types import Prompt, Scenario, derive_seed
from dream_engine.workspace import Workspace

SETTLE_TOKENS = 12
"""Tokens of an answer in which a decision shows."""
REHEARSED_PROMPTS, REHEARSED_TOKENS = 8, 16
"""Greedy answers by which the sealed weights are known again before a cycle starts."""


class Night:
    """The state of one cycle. A step's result lies in the run folder: what is there is read, not computed again."""

    def __init__(self, config: Config, workspace: Workspace, run_id: str, log: RunLog, model: ChatModel, pack: Pack, data: Data) -> None:
        self.config, self.workspace, self.run_id, self.log = config, workspace, run_id, log
        self.model, self.pack, self.data = model, pack, data
        self.folder = workspace.run_folder(run_id)
        self.counts: dict[str, Any] = {}
        self.settled: dict[str, Any] | None = None
        self.asked_helper: dict[str, Any] | None = None
        self.hardened: list[dict[str, Any]] | None = None

    @property
    def commissioning(self) -> bool:
        return self.workspace.registry.live is None

    def answers(self, adapter: str) -> dict[str, str]:
        """Digest of a few greedy answers, and of everything but the weights that they depend on."""
        asked = [p.turns for p in self.data.bench.suites if p.side == "anchor"][:REHEARSED_PROMPTS]
        with self.model.using(adapter):
            answers = [g.text for g in self.model.generate(asked, REHEARSED_TOKENS)]
        on = [
            platform.processor(),
            platform.machine(),
            str(self.model.dtype),
            str(self.model.device),
            code_revision(),
            libraries(),
            torch.get_num_threads(),
        ]
        return {"digest": types.digest(answers), "on": types.digest([on, [m.content for turn in asked for m in turn]])[:16]}

    def fresh_adapter(self, name: str) -> None:
        lora = self.config.lora
        self.model.add_adapter(name, lora.r, lora.lora_alpha, lora.layers_from, seed=self.seed("adapter"))

    def digests(self) -> dict[str, str]:
        """Content digests of what this cycle stands on; of the user's rows only a salted commitment, so that they can be erased."""
        imported = imported_digest(self.config, self.commissioning)
        return ({"imported": imported} if imported else {}) | {
            "base": self.model.base_digest,
            "pack": self.pack.digest,
            "suites": suite_digest(list(self.data.bench.suites)),
            "wake": committed(self.folder, {c.id: types.canonical_json(asdict(c)) for c in self.data.wake}),
            "bench": self.data.bench_digest,
            "config": types.digest(json.loads(self.config.model_dump_json())),
        }

    def seed(self, stage: str) -> int:
        return derive_seed(self.config.seed, f"{self.run_id[:3]}:{stage}")

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """A stage that is timed, shown with an ETA, and kept in the run's events."""
        with self.log.stage(name, lambda: self.model.tokens_read) as report, self.model.reporting(report):
            yield report

    def refuses(self, adapter: str, asked: Sequence[Sequence[types.Message]]) -> list[bool]:
        with self.model.using(adapter):
            return [declines(g.text) for g in self.model.generate(asked, SETTLE_TOKENS)]

    def fit_plan(self, section: Commission | Wake | DreamPlan, stage: str, ema_decay: float = 0.0, max_steps: int = 0) -> RehearsalPlan:
        return RehearsalPlan(
            section.learning_rate,
            section.num_train_epochs,
            section.per_device_train_batch_size,
            section.gradient_accumulation_steps,
            ema_decay=ema_decay,
            max_steps=max_steps,
            seed=self.seed(stage),
            gradient_checkpointing=self.config.model.gradient_checkpointing,
        )

    def fit(self, stage: str, adapter: str, rows: Any, plan: RehearsalPlan, pull: Pull | None = None) -> None:
        """Trains an adapter, or loads it when this run has trained it before. A killed fit goes on from its checkpoint."""
        folder, cost = self.folder / f"adapter-{adapter}", self.folder / f"fit-{adapter}.json"
        if cost.is_file():
            self.log.resumed(stage)
            self.model.load_adapter(adapter, folder)
            return
        with self.stage(f"{stage}: prepare"):
            made = rows()
        self.tell_cut(stage, made)
        checkpoint = self.folder / f"checkpoint-{adapter}.safetensors"
        with self.stage(stage) as report:
            fitted: Rehearsed = rehearse(self.model, adapter, made, plan, checkpoint, report, pull)
        self.model.save_adapter(adapter, folder)
        write_json(cost, asdict(fitted))
        checkpoint.unlink(missing_ok=True)

    def tell_cut(self, stage: str, rows: Sequence[Row]) -> None:
        """Says in the log how many of the rows are longer than a row may be."""
        cut = sum(row.encoded.cut for row in rows)
        if cut:
            with self.stage(f"{stage}: {cut} of {len(rows)} rows are longer than {self.model.max_length} tokens and are cut (model.max_length)"):
                pass

    def report(self, adapter: str, name: str = "") -> ModelReport:
        """The measured report of one adapter, from this run's folder or the workspace's cache when it is there."""
        name = name or adapter
        live = self.workspace.registry.live
        path = self.workspace.evaluation(live, self.data.bench_digest) if name == "T" and live else self.folder / "eval" / f"{name}.jsonl"
        if path.is_file():
            return load_measured(path)
        probe = None if name in ("T",) or self.commissioning else self.report("T").probe
        measured = self.measured(adapter, name, probe, lengths=name in ("W", "C") and not self.commissioning)
        save_measured(measured, path, self.config.judge.store_answers, self.data.bench.suites)
        return measured

    def measured(self, adapter: str, name: str, probe: Probe | None, lengths: bool) -> ModelReport:
        """One adapter measured on this cycle's bench, part by part."""
        return measure(self.model, adapter, name, self.data.bench, probe, lengths, lambda part: self.stage(f"Ψ measure {name}: {part}"))

    def grades(self, adapter: str, asked: Sequence[Scenario | Prompt]) -> Sequence[Grade | None]:
        """The grade of each answer of this adapter; None where the judge cannot tell."""
        bench = self.data.bench
        with self.model.using(adapter):
            done = self.model.generate([one.turns for one in asked], bench.answer_tokens)
        return bench.judge.grade([(one.text, g.text) for one, g in zip(asked, done, strict=True)])


def imported_digest(config: Config, commissioning: bool) -> str | None:
    """Digest of the folder in which W, or the first T, was made elsewhere."""
    folder = config.commission.adapter if commissioning else config.wake.imported
    key = "commission.adapter" if commissioning else "wake.adapter" if config.wake.adapter else "wake.model"
    if folder and not folder.is_dir():
        raise InputError(f"{key}: {folder} is not a folder")
    return folder_digest(folder) if folder else None
