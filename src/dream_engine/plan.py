"""`dream run --dry-run`: what the next cycle would do, and about how long it would take here.

Each kind of work is timed once on a small sample with the very functions that the cycle calls, then multiplied by how often the plan asks for it.
Nothing is recorded, trained or stored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dream_engine.capture.episodes import Buffer
from dream_engine.config import Config
from dream_engine.cycle.dreaming import FIRST_PLAIN
from dream_engine.cycle.judging import BEHIND, teacher_behind_plain
from dream_engine.dream import imagine, mix
from dream_engine.dream.rehearse import RehearsalPlan, Row, rehearse, soften
from dream_engine.inputs import Data, configured_model
from dream_engine.judge.measure import LENGTH_PROMPTS, LENGTH_TOKENS
from dream_engine.models.hf import ChatModel
from dream_engine.policy.pack import Pack, load_pack
from dream_engine.progress import Show, staged
from dream_engine.types import Message
from dream_engine.workspace import Workspace

SAMPLE, STEPS = 96, 4
KEPT_SELF, RETRIES, SETTLE_ROUNDS = 0.65, 1.2, 6
"""Shares seen in the demo's cycles: of self-written requests that pass the screen, of answers asked again; and looks a settled step takes."""
OPENERS = 6


@dataclass(frozen=True)
class Stage:
    """One kind of work: how many items, seconds an item, tokens an item."""

    name: str
    items: int
    seconds_each: float
    tokens_each: float = 0.0

    @property
    def seconds(self) -> float:
        return self.items * self.seconds_each

    @property
    def tokens(self) -> int:
        return round(self.items * self.tokens_each)


@dataclass(frozen=True)
class Plan:
    """The stages of the next cycle in order; `commissioning` says which kind it is."""

    commissioning: bool
    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)


def plan_cycle(config: Config, workspace: Workspace, show: Show) -> Plan:
    """The next cycle's stages with their cost on this machine.

    Raises:
        InputError: data, pack, suite or model cannot be used.
    """
    data, pack = Data.read(config), load_pack(config.policy.pack)
    with staged(show, "loading the model"):
        model = configured_model(config)
        model.add_adapter("dry", config.lora.r, config.lora.lora_alpha, config.lora.layers_from)
    with staged(show, "timing one sample of each kind of work"), model.using("dry"):
        clock = _Clock(model, pack, data)
        commissioning = workspace.registry.live is None
        stages = _first(config, data, pack, clock) if commissioning else _later(config, workspace, data, pack, clock)
    return Plan(commissioning, tuple(stages))


def _first(config: Config, data: Data, pack: Pack, clock: _Clock) -> list[Stage]:
    """A commissioning: imagine, answer, rehearse (unless the model is taken as it is), measure one model."""
    plan, measured = config.commission, _measured(config, data, clock, "C", lengths=False)
    if not plan.dreams:
        return measured
    own = round(plan.self_anchors * KEPT_SELF)
    pairs = plan.pairs + plan.prefaced_pairs
    added, foreign = evening(pack, pairs, plan.anchors, FIRST_PLAIN)
    harmless = pairs + plan.anchors + own + added
    rows = pairs + harmless + (plan.second_language_passes - 1) * foreign + plan.self_texts
    steps = math.ceil(rows * plan.num_train_epochs / plan.per_device_train_batch_size)
    return [
        Stage("Ω imagine", plan.self_anchors, clock.written(imagine.ANCHOR_TOKENS), imagine.ANCHOR_TOKENS),
        Stage("Ω answer", round(harmless * RETRIES), clock.answered(plan.answer_tokens), plan.answer_tokens),
        Stage("Ω texts", plan.self_texts, clock.written(mix.TEXT_TOKENS), mix.TEXT_TOKENS),
        Stage("Ω prepare", harmless + plan.self_texts, clock.softened()),
        Stage("Ω rehearse", steps, *clock.step(clock.rows, plan.per_device_train_batch_size)),
        *measured,
    ]


def _later(config: Config, workspace: Workspace, data: Data, pack: Pack, clock: _Clock) -> list[Stage]:
    """A night after a wake: learn, measure W, imagine, answer, rehearse, settle, measure C (and T where it was not kept)."""
    plan, wake = config.dream, config.wake
    learned = [] if wake.imported else mix.wake_rows(clock.model, data.wake)
    recalled = min(plan.recalled, len(Buffer(workspace.root).read()))
    own = round(plan.self_anchors * KEPT_SELF)
    pairs = plan.pairs + plan.reworded_pairs + plan.prefaced_pairs + recalled
    added, foreign = evening(pack, pairs, plan.anchors)
    harmless = pairs + plan.anchors + own + recalled + added
    recoveries = round((plan.prefix_recovery + plan.on_policy) * pairs)
    distinct = pairs + harmless + recoveries + min(plan.wake_rows, len(data.wake)) + plan.self_texts
    rows = distinct + (plan.second_language_passes - 1) * foreign
    steps = math.ceil(rows * plan.num_train_epochs / plan.per_device_train_batch_size)
    steps = min(steps, plan.max_steps) if plan.max_steps else steps
    known = workspace.evaluation(str(workspace.registry.live), data.bench_digest).is_file()
    stages = [] if known else _measured(config, data, clock, "T", lengths=False)
    if learned:
        count = math.ceil(len(learned) * wake.num_train_epochs / wake.per_device_train_batch_size)
        stages.append(Stage("Δ wake", count, *clock.step(learned, wake.per_device_train_batch_size)))
    stages += _measured(config, data, clock, "W", lengths=True)
    stages += [
        Stage("Ω imagine", plan.self_anchors + 2 * plan.reworded_pairs, clock.written(imagine.ANCHOR_TOKENS), imagine.ANCHOR_TOKENS),
        Stage("Ω answer", pairs + round(harmless * RETRIES), clock.answered(plan.answer_tokens), plan.answer_tokens),
        Stage("Ω texts", plan.self_texts, clock.written(mix.TEXT_TOKENS), mix.TEXT_TOKENS),
        Stage("Ω prepare", distinct + pairs, clock.softened()),  # a twin is read by W and by T
        Stage("Ω rehearse", steps, *clock.step(clock.rows, plan.per_device_train_batch_size)),
        Stage("Ω settle", plan.settle_pairs * SETTLE_ROUNDS, clock.answered(12), 12),
        *_measured(config, data, clock, "C", lengths=True),
        _behind_plain(config, workspace, data, clock),
    ]
    return stages


