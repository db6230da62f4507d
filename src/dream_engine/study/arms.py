"""The arms of a study: ways to keep a model safe while it learns, each a small function from one scene to an adapter.

T, W and the night's dreams are the same for all arms of a setting. Arms that replay are given as many trained tokens (positions that carry loss) as
`ours` used, its wake rows and anchors included; arms that replay nothing are marked, not matched. Sources: docs/metrics.md, "Arms".
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from dream_engine.config import DreamPlan, Wake
from dream_engine.cycle.dreaming import drawn_pairs
from dream_engine.cycle.hardening import harden
from dream_engine.cycle.night import Night
from dream_engine.cycle.rehearsal import as_read, drawn_to_t, mix_plan, plain_texts, rehearse
from dream_engine.dream import mix
from dream_engine.dream.rehearse import Pull, RehearsalPlan, Row, fisher, pull_towards, synaptic
from dream_engine.errors import InputError
from dream_engine.models.hf import ChatModel
from dream_engine.policy.screen import Screened
from dream_engine.types import Conversation


@dataclass(frozen=True)
class Scene:
    """What every arm of a setting starts from. `budget` is in trained tokens; with a `dose` it is that instead of what ours used."""

    night: Night
    woken: str
    dreams: Sequence[Screened]
    curated: Sequence[Conversation]
    budget: int
    dose: bool = False

    @property
    def plan(self) -> DreamPlan:
        return self.night.config.dream

    @property
    def wake(self) -> Wake:
        return self.night.config.wake

    @property
    def drawn(self) -> mix.Drawn:
        """As a night draws its rows: T says whether, W says how."""
        return mix.Drawn("T", self.woken, "T", boundary="T")

    @property
    def rehearsed(self) -> int:
        """The budget as tokens of one epoch of a rehearsal."""
        return math.ceil(self.budget / self.plan.num_train_epochs)

    @property
    def mixed_in(self) -> int:
        """The budget as tokens of one epoch of the wake, for what is mixed into it."""
        return math.ceil(self.budget / self.wake.num_train_epochs)

    def side(self, *sides: str) -> list[Screened]:
        """The dreams of these sides."""
        return [d for d in self.dreams if d.dream.scenario.side in sides]


@dataclass(frozen=True)
class Made:
    """An arm's adapter, whether its tokens are matched to ours, and the guidance it is served with."""

    adapter: str
    matched: bool
    guidance: str = ""


Arm = Callable[[Scene], Made]
Importance = Callable[[ChatModel, str, Sequence[Row]], torch.Tensor]


# ---- without replay -----------------------------------------------------------------------------------------------------


def plain(scene: Scene) -> Made:
    """W as it is: what a fine-tune does when nobody looks."""
    return Made(scene.woken, matched=False)


def cool_rate(scene: Scene) -> Made:
    """The wake at a quarter of its rate, averaged (2508.12531): no safety data at all."""
    cool = scene.wake.model_copy(update={"learning_rate": scene.wake.learning_rate / 4})
    rows = _plain_rows(scene, scene.night.data.wake)
    return _from(scene, "T", "cool_rate", rows, scene.night.fit_plan(cool, "wake", 0.9), matched=False)


def guided(scene: Scene) -> Made:
    """Fine-tuned without a safety prompt, served with one (PTST, 2402.18540): W under the pack's guidance."""
    return Made(scene.woken, matched=False, guidance=scene.night.pack.guidance)


def merged(scene: Scene) -> Made:
    """Half way back from W to T in weight space, after the fact (2503.17239)."""
    scene.night.model.blend_adapters(scene.woken, "T", 0.5, "arm-merged")
    return Made("arm-merged", matched=False)


def proximal(scene: Scene) -> Made:
    """The wake with every weight of the adapter drawn back to T."""
    return _pulled(scene, "proximal")


def ewc(scene: Scene) -> Made:
    """The wake with the weights that T's decisions hang on drawn back to T (EWC on the adapter, Fisher of its answers to 64 dreams)."""
    return _pulled(scene, "ewc", fisher)


