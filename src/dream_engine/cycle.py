"""One replay cycle: Δ wake → Ω dream → Ψ judge. Read `run_cycle` first.

The only module that sees capture, dream and judge together. Each step's result lies in the run folder, so a killed run goes
on where it was: a step whose file is there is read, not computed again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dream_engine import types
from dream_engine.capture.added import read_added
from dream_engine.capture.episodes import Buffer
from dream_engine.config import Commission, Config, DreamPlan, Wake, scaled
from dream_engine.dream import explore, imagine, mix, recall, targets
from dream_engine.dream.archive import FILE as ARCHIVE
from dream_engine.dream.archive import Archive, Fitness
from dream_engine.dream.helper import helped
from dream_engine.dream.rehearse import Pull, RehearsalPlan, Rehearsed, Row, rehearse
from dream_engine.dream.review import Reviewed
from dream_engine.dream.settle import settle
from dream_engine.errors import InputError, IntegrityError
from dream_engine.files import read_jsonl, write_json, write_jsonl
from dream_engine.govern import sabar
from dream_engine.govern.approvals import refuse_if_held
from dream_engine.govern.commitments import committed
from dream_engine.govern.registry import MANIFEST, folder_digest
from dream_engine.govern.release import changed_settings, final_verdict, release
from dream_engine.harden import harden
from dream_engine.inputs import Data
from dream_engine.judge import budgets, metrics
from dream_engine.judge.gate import Gated, Test, gate
from dream_engine.judge.measure import ModelReport, kl_drift, load_measured, measure, save_measured
from dream_engine.judge.metrics import Evaluation
from dream_engine.judge.probe import Probe, probe_scores
from dream_engine.judge.rules import Grade, declines, is_incoherent, normalise
from dream_engine.judge.search import search
from dream_engine.judge.suites import suite_digest
from dream_engine.models.hf import ChatModel, Report, load_model
from dream_engine.models.remote import Server
from dream_engine.policy.pack import Pack, load_pack, problems
from dream_engine.policy.screen import RequestScreen, Screened, ScreenedDreams, by_rule, screen_answers
from dream_engine.progress import RunLog, Show, silent
from dream_engine.provenance import code_revision, libraries
from dream_engine.results import drift_json, gate_json, table_json
from dream_engine.types import Blocked, Dream, Measured, Proposed, Scenario, derive_seed
from dream_engine.workspace import Workspace

TAME_P = 0.95
SETTLE_TOKENS, MIN_HELD_OUT = 12, 30
"""Tokens of an answer in which a decision shows, and the fewest held-out look-alikes that can steer a step; below, it is not shortened."""
REHEARSED_PROMPTS, REHEARSED_TOKENS = 8, 16
"""Greedy answers by which the sealed weights are known again before a cycle starts."""


@dataclass(frozen=True)
class Outcome:
    """How a cycle ended. `weights` is the candidate's digest in the registry."""

    run_id: str
    folder: Path
    gated: Gated
    weights: str
    entry: int
    commissioning: bool


def run_cycle(config: Config, workspace: Workspace, show: Show = silent, review: Reviewed | None = None) -> Outcome:
    """Runs one whole cycle, or goes on with the one that was killed. Commissions when nothing is sealed yet.

    With `review`, what people left of this cycle's dreams is rehearsed instead of all of them.

    Raises:
        InputError: data, pack, suite or model cannot be used.
        IntegrityError: the sealed weights or the ledger do not verify; no cycle starts then (Amanah).
    """
    night = Night.open(config, workspace, show)  #    locks nothing, checks everything, writes `begin`
    woken = None if night.commissioning else night.learn()  # Δ  the user's own fine-tune: W
    drifted = woken is None or not night.no_drift(woken)
    dreams = night.imagine(woken, review) if drifted else []  # Ω  proposals, screened and answered
    candidate = night.rehearse(woken, dreams)  # Ω  bounded fit of an adapter: C
    measured = night.measure(woken, candidate)  # Ψ  numbers with intervals
    night.look_for_failures(woken, candidate)  # Ψ  fresh scenarios, beside the suites
    gated = night.gate(measured, drifted)  # Ψ  pure function
    return night.release(candidate, measured, gated)  #    ledger entry and alias in one transaction, then the page


def generate(config: Config, workspace: Workspace, show: Show = silent) -> Path | None:
    """Δ and the first half of Ω: the dreams that this cycle would rehearse, for people to look at; `run_cycle` goes on from there.

    Returns the run folder, or None on a night without drift.

    Raises:
        As `run_cycle`.
    """
    night = Night.open(config, workspace, show)
    woken = None if night.commissioning else night.learn()
    if woken is not None and night.no_drift(woken):
        return None
    night.imagine(woken)
    return night.folder