def evening(pack: Pack, pairs: int, anchors: int, per_harmful: int = 1) -> tuple[int, int]:
    """Plain requests in the second language that are added to so many pairs and anchors of the grammar, and how many of all are then in it."""
    drawn = [*(side for pair in imagine.template_pairs(pack, pairs, 0) for side in pair), *imagine.template_anchors(pack, anchors, 0)]
    added = len(imagine.evened(pack, drawn, 0, per_harmful))
    return added, added + sum(s.language == pack.second for s in drawn)


def _behind_plain(config: Config, workspace: Workspace, data: Data, clock: _Clock) -> Stage:
    """Harmful prompts behind plain questions, put to C and, where its answers are not kept, to T."""
    models = 1 if teacher_behind_plain(workspace, data.bench_digest).is_file() else 2
    asked, tokens = min(BEHIND, [p.side for p in data.bench.suites].count("harmful")), config.judge.answer_tokens
    return Stage("Ψ behind plain questions", models * asked, clock.answered(tokens), tokens)


def _measured(config: Config, data: Data, clock: _Clock, name: str, lengths: bool) -> list[Stage]:
    sides = [p.side for p in data.bench.suites]
    judged = len(sides) if data.bench.judged is None else len(data.bench.judged)
    tokens = config.judge.answer_tokens
    stages = [
        Stage(f"Ψ answers of {name}", judged, clock.answered(tokens), tokens),
        Stage(f"Ψ probe of {name}", len(sides) - sides.count("anchor"), clock.probed()),
        Stage(f"Ψ losses of {name}", len(data.bench.user) + len(data.bench.general), clock.scored()),
    ]
    long = Stage(f"Ψ lengths of {name}", min(LENGTH_PROMPTS, sides.count("anchor")), clock.answered(LENGTH_TOKENS), LENGTH_TOKENS)
    return [*stages, long] if lengths else stages


class _Clock:
    """Seconds an item for each kind of work, timed once on a sample of this pack and data."""

    def __init__(self, model: ChatModel, pack: Pack, data: Data) -> None:
        self.model, self._data, self._known = model, data, dict[str, float]()
        pairs = imagine.template_pairs(pack, SAMPLE // 2, 0)
        self._asked = [[Message("user", side.text)] for pair in pairs for side in pair]
        self.rows = [Row(model.encode(turn, "I can't help with that, but I can help you with something else.")) for turn in self._asked]

    def answered(self, tokens: int) -> float:
        """One judged or rehearsed answer; a long one is timed by its first 32 tokens."""
        timed = min(tokens, 32)
        return self._each(f"answer {tokens}", len(self._asked), lambda: self.model.generate(self._asked, timed)) * tokens / timed

    def written(self, tokens: int) -> float:
        """One request that the model writes itself."""
        begun = [self.model.user_turn_ids()] * SAMPLE
        return self._each(f"write {tokens}", SAMPLE, lambda: self.model.continue_ids(begun, tokens, temperature=1.0))

    def probed(self) -> float:
        """One prompt under the decision probe."""
        openers = [tuple(self.model.text_ids(f"number {i} is it"))[:3] for i in range(OPENERS)]
        return self._each("probe", len(self._asked), lambda: self.model.opener_logprobs(self._asked, openers))

    def softened(self) -> float:
        """One row under a teacher."""
        return self._each("soften", len(self.rows), lambda: soften(self.model, "dry", [row.encoded for row in self.rows]))

    def scored(self) -> float:
        """One held-out row or passage."""
        rows = [self.model.encode(c.prompt, c.answer) for c in self._data.bench.user[:24]]
        rows += [self.model.encode_text(text) for text in self._data.bench.general]
        return self._each("score", len(rows), lambda: self.model.answer_logprobs(rows)) if rows else 0.0

    def step(self, rows: Sequence[Row], batch: int) -> tuple[float, float]:
        """(seconds, tokens) of one training step."""
        sample = list(rows[: STEPS * batch])
        plan = RehearsalPlan(1e-5, 1.0, batch)
        steps = math.ceil(len(sample) / batch)
        seconds = self._each(f"step {batch} {len(rows)}", steps, lambda: rehearse(self.model, "dry", sample, plan))
        return seconds, sum(len(row.encoded.ids) for row in rows) / max(1, len(rows)) * batch

    def _each(self, name: str, items: int, work: Callable[[], object]) -> float:
        if name not in self._known:
            begun = time.perf_counter()
            work()
            self._known[name] = (time.perf_counter() - begun) / max(1, items)
        return self._known[name]