def si(scene: Scene) -> Made:
    """The wake with the weights that brought T's answers to 64 dreams about drawn back to T (SI on the adapter)."""
    return _pulled(scene, "si", synaptic)


def anchored(scene: Scene) -> Made:
    """The wake with KL to T on plain requests, nothing harmful (ASFT-like)."""
    rows = _plain_rows(scene, scene.night.data.wake)
    rows += within(drawn_to_t(scene.night, scene.side("anchor")), scene.mixed_in, 1)
    return _from(scene, "T", "anchored", rows, scene.night.fit_plan(scene.wake, "wake"))


# ---- with replay, tokens matched ----------------------------------------------------------------------------------------


def experience_replay(scene: Scene) -> Made:
    """From W: people's own safety pairs and wake rows, half of the tokens each."""
    half = scene.rehearsed // 2
    rows = within(_curated_rows(scene), half, 1) + within(_plain_rows(scene, scene.night.data.wake), half, 2)
    return _from(scene, scene.woken, "experience_replay", rows, _dream_plan(scene))


def curated_mix(scene: Scene) -> Made:
    """From T: the wake with people's safety pairs mixed in (2309.07875)."""
    rows = _plain_rows(scene, scene.night.data.wake) + within(_curated_rows(scene), scene.mixed_in, 1)
    return _from(scene, "T", "curated_mix", rows, scene.night.fit_plan(scene.wake, "wake"))


def static_dreams(scene: Scene) -> Made:
    """From T: the wake with self-generated refusals mixed in, no look-alikes, no anchors (GR-SAP-like, 2603.10243)."""
    rows = _plain_rows(scene, scene.night.data.wake) + within(_hard_rows(scene, scene.side("harmful")), scene.mixed_in, 1)
    return _from(scene, "T", "static_dreams", rows, scene.night.fit_plan(scene.wake, "wake"))


def first_tokens(scene: Scene) -> Made:
    """As `static_dreams`, the first five answer tokens weighing five times as much (constrained first tokens, 2406.05946)."""
    dreams = [replace(row, first_weight=5.0) for row in within(_hard_rows(scene, scene.side("harmful")), scene.mixed_in, 1)]
    rows = _plain_rows(scene, scene.night.data.wake) + dreams
    return _from(scene, "T", "first_tokens", rows, scene.night.fit_plan(scene.wake, "wake"))


def logit_replay(scene: Scene) -> Made:
    """From W: every dream drawn to T's distribution (DER on dreams, 2512.10150)."""
    rows = drawn_to_t(scene.night, scene.dreams)
    return _from(scene, scene.woken, "logit_replay", within(rows, scene.rehearsed, 1), _dream_plan(scene))


# ---- ours, and ours with a part taken out -------------------------------------------------------------------------------


def ours(scene: Scene) -> Made:
    """A whole night: pairs in every form, T says whether, W says how, and the step is settled. At another dose the whole step is taken."""
    if scene.dose:
        return _restored(scene, "ours", scene.dreams, scene.drawn)
    candidate = rehearse(scene.night, scene.woken, scene.dreams)
    harden(scene.night, scene.woken, scene.dreams)
    return Made(candidate, matched=True)


def without_settling(scene: Scene) -> Made:
    """The whole way to the rehearsed adapter."""
    rehearse(scene.night, scene.woken, scene.dreams)
    return Made("R", matched=True)


def without_twins(scene: Scene) -> Made:
    """No look-alikes: the harmful side and the anchors alone."""
    return _restored(scene, "without_twins", scene.side("harmful", "anchor"), mix.Drawn("T", scene.woken, "T"))


def without_anchor_on_w(scene: Scene) -> Made:
    """Harmless rows drawn to T instead of W, wake rows to W."""
    return _restored(scene, "without_anchor_on_w", scene.side("harmful", "twin"), mix.Drawn("T", "T", "T"))