class Teachers(NamedTuple):
    """Who answers each side of the dreams."""

    harmful: targets.Teacher
    harmless: targets.Teacher


class Night:
    """The state that the steps of one cycle share: model, data, run folder, seeds."""

    def __init__(self, config: Config, workspace: Workspace, run_id: str, log: RunLog, model: ChatModel, pack: Pack, data: Data) -> None:
        self.config, self.workspace, self.run_id, self.log = config, workspace, run_id, log
        self.model, self.pack, self.data = model, pack, data
        self.folder = workspace.run_folder(run_id)
        self.counts: dict[str, Any] = {}
        self.settled: dict[str, Any] | None = None
        self.asked_helper: dict[str, Any] | None = None
        self.hardened: list[dict[str, Any]] | None = None

    # ---- begin ----------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, config: Config, workspace: Workspace, show: Show) -> Night:
        """Checks the ledger and the sealed weights, reads all input, and begins (or goes on with) a run."""
        workspace.ledger.verify()
        refuse_if_held(workspace.ledger)
        sabar.refuse_if_stopped(workspace.ledger)
        config = scaled(config, [(c.key, c.factor) for c in sabar.changes_in_force(workspace.ledger.entries())])
        workspace.registry.verify_live()
        live = workspace.registry.live
        pack = load_pack(config.policy.pack)
        data = Data.read(config)
        if live is None and problems(pack) and config.model.name != "sandbox":
            raise InputError(f"policy pack {pack.name!r} cannot commission: {problems(pack)[0]}; run 'dream validate' for the whole list")
        if live and not data.wake and not config.wake.imported:
            raise InputError("a model is sealed and there is nothing to learn; set wake.data to a file of dialogues")
        if live and not data.bench.user:
            raise InputError(
                "the user's gain must be measured: set wake.heldout (or wake.data, part of which is held out) beside wake.adapter or wake.model"
            )
        run_id = _run_id(config, workspace, data, pack)
        model = load_model(config.model.name, config.model.device, config.model.dtype, config.model.quantization)
        night = cls(config, workspace, run_id, RunLog(workspace.run_folder(run_id) / "events.jsonl", show), model, pack, data)
        night._begin(live)
        return night

    @property
    def commissioning(self) -> bool:
        return self.workspace.registry.live is None

    def _begin(self, live: str | None) -> None:
        write_json(self.folder / "config.resolved.json", json.loads(self.config.model_dump_json()))
        sabar.close_crashed(self.workspace.ledger, self.run_id)
        rehearsed = self._load_sealed(live) if live else "nothing is sealed yet"
        if not live:
            self._fresh_adapter("T")
        if not any(e.body.get("run") == self.run_id for e in self.workspace.ledger.entries("begin")):
            body = {"run": self.run_id, "live": live, "inputs": self.digests(), "seed": self.config.seed, "code": code_revision()}
            self.workspace.ledger.append("begin", {**body, "rollback_rehearsed": rehearsed})

    def _load_sealed(self, live: str) -> str:
        """Amanah: the sealed weights load twice and answer alike, and as they did when they were sealed on this kind of machine."""
        folder = self.workspace.registry.verified(live)
        made_on = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("base")
        if made_on not in (None, self.model.base_digest):
            raise IntegrityError(
                f"the sealed adapter was made on base {str(made_on)[:12]}, model.name gives {self.model.base_digest[:12]}; use that base"
            )
        answers = []
        for _ in range(2):
            self.model.load_adapter("T", folder)
            answers.append(self._answers("T"))
        sealed = [e.body["answers"] for e in self.workspace.ledger.entries() if e.body.get("weights") == live and "answers" in e.body]
        same_machine = [a["digest"] for a in sealed if a["on"] == answers[0]["on"]]
        if answers[0] != answers[1] or any(digest != answers[0]["digest"] for digest in same_machine):
            raise IntegrityError(
                f"the sealed weights {live[:12]} do not answer as they did when they were sealed; no cycle starts, check the disk and memory"
            )
        return "answers as sealed" if same_machine else "answers alike twice; sealed on another machine or version"

    def _answers(self, adapter: str) -> dict[str, str]:
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
            self.config.model.threads,
        ]
        return {"digest": types.digest(answers), "on": types.digest([on, [m.content for turn in asked for m in turn]])[:16]}

    def _fresh_adapter(self, name: str) -> None:
        lora = self.config.lora
        self.model.add_adapter(name, lora.r, lora.lora_alpha, lora.layers_from, seed=self.seed("adapter"))

    def digests(self) -> dict[str, str]:
        """Content digests of what this cycle stands on; of the user's rows only a salted commitment, so that they can be erased."""
        imported = _imported_digest(self.config)
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

    # ---- Δ wake ---------------------------------------------------------------------------------------------------

    def learn(self) -> str:
        """Δ The user's fine-tune: on top of T here, or what was made elsewhere: W."""
        wake, lora = self.config.wake, self.config.lora
        if wake.adapter:
            self.model.load_adapter("W", wake.adapter)
            return "W"
        if wake.model:
            self.model.load_weights("W", wake.model, lora.r, lora.lora_alpha, lora.layers_from, self.seed("adapter"))
            return "W"
        self.model.copy_adapter("T", "W")
        plan = self.fit_plan(wake, "wake")
        if wake.trainer == "trl":
            self._fit_with_trl(plan)
        else:
            self.fit("Δ wake", "W", lambda: mix.wake_rows(self.model, self.data.wake), plan)
        return "W"

    def no_drift(self, woken: str) -> bool:
        """Whether W's refusals lie inside the noise of T's: then there is nothing to dream about tonight."""
        teacher, w = self.report("T"), self.report(woken)
        m = budgets.Measurements(w.evaluation, teacher=teacher.evaluation, seed=self.config.seed)
        return budgets.in_noise(m, w.evaluation)

    # ---- Ω dream --------------------------------------------------------------------------------------------------

    def imagine(self, woken: str | None, review: Reviewed | None = None) -> list[Screened]:
        """Ω This cycle's dreams: the policy pack when commissioning, else what W lost; with a review, what people left of them."""
        if review:
            return self._after_review(review)
        return self.first_dreams() if woken is None else self.dreams(woken)

    def _after_review(self, review: Reviewed) -> list[Screened]:
        """Edited or not, nothing is rehearsed that the screen has not passed."""
        kept = RequestScreen(self.pack, [p.text for p in self.data.bench.suites]).screen([d.scenario for d in review.dreams])
        passed = {s.id for s in kept.kept}
        screened = screen_answers([d for d in review.dreams if d.scenario.id in passed], declines, _garbled)
        looked = {"of": review.of, "removed": review.removed, "edited": review.edited, "by": list(review.by)}
        blocked = [*kept.blocked, *screened.blocked]
        self.counts = _counts([s.dream for s in screened.kept], blocked, None) | {"reviewed": looked}
        write_jsonl(self.folder / "blocked.jsonl", [b.to_json() for b in blocked])
        write_json(self.folder / "counts.json", self.counts)
        write_jsonl(self.folder / "dreams.jsonl", [s.dream.to_json() for s in screened.kept])
        return list(screened.kept)

    def first_dreams(self) -> list[Screened]:
        """Ω Commissioning dreams: the pack's grammar, answered by the base; harmful ones declined in the pack's words."""
        plan, seed = self.config.commission, self.seed("imagine")

        def propose(screen: RequestScreen) -> tuple[list[Scenario], list[Blocked]]:
            pairs = imagine.template_pairs(self.pack, plan.pairs, seed)
            anchors = imagine.template_anchors(self.pack, plan.anchors, seed)
            written = imagine.self_anchors(self.model, None, self.pack.openings, plan.self_anchors, seed) if plan.self_anchors else []
            anchors += imagine.dressed(self.pack, written, seed)
            screening = screen.screen([s for pair in pairs for s in pair] + anchors)
            return list(screening.kept), list(screening.blocked)

        teachers = Teachers(targets.Teacher(None, "base", self.pack.guidance), targets.Teacher(None, "base"))
        return self._dreamed(propose, teachers, plan.answer_tokens, 24)

    def dreams(self, woken: str) -> list[Screened]:
        """Ω Dreams after a wake: grammar and self-written, those that W already handles left out; T declines the harmful side, W answers the rest."""
        plan, seed = self.config.dream, self.seed("imagine")

        def propose(screen: RequestScreen) -> tuple[list[Scenario], list[Blocked]]:
            shown, sources, asked, _ = self._drawn_pairs()
            explored, passed_over = self._explored(woken, screen) if plan.pool else ([], [])
            written = imagine.self_rewordings(self.model, "T", sources, seed) if sources else []
            anchors = imagine.template_anchors(self.pack, plan.anchors, seed)
            anchors += imagine.self_anchors(self.model, "T", self.pack.openings, plan.self_anchors, seed) if plan.self_anchors else []
            replayed, twisted, untrusted = self._recalled(seed)
            parents = {harm.id: (harm.text, twin.text) for harm, twin in [*sources, *asked]}
            by_helper = self._helped(asked)
            added = imagine.added_pairs(read_added(self.workspace.root), seed)
            proposed = [s for pair in [*([] if plan.pool else shown), *twisted, *added, *by_helper] for s in pair] + written + anchors + replayed
            screening = screen.screen(proposed, self._tame(woken, proposed), parents)
            return [*explored, *screening.kept], [*passed_over, *untrusted, *screening.blocked]

        return self._dreamed(propose, self.teachers(woken), plan.answer_tokens, plan.refusal_tokens)

    def teachers(self, woken: str) -> Teachers:
        """After a wake T declines, W answers."""
        return Teachers(targets.Teacher("T", "T"), targets.Teacher(woken, "W"))

    def _drawn_pairs(self) -> list[list[Proposed]]:
        """The grammar's pairs of this night without repetition: those to dream, to reword, to hand to the helper, and those held out."""
        plan = self.config.dream
        sizes = [plan.pairs, plan.reworded_pairs, plan.helper.pairs if plan.helper else 0, plan.settle_pairs]
        drawn = iter(imagine.template_pairs(self.pack, sum(sizes), self.seed("imagine"), self.pack.grid(plan.scope)))
        return [list(islice(drawn, size)) for size in sizes]

    def _helped(self, sources: Sequence[Proposed]) -> Sequence[Proposed]:
        """Pairs that the helper writes after these; what became of each question goes into the night's counts."""
        plan = self.config.dream.helper
        if not plan:
            return ()
        found = helped(Server(plan.base_url, plan.name, plan.api_key_env, plan.timeout_seconds), sources, self.seed("helper"), declines)
        self.asked_helper = {"name": plan.name, "licence": plan.licence, **found.to_json()}
        return found.pairs

    def _explored(self, woken: str, screen: RequestScreen) -> tuple[list[Scenario], list[Blocked]]:
        """The pairs that W handles worst among `dream.pool`, as the archive finds them; it goes on from what earlier nights left in it."""
        plan, archive = self.config.dream, Archive.load(self.workspace.root)

        def score(pairs: Sequence[Scenario]) -> Sequence[Fitness]:
            return explore.scored(explore.boundary_kl(self.model, "T", woken, pairs), self._decisions(woken, pairs))

        search = explore.Explorer(self.pack, archive, screen, score, self.run_id, self.seed("imagine"), plan.scope)
        chosen = search.run(plan.pool, plan.pairs)
        archive.save(self.folder)
        return chosen, search.blocked

    def _recalled(self, seed: int) -> tuple[list[Scenario], list[Proposed], list[Blocked]]:
        """What the episodic buffer gives tonight: requests as they were, and pairs of the pack twisted onto such requests.

        A request that T declines is no harmless one, whatever the log says: blocked, so that nobody plants anchors by talking to the model.
        """
        episodes, count = Buffer(self.workspace.root).read(), self.config.dream.recalled
        if not episodes or not count:
            return [], [], []
        pairs = imagine.template_pairs(self.pack, count, derive_seed(seed, "twist"))
        drawn = recall.drawn(episodes, 2 * count, seed)
        asked = [recall.as_anchor(e, seed) for e in drawn]
        declined = self._refuses("T", [s.turns for s in asked])
        trusted = [e for e, no in zip(drawn, declined, strict=True) if not no]
        blocked = [Blocked(s, "teacher_declines", "the sealed model declines this request") for s, no in zip(asked, declined, strict=True) if no]
        return [recall.as_anchor(e, seed) for e in trusted[:count]], recall.twists(trusted, pairs, seed), blocked

    def _dreamed(self, propose: Any, teachers: Teachers, answer_tokens: int, refusal_tokens: int) -> list[Screened]:
        path = self.folder / "dreams.jsonl"
        if path.is_file():
            self.log.resumed("Ω dream")
            kept = [Dream.from_json(row) for row in read_jsonl(path)]
            self.counts = json.loads((self.folder / "counts.json").read_text())
            self._hand_on_archive()
            return list(screen_answers(kept, declines, _garbled).kept)
        with self.stage("Ω dream: imagine and screen"):
            screen = RequestScreen(self.pack, [p.text for p in self.data.bench.suites], _grammar_sample(self.pack, self.seed("overlap")))
            kept_requests, blocked = propose(screen)
        with self.stage("Ω dream: answer"):
            screened, usable = self.answered(kept_requests, teachers, answer_tokens, refusal_tokens)
        blocked += screened.blocked
        self.counts = _counts([s.dream for s in screened.kept], blocked, usable) | ({"helper": self.asked_helper} if self.asked_helper else {})
        write_jsonl(self.folder / "blocked.jsonl", [b.to_json() for b in blocked])
        write_json(self.folder / "counts.json", self.counts)
        write_jsonl(path, [s.dream.to_json() for s in screened.kept])
        self._hand_on_archive()
        return list(screened.kept)

    def _hand_on_archive(self) -> None:
        """Tonight's archive becomes the workspace's once the dreams that it led to are written: a killed night explores the same again."""
        if (self.folder / ARCHIVE).is_file():
            Archive.load(self.folder).save(self.workspace.root)

    def answered(self, scenarios: Sequence[Scenario], teachers: Teachers, answer_tokens: int, refusal_tokens: int) -> tuple[ScreenedDreams, float]:
        harmful, twins, anchors = ([s for s in scenarios if s.side == side] for side in ("harmful", "twin", "anchor"))
        seed = self.seed("answer")
        declined = targets.refuse(self.model, teachers.harmful, self.pack, harmful, refusal_tokens, seed, declines)
        answered = [
            d for harmless in (twins, anchors) for d in targets.answer(self.model, teachers.harmless, harmless, answer_tokens, seed, declines)
        ]
        return screen_answers([*declined.dreams, *answered], declines, _garbled), declined.usable

    def _tame(self, woken: str, proposed: Sequence[Scenario]) -> frozenset[str]:
        """Ids of pairs whose two sides W already decides rightly, both with p ≥ 0.95. Void probe: none."""
        pairs = [s for s in proposed if s.side in ("harmful", "twin")]
        p = self._decisions(woken, pairs)
        if p is None:
            return frozenset()
        right = {s.id: (x if s.side == "harmful" else 1 - x) >= TAME_P for s, x in zip(pairs, p, strict=True)}
        return frozenset(s.twin_of for s in pairs if s.twin_of and right[s.id] and right.get(s.twin_of, False))

    def _decisions(self, woken: str, scenarios: Sequence[Scenario]) -> list[float] | None:
        """W's probabilities of refusing; None where its probe is void."""
        report = self.report(woken)
        if report.probe is None or metrics.probe_void(self.report("T").evaluation, report.evaluation):
            return None
        with self.model.using(woken):
            return report.probe.probabilities(probe_scores(self.model, report.probe, [s.turns for s in scenarios]))

    def rehearse(self, woken: str | None, dreams: Sequence[Screened]) -> str:
        """Ω Fits the candidate: T's fresh adapter when commissioning, else C on the way from W to what was rehearsed. Without dreams C is W."""
        if woken is None:
            return self._teach(dreams)
        if dreams and self.config.dream.when == "interleaved":
            self._interleave(dreams)
        elif dreams:
            self._restore(woken, dreams)
            self._settle(woken, frozenset(d.dream.scenario.text for d in dreams))
            if self.config.dream.rounds:
                self.hardened = harden(self, woken, dreams)
        else:
            self.model.copy_adapter(woken, "C")
        return "C"

    def _teach(self, dreams: Sequence[Screened]) -> str:
        """The first policy: refusals in the pack's words, everything harmless drawn to the base."""
        plan = self.config.commission
        weights = mix.MixPlan(harmful_weight=plan.harmful_weight, anchor_weight=plan.anchor_weight, whole_refusals=0.2, seed=self.seed("mix"))
        drawn = mix.Drawn(harmful=None, harmless=None, harmful_name="base")
        self.fit("Ω rehearse", "T", lambda: mix.mix(self.model, dreams, [], drawn, weights), self.fit_plan(plan, "rehearse", plan.ema_decay))
        return "T"

    def _interleave(self, dreams: Sequence[Screened]) -> None:
        """C from T, the user's rows and the dreams in one pass; harmless dreams are drawn to T, which has not drifted."""

        def rows() -> list[Row]:
            dreamed = mix.mix(self.model, dreams, [], mix.Drawn(harmful="T", harmless="T", harmful_name="T"), self.mix_plan())
            return [*dreamed, *mix.wake_rows(self.model, self.data.wake)]

        self.model.copy_adapter("T", "C")
        self.fit("Ω rehearse, interleaved", "C", rows, self.fit_plan(self.config.wake, "rehearse", self.config.dream.ema_decay))

    def _restore(self, woken: str, dreams: Sequence[Screened]) -> None:
        """The sealed policy, R: T says what is declined, W how everything else is answered."""
        self.rehearse_from(woken, "R", woken, dreams, self.data.wake[: self.config.dream.wake_rows])

    def rehearse_from(self, start: str, name: str, woken: str, dreams: Sequence[Screened], wake: Sequence[types.Conversation]) -> None:
        """Fits the adapter `name`, from a copy of `start`, on dreams and wake rows: refusals as T's, all else as W's."""
        self.model.copy_adapter(start, name)
        plan, drawn = self.config.dream, mix.Drawn(harmful="T", harmless=woken, harmful_name="T", boundary="T")
        fit = self.fit_plan(plan, "rehearse", plan.ema_decay, plan.max_steps)
        self.fit(f"Ω rehearse {name}", name, lambda: mix.mix(self.model, dreams, wake, drawn, self.mix_plan()), fit)

    def mix_plan(self) -> mix.MixPlan:
        """The weights of a night's rows."""
        plan = self.config.dream
        weights = (plan.first_weight, plan.harmful_weight, plan.anchor_weight, plan.wake_weight)
        return mix.MixPlan(*weights, prefix_recovery=plan.prefix_recovery, seed=self.seed("mix"))

    def _settle(self, woken: str, known: frozenset[str]) -> None:
        """C, as far from W towards R as T's own refusals of held-out look-alikes allow; their requests are asked, never trained on."""
        path = self.folder / "settled.json"
        held_out = [pair for pair in self._drawn_pairs()[-1] if pair[1].text not in known]
        if not path.is_file() and len(held_out) >= MIN_HELD_OUT:
            with self.stage("Ω settle"):
                asked = [twin.turns for _, twin in held_out]
                write_json(path, asdict(settle(self._refuses("T", asked), lambda share: self._refuses_at(woken, share, asked))))
        self.settled = json.loads(path.read_text()) if path.is_file() else None
        self.model.blend_adapters(woken, "R", self.settled["share"] if self.settled else 1.0, "C")

    def _refuses_at(self, woken: str, share: float, asked: Sequence[Sequence[types.Message]]) -> list[bool]:
        self.model.blend_adapters(woken, "R", share, "C")
        return self._refuses("C", asked)

    def _refuses(self, adapter: str, asked: Sequence[Sequence[types.Message]]) -> list[bool]:
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
        checkpoint = self.folder / f"checkpoint-{adapter}.safetensors"
        with self.stage(stage) as report:
            fitted: Rehearsed = rehearse(self.model, adapter, made, plan, checkpoint, report, pull)
        self.model.save_adapter(adapter, folder)
        write_json(cost, asdict(fitted))
        checkpoint.unlink(missing_ok=True)

    def _fit_with_trl(self, plan: RehearsalPlan) -> None:
        """The wake by TRL's trainer; a killed one begins again."""
        from dream_engine.models import trl

        folder = self.folder / "adapter-W"
        if (folder / MANIFEST).is_file():
            self.log.resumed("Δ wake")
            self.model.load_adapter("W", folder)
            return
        rows = [row.encoded for row in mix.wake_rows(self.model, self.data.wake)]
        with self.stage("Δ wake (TRL)"):
            settings = (
                plan.learning_rate,
                plan.num_train_epochs,
                plan.per_device_train_batch_size,
                plan.gradient_accumulation_steps,
                plan.seed,
            )
            many = self.config.wake.num_processes
            steps = trl.fit_on_many(self.model, "W", rows, many, *settings) if many > 1 else trl.fit(self.model, "W", rows, *settings)
        self.model.save_adapter("W", folder)
        write_json(folder / MANIFEST, {"trainer": "trl", "steps": steps})

    # ---- Ψ judge --------------------------------------------------------------------------------------------------

    def measure(self, woken: str | None, candidate: str) -> budgets.Measurements:
        """Ψ Everything the gate asks for."""
        if woken is None:
            c = self.report(candidate, "C")
            return budgets.Measurements(c.evaluation, base=self._base(), critical=self.pack.critical, seed=self.config.seed)
        t, w, c = self.report("T"), self.report(woken), self.report(candidate)
        with self.stage("Ψ measure: KL(W‖C)"):
            kl: Measured = kl_drift(self.model, woken, candidate, self.data.bench, w.answers, self.config.seed)
        return budgets.Measurements(
            c.evaluation, None, t.evaluation, w.evaluation, self._anchor(t).evaluation, kl, None, self.pack.critical, self.config.seed
        )

    def gate(self, m: budgets.Measurements, drifted: bool) -> Gated:
        """Ψ The verdict. A night without drift has no dream to judge: only T→C is asked."""
        limits = budgets.PROFILES[self.config.judge.profile]
        if self.commissioning:
            return gate(budgets.commissioning_tests(m, limits))
        if not drifted:
            alone = budgets.Measurements(m.candidate, teacher=m.teacher, anchor=m.anchor, critical=m.critical, seed=m.seed)
            return gate(budgets.cycle_tests(alone, limits), "no_drift")
        return gate(budgets.cycle_tests(m, limits))

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

    def _base(self) -> Evaluation:
        from dream_engine.judge.measure import general_losses

        with self.stage("Ψ measure base"), self.model.using(None):
            return Evaluation("base", (), general=general_losses(self.model, self.data.bench.general))

    def _anchor(self, teacher: ModelReport) -> ModelReport:
        """The evaluation of the fixed anchor on today's bench; T's own when T is still the anchor."""
        anchor, live = self.workspace.registry.anchor, self.workspace.registry.live
        if anchor is None or anchor == live:
            return teacher
        path = self.workspace.evaluation(anchor, self.data.bench_digest)
        if path.is_file():
            return load_measured(path)
        self.model.load_adapter("A", self.workspace.registry.verified(anchor))
        measured = self.measured("A", "anchor", teacher.probe, lengths=False)
        save_measured(measured, path, self.config.judge.store_answers, self.data.bench.suites)
        return measured

    def alone(self) -> tuple[budgets.Measurements, list[Test]]:
        """An adapter judged by itself, as a first model is."""
        candidate = self.measured("C", "C", None, lengths=False)
        m = budgets.Measurements(candidate.evaluation, base=self._base(), critical=self.pack.critical, seed=self.config.seed)
        return m, budgets.commissioning_tests(m, budgets.PROFILES[self.config.judge.profile])

    def against_sealed(self, live: str) -> tuple[budgets.Measurements, list[Test]]:
        """An adapter judged as C with W = T."""
        self.model.load_adapter("T", self.workspace.registry.verified(live))
        teacher = self.report("T")
        candidate = self.measured("C", "C", teacher.probe, lengths=False).evaluation
        anchor = self._anchor(teacher).evaluation
        m = budgets.Measurements(candidate, teacher=teacher.evaluation, anchor=anchor, critical=self.pack.critical, seed=self.config.seed)
        return m, budgets.cycle_tests(m, budgets.PROFILES[self.config.judge.profile])

    def look_for_failures(self, woken: str | None, candidate: str) -> None:
        """Ψ Fresh scenarios of another seed, put to W and C: `search.json`, beside the suites and not gated. Asked for by `judge.search`."""
        count, path = self.config.judge.search, self.folder / "search.json"
        if not count or path.is_file():
            return
        fresh = [harm for harm, _ in imagine.template_pairs(self.pack, count, self.seed("search"))]
        found = {}
        for name, adapter in {"W": woken, "C": candidate}.items():
            if adapter:
                with self.stage(f"Ψ search {name}"):
                    found[name] = search(fresh, partial(self.grades, adapter)).to_json()
        write_json(path, found)

    def grades(self, adapter: str, scenarios: Sequence[Scenario]) -> Sequence[Grade | None]:
        """The grade of each answer of this adapter; None where the judge cannot tell."""
        bench = self.data.bench
        with self.model.using(adapter):
            done = self.model.generate([s.turns for s in scenarios], bench.answer_tokens)
        return bench.judge.grade([(s.text, g.text) for s, g in zip(scenarios, done, strict=True)])

    # ---- release --------------------------------------------------------------------------------------------------

    def release(self, candidate: str, m: budgets.Measurements, gated: Gated) -> Outcome:
        """Stores C, writes the ledger entry (with the alias when it seals), then the page."""
        name = "C" if not self.commissioning else "T"
        folder = self.folder / f"adapter-{name}"
        if not (folder / "adapter_config.json").is_file():
            self.model.save_adapter(candidate, folder)
        weights = self.workspace.registry.add(folder, self._manifest(candidate))
        self._keep_evaluation(weights)
        ledger, commissioning, standing = self.workspace.ledger, self.commissioning, self._standing()
        verdict = final_verdict(gated.verdict, commissioning, changed_settings(ledger, standing))
        gated = Gated(verdict, gated.decisions, gated.stability_ratio, gated.worst_monitor)
        table = table_json(m)
        write_json(self.folder / "gate.json", gate_json(gated, table, commissioning, weights))
        adapters = {"C": candidate} if commissioning else {name: name for name in ("T", "W", "C") if self.model.has_adapter(name)}
        layers = {name: self.model.adapter_norms(adapter) for name, adapter in adapters.items()}
        write_json(self.folder / "drift.json", drift_json(m, gated, layers))
        body = self._entry(gated, table, commissioning) | {"standing": standing, "answers": self._answers(candidate)}
        body |= {"while_held": self.config.govern.while_held} if verdict.name == "hold" else {}
        entry = release(ledger, self.workspace.registry, verdict, weights, body, self.config.govern.cooldown_seconds)
        return Outcome(self.run_id, self.folder, gated, weights, entry.seq, commissioning)

    def _standing(self) -> dict[str, str]:
        """Digests of what the gate stands on; they belong to the sealed state."""
        judge = self.config.judge
        return {
            "budgets": types.digest([judge.profile, asdict(budgets.PROFILES[judge.profile])]),
            "suites": suite_digest(list(self.data.bench.suites)),
            "judge": types.digest([self.data.bench.judge.digest, judge.answer_tokens]),
            "pack": self.pack.digest,
        }

    def _keep_evaluation(self, weights: str) -> None:
        """Hands the candidate's evaluation on, so that as the next night's T it is not measured again."""
        measured = load_measured(self.folder / "eval" / "C.jsonl")
        save_measured(measured, self.workspace.evaluation(weights, self.data.bench_digest), self.config.judge.store_answers, self.data.bench.suites)

    def _manifest(self, candidate: str) -> dict[str, Any]:
        base_name, base = self.model.stands_on(candidate)
        return {
            "base": base,
            "base_name": base_name,
            "parent": self.workspace.registry.live,
            "run": self.run_id,
            "data": self.digests(),
            "code": code_revision(),
            "libraries": libraries(),
        }

    def _entry(self, gated: Gated, table: Any, commissioning: bool) -> dict[str, Any]:
        fits = {p.stem[4:]: json.loads(p.read_text()) for p in sorted(self.folder.glob("fit-*.json"))}
        return {
            "run": self.run_id,
            "verdict": gated.verdict.name,
            "reasons": list(gated.verdict.reasons),
            "failing": list(gated.verdict.failing),
            "undecided": list(gated.verdict.undecided),
            "missing": list(gated.verdict.missing),
            "commissioning": commissioning,
            "parent": self.workspace.registry.live,
            "inputs": self.digests(),
            "dreams": self.counts,
            "settled": self.settled,
            "rounds": self.hardened,
            "table": table,
            "stability_ratio": gated.stability_ratio,
            "worst_monitor": gated.worst_monitor,
            "seed": self.config.seed,
            "code": code_revision(),
            "libraries": libraries(),
            "machine": platform.machine(),
            "stages": self.log.stages,
            "profile": self.config.judge.profile,
            "trained_tokens": {name: fit["trained_tokens"] for name, fit in fits.items()},
        }