def without_kl(scene: Scene) -> Made:
    """The same rows at the same weights, repeated as text by cross-entropy instead of drawn to distributions."""
    rows = [replace(row, soft=None) for row in _night_rows(scene, scene.dreams, scene.drawn, mix_plan(scene.night))]
    return _from(scene, scene.woken, "without_kl", within(rows, scene.rehearsed, 1), _dream_plan(scene))


def interleaved(scene: Scene) -> Made:
    """From T: the wake's rows and the dreams in one pass, harmless ones drawn to T."""
    night = scene.night
    rows = within([*drawn_to_t(night, scene.dreams), *plain_texts(night, scene.woken)], scene.mixed_in, 1) + _plain_rows(scene, night.data.wake)
    return _from(scene, "T", "interleaved", rows, night.fit_plan(scene.wake, "rehearse", scene.plan.ema_decay))


def without_recovery(scene: Scene) -> Made:
    """No refusals behind an opener that goes along."""
    plan = replace(mix_plan(scene.night), prefix_recovery=0.0)
    return _restored(scene, "without_recovery", scene.dreams, scene.drawn, plan=plan)


def without_known_sides(scene: Scene) -> Made:
    """T's doubt is taken over: no floor under the refusals of the harmful side (decision 012)."""
    plan = replace(mix_plan(scene.night), least_refusing=0.0)
    return _restored(scene, "without_known_sides", scene.dreams, scene.drawn, plan=plan)


def without_leader(scene: Scene) -> Made:
    """Harmless answers may begin in as many ways as W's do (decision 021)."""
    plan = replace(mix_plan(scene.night), least_leading=0.0)
    return _restored(scene, "without_leader", scene.dreams, scene.drawn, plan=plan)


def without_prefaced(scene: Scene) -> Made:
    """No pair behind an unrelated request (decision 013)."""
    behind = tuple(s.text for pair in drawn_pairs(scene.night).prefaced for s in pair)
    chosen = [d for d in scene.dreams if not d.dream.scenario.text.endswith(behind)]
    return _restored(scene, "without_prefaced", chosen, scene.drawn)


def without_texts(scene: Scene) -> Made:
    """No plain text held to T or W (decision 018)."""
    rows = _requests(scene, scene.dreams, scene.drawn, mix_plan(scene.night))
    return _from(scene, scene.woken, "without_texts", within(rows, scene.rehearsed, 1), _dream_plan(scene))


def with_on_policy(scene: Scene) -> Made:
    """A quarter of the harmful dreams once more, on W's own sampled answers (2306.13649)."""
    own = mix.on_policy(scene.night.model, scene.woken, "T", scene.dreams, ON_POLICY, mix_plan(scene.night))
    return _restored(scene, "with_on_policy", scene.dreams, scene.drawn, more=own)


def template_only(scene: Scene) -> Made:
    """No dream that the model wrote itself."""
    chosen = [d for d in scene.dreams if d.dream.scenario.generator == "template"]
    return _restored(scene, "template_only", chosen, scene.drawn)


ARMS: Mapping[str, Arm] = {
    arm.__name__: arm
    for arm in (
        plain, cool_rate, guided, merged, proximal, ewc, si, anchored, experience_replay, curated_mix, static_dreams, first_tokens, logit_replay,
        ours, interleaved, without_settling, without_twins, without_anchor_on_w, without_kl, without_recovery, without_known_sides,
        without_leader, without_prefaced, without_texts, with_on_policy, template_only,
    )
}  # fmt: skip
PULL = 0.3
"""λ of the arms that draw weights back."""
IMPORTANCE_ROWS = 64
ON_POLICY = 0.25
CURATED = frozenset({"experience_replay", "curated_mix"})


def arm(name: str) -> Arm:
    """An arm by its name; `static_dreams@2000` is one at a dose of 2,000 trained tokens.

    Raises:
        InputError: there is no such arm, or the dose is no number.
    """
    base, _, dose = name.partition("@")
    if base not in ARMS:
        raise InputError(f"arm {name!r} is not known; choose among {', '.join(ARMS)}")
    if base == name:
        return ARMS[name]
    if not dose.isdigit() or not int(dose):
        raise InputError(f"arm {name!r}: a dose is a number of trained tokens, as in {base}@2000")
    return lambda scene: ARMS[base](replace(scene, budget=int(dose), dose=True))