def _run_id(config: Config, workspace: Workspace, data: Data, pack: Pack) -> str:
    """`001-ab12cd34`: number of the cycle, and a digest of all its inputs, so that the same command finds its killed run."""
    ended = {e.body["run"] for kind in ("cycle", "promote") for e in workspace.ledger.entries(kind) if "run" in e.body}
    inputs = [
        json.loads(config.model_dump_json()),
        pack.digest,
        data.bench_digest,
        [[c.id, c.answer] for c in data.wake],
        _imported_digest(config),
        workspace.registry.live,
        [e.id for e in Buffer(workspace.root).read()],
    ]
    return f"{len(ended) + 1:03d}-{types.digest(inputs)[:8]}"


def _imported_digest(config: Config) -> str | None:
    """Digest of the folder in which W was made elsewhere."""
    folder = config.wake.imported
    if folder and not folder.is_dir():
        raise InputError(f"wake.{'adapter' if config.wake.adapter else 'model'}: {folder} is not a folder")
    return folder_digest(folder) if folder else None


def _counts(kept: Sequence[Dream], blocked: Sequence[Blocked], usable: float | None) -> dict[str, Any]:
    def tally(key: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        for dream in kept:
            found[key(dream)] = found.get(key(dream), 0) + 1
        return dict(sorted(found.items()))

    proposed_by: dict[str, int] = {}
    for scenario in [*(d.scenario for d in kept), *(b.scenario for b in blocked)]:
        proposed_by[scenario.generator] = proposed_by.get(scenario.generator, 0) + 1
    return {
        "proposed": len(kept) + len(blocked),
        "kept": len(kept),
        "blocked": by_rule(blocked),
        "by_side": tally(lambda d: d.scenario.side),
        "by_kind": tally(lambda d: d.scenario.kind),
        "by_generator": tally(lambda d: d.scenario.generator),
        "proposed_by": proposed_by,
        "answered_by": tally(lambda d: d.answered_by),
        "teacher_usable": usable,
    }


def _grammar_sample(pack: Pack, seed: int) -> list[str]:
    """The pack's own texts and a sample of its grammar, which self-written dreams must not copy."""
    return [s.text for pair in imagine.template_pairs(pack, 1500, seed) for s in pair]


def _garbled(text: str) -> bool:
    return is_incoherent(normalise(text))


def gate_adapter(config: Config, workspace: Workspace, adapter: Path, commission: bool = False, show: Show = silent) -> dict[str, Any]:
    """Ψ alone: judges an adapter made elsewhere as C with W = T, or by the absolute tests of a first model. Measures; promotes nothing.

    Raises:
        InputError: nothing is sealed yet, or the adapter does not fit the base.
    """
    live = workspace.registry.live
    if live is None and not commission:
        raise InputError("nothing is sealed yet, so there is no T to compare with; add --commission, or run 'dream run' and approve the first cycle")
    data, pack = Data.read(config), load_pack(config.policy.pack)
    model = load_model(config.model.name, config.model.device, config.model.dtype, config.model.quantization)
    model.load_adapter("C", adapter)
    night = Night(config, workspace, "gate", RunLog(workspace.root / "gate-events.jsonl", show), model, pack, data)
    m, tests = night.alone() if commission else night.against_sealed(str(live))
    gated = gate(tests)
    weights = folder_digest(adapter)
    workspace.ledger.append("gate", {"weights": weights, "verdict": gated.verdict.name, "failing": list(gated.verdict.failing)})
    return gate_json(gated, table_json(m), commission, weights)