# ---- parts that the arms share ------------------------------------------------------------------------------------------


def within(rows: Sequence[Row], tokens: int, seed: int) -> list[Row]:
    """Shuffled rows up to a number of trained tokens; rows come again when all were used. At least one, if there are any."""
    chosen: list[Row] = []
    rng, left = random.Random(seed), tokens
    while rows and left > 0:
        for row in rng.sample(list(rows), len(rows)):
            if left <= 0:
                break
            chosen.append(row)
            left -= row.num_targets
    return chosen


def _plain_rows(scene: Scene, rows: Sequence[Conversation]) -> list[Row]:
    return mix.wake_rows(scene.night.model, rows)


def _curated_rows(scene: Scene) -> list[Row]:
    return mix.wake_rows(scene.night.model, scene.curated)


def _hard_rows(scene: Scene, dreams: Sequence[Screened]) -> list[Row]:
    """Dreams as text to be repeated."""
    return [Row(scene.night.model.encode(d.dream.scenario.turns, d.dream.answer, d.dream.ended)) for d in dreams]


def _dream_plan(scene: Scene) -> RehearsalPlan:
    return scene.night.fit_plan(scene.plan, "rehearse", scene.plan.ema_decay)


def _restored(
    scene: Scene,
    name: str,
    dreams: Sequence[Screened],
    drawn: mix.Drawn,
    plan: mix.MixPlan | None = None,
    more: Sequence[Row] = (),
) -> Made:
    """From W: a night's rows with its dreams drawn to whom `drawn` says, and `more` rows, at matched tokens."""
    rows = _night_rows(scene, dreams, drawn, plan or mix_plan(scene.night))
    return _from(scene, scene.woken, name, within([*rows, *more], scene.rehearsed, 1), _dream_plan(scene))


def _night_rows(scene: Scene, dreams: Sequence[Screened], drawn: mix.Drawn, plan: mix.MixPlan) -> list[Row]:
    """Dreams drawn to whom `drawn` says, wake rows to W, plain texts to the better reader of the two."""
    return _requests(scene, dreams, drawn, plan) + plain_texts(scene.night, scene.woken)


def _requests(scene: Scene, dreams: Sequence[Screened], drawn: mix.Drawn, plan: mix.MixPlan) -> list[Row]:
    """A night's rows but for its plain texts."""
    model, wake = scene.night.model, scene.night.data.wake[: scene.plan.wake_rows]
    return mix.mix(model, as_read(scene.night, dreams), [], drawn, plan) + mix.mix(model, [], wake, replace(drawn, harmless=scene.woken), plan)


def _pulled(scene: Scene, name: str, importance: Importance | None = None) -> Made:
    """The wake with the adapter drawn back to T, by what its answers to some dreams say of each weight's importance, or all weights alike."""
    night = scene.night
    chosen = random.Random(1).sample(list(scene.dreams), min(IMPORTANCE_ROWS, len(scene.dreams)))
    weighed = importance(night.model, "T", _hard_rows(scene, chosen)) if importance else None
    pull = pull_towards(night.model, "T", PULL, weighed)
    return _from(scene, "T", name, _plain_rows(scene, night.data.wake), night.fit_plan(scene.wake, "wake"), matched=False, pull=pull)


def _from(scene: Scene, start: str, name: str, rows: list[Row], plan: RehearsalPlan, matched: bool = True, pull: Pull | None = None) -> Made:
    adapter = f"arm-{name}" + (f"-{scene.budget}" if scene.dose else "")
    scene.night.model.copy_adapter(start, adapter)
    scene.night.fit(name, adapter, lambda: rows, plan, pull)
    return Made(adapter, matched)
