"""Ω Tonight's dreams: proposed by every source, screened, answered; kept and blocked ones lie in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from dream_engine.capture.added import read_added
from dream_engine.capture.episodes import Buffer
from dream_engine.cycle.night import Night
from dream_engine.dream import explore, imagine, recall, targets
from dream_engine.dream.archive import FILE as ARCHIVE
from dream_engine.dream.archive import MEAN_THE_SAME, Archive, Fitness
from dream_engine.dream.helper import helped
from dream_engine.dream.review import Reviewed
from dream_engine.files import read_jsonl, write_json, write_jsonl
from dream_engine.judge import metrics
from dream_engine.judge.probe import probe_scores
from dream_engine.models.embedding import embedder, meaning_alike, wanted_embedder
from dream_engine.models.remote import Server
from dream_engine.policy.declining import declines, garbled
from dream_engine.policy.pack import Pack
from dream_engine.policy.screen import RequestScreen, Screened, ScreenedDreams, by_rule, screen_answers
from dream_engine.types import Blocked, Dream, Episode, Message, Proposed, Scenario, derive_seed

WISHES = 4
"""Pairs that an associative store chooses among, for each one that is wanted."""
FIRST_PLAIN = 3
"""Plain requests in the pack's second language that a first model is shown for each harmful one in it."""
Propose = Callable[[RequestScreen], tuple[list[Scenario], list[Blocked]]]
"""From a screen to the requests that passed it and those that did not."""


class Teachers(NamedTuple):
    """Who answers each side of the dreams."""

    harmful: targets.Teacher
    harmless: targets.Teacher


class DrawnPairs(NamedTuple):
    """Pairs of one night: dreamed as they are, reworded, handed to the helper, held out for the settling, and put behind another request."""

    shown: list[Proposed]
    reworded: list[Proposed]
    helped: list[Proposed]
    held_out: list[Proposed]
    prefaced: list[Proposed]


def imagined(night: Night, woken: str | None, review: Reviewed | None = None) -> list[Screened]:
    """Ω This cycle's dreams: the policy pack when commissioning, else what W lost; with a review, what people left of them.

    None for a first model that is taken as it is.
    """
    if review:
        return _after_review(night, review)
    if woken is None and not night.config.commission.dreams:
        return []
    return first_dreams(night) if woken is None else nightly_dreams(night, woken)


def _after_review(night: Night, review: Reviewed) -> list[Screened]:
    """Edited or not, nothing is rehearsed that the screen has not passed."""
    kept = RequestScreen(night.pack, [p.text for p in night.data.bench.suites]).screen([d.scenario for d in review.dreams])
    passed = {s.id for s in kept.kept}
    screened = screen_answers([d for d in review.dreams if d.scenario.id in passed], declines, garbled)
    looked = {"of": review.of, "removed": review.removed, "edited": review.edited, "by": list(review.by)}
    blocked = [*kept.blocked, *screened.blocked]
    night.counts = _counts([s.dream for s in screened.kept], blocked, None) | {"reviewed": looked}
    write_jsonl(night.folder / "blocked.jsonl", [b.to_json() for b in blocked])
    write_json(night.folder / "counts.json", night.counts)
    write_jsonl(night.folder / "dreams.jsonl", [s.dream.to_json() for s in screened.kept])
    return list(screened.kept)


def first_dreams(night: Night) -> list[Screened]:
    """Ω Commissioning dreams: the pack's grammar, answered by the base; harmful ones declined in the pack's words."""
    plan, seed = night.config.commission, night.seed("imagine")

    def propose(screen: RequestScreen) -> tuple[list[Scenario], list[Blocked]]:
        drawn = imagine.template_pairs(night.pack, plan.pairs + plan.prefaced_pairs, seed)
        anchors = imagine.template_anchors(night.pack, plan.anchors, seed)
        written = imagine.self_anchors(night.model, None, night.pack.openings, plan.self_anchors, seed) if plan.self_anchors else []
        anchors += imagine.dressed(night.pack, written, seed)
        pairs = [*drawn[: plan.pairs], *imagine.prefaced(drawn[plan.pairs :], anchors, seed)]
        screening = screen.screen([s for pair in pairs for s in pair] + anchors)
        plain = screen.screen(imagine.evened(night.pack, screening.kept, derive_seed(seed, "evened"), FIRST_PLAIN))
        return [*screening.kept, *plain.kept], [*screening.blocked, *plain.blocked]

    teachers = Teachers(targets.Teacher(None, "base", night.pack.guidance), targets.Teacher(None, "base"))
    return _dreamed(night, propose, teachers, plan.answer_tokens, 24)


def nightly_dreams(night: Night, woken: str) -> list[Screened]:
    """Ω Dreams after a wake: grammar and night-written; T declines the harmful side, W answers the rest."""
    plan, seed = night.config.dream, night.seed("imagine")

    def propose(screen: RequestScreen) -> tuple[list[Scenario], list[Blocked]]:
        explored, passed_over = _explored(night, woken, screen) if plan.pool else ([], [])
        tonight = drawn_pairs(night)
        proposed, untrusted = _proposed(night, tonight, seed)
        parents = {harm.id: (harm.text, twin.text) for harm, twin in [*tonight.reworded, *tonight.helped]}
        screening = screen.screen(proposed, parents)
        dreamed = [*explored, *screening.kept]
        plain = screen.screen(imagine.evened(night.pack, dreamed, derive_seed(seed, "evened")))
        return [*dreamed, *plain.kept], [*passed_over, *untrusted, *screening.blocked, *plain.blocked]

    return _dreamed(night, propose, teachers_after(woken), plan.answer_tokens, plan.refusal_tokens)


def _proposed(night: Night, tonight: DrawnPairs, seed: int) -> tuple[list[Scenario], list[Blocked]]:
    """What every source but the archive proposes, and what was blocked for its source."""
    plan = night.config.dream
    written = imagine.self_rewordings(night.model, "T", tonight.reworded, seed) if tonight.reworded else []
    anchors = imagine.template_anchors(night.pack, plan.anchors, seed)
    anchors += imagine.self_anchors(night.model, "T", night.pack.openings, plan.self_anchors, seed) if plan.self_anchors else []
    replayed, twisted, untrusted = _recalled(night, seed)
    by_helper = _helped(night, tonight.helped)
    added = imagine.added_pairs(read_added(night.workspace.root), seed)
    behind = imagine.prefaced(tonight.prefaced, anchors, seed)
    pairs = [*([] if plan.pool else tonight.shown), *behind, *twisted, *added, *by_helper]
    return [s for pair in pairs for s in pair] + written + anchors + replayed, untrusted


def teachers_after(woken: str) -> Teachers:
    """After a wake T declines, W answers."""
    return Teachers(targets.Teacher("T", "T"), targets.Teacher(woken, "W"))


def drawn_pairs(night: Night) -> DrawnPairs:
    """The grammar's pairs of this night, by what becomes of them, without repetition."""
    plan = night.config.dream
    sizes = [plan.pairs, plan.reworded_pairs, plan.helper.pairs if plan.helper else 0, plan.settle_pairs, plan.prefaced_pairs]
    drawn = iter(imagine.template_pairs(night.pack, sum(sizes), night.seed("imagine"), night.pack.grid(plan.scope)))
    return DrawnPairs(*(list(islice(drawn, size)) for size in sizes))


def _helped(night: Night, sources: Sequence[Proposed]) -> Sequence[Proposed]:
    """Pairs that the helper writes after these; what became of each question goes into the night's counts."""
    plan = night.config.dream.helper
    if not plan:
        return ()
    found = helped(Server(plan.base_url, plan.name, plan.api_key_env, plan.timeout_seconds), sources, night.seed("helper"), declines)
    night.asked_helper = {"name": plan.name, "licence": plan.licence, **found.to_json()}
    return found.pairs


def _explored(night: Night, woken: str, screen: RequestScreen) -> tuple[list[Scenario], list[Blocked]]:
    """The pairs that W handles worst among `dream.pool`, as the archive finds them; it goes on from what earlier nights left in it."""
    plan, archive, embed = night.config.dream, Archive.load(night.workspace.root), embedder()
    archive.alike = meaning_alike(embed, MEAN_THE_SAME) if embed else None

    def score(pairs: Sequence[Scenario]) -> Sequence[Fitness]:
        return explore.scored(explore.boundary_kl(night.model, "T", woken, pairs), _decisions(night, woken, pairs))

    search = explore.Explorer(night.pack, archive, screen, score, night.run_id, night.seed("imagine"), plan.scope)
    chosen = search.run(plan.pool, plan.pairs)
    archive.save(night.folder)
    return chosen, search.blocked


def _recalled(night: Night, seed: int) -> tuple[list[Scenario], list[Proposed], list[Blocked]]:
    """What the episodic buffer gives tonight: requests as they were, and pairs of the pack twisted onto such requests.

    Nobody plants anchors by talking to the model: what T declines is no harmless request, whatever the log says, nor is one that has such a sentence
    in it; and of requests that begin alike only a few are taken.
    """
    episodes, count = Buffer(night.workspace.root).read(), night.config.dream.recalled
    if not episodes or not count:
        return [], [], []
    calm, burst = recall.without_bursts(recall.drawn(episodes, len(episodes), seed), 2 * count)
    declined = _declined_in_part(night, calm)
    trusted = [e for e in calm if e.id not in declined]
    blocked = [Blocked(recall.as_anchor(e, seed), "burst", f"{recall.BURST} requests that begin like this one are recalled already") for e in burst]
    blocked += [
        Blocked(recall.as_anchor(e, seed), "teacher_declines", "the sealed model declines this request, or a sentence of it")
        for e in calm
        if e.id in declined
    ]
    return [recall.as_anchor(e, seed) for e in trusted[:count]], recall.twists(_behind(night, trusted, seed), seed), blocked


def _declined_in_part(night: Night, episodes: Sequence[Episode]) -> frozenset[str]:
    """The ids of those of whose request T declines the whole or a sentence."""
    asked = [(e.id, text) for e in episodes for text in recall.said(e)]
    declined = night.refuses("T", [[Message("user", text)] for _, text in asked])
    return frozenset(id for (id, _), no in zip(asked, declined, strict=True) if no)


def _behind(night: Night, trusted: Sequence[Episode], seed: int) -> Iterable[tuple[Episode, Proposed]]:
    """Which pair is put behind which episode: by lot, or the ones that an associative store brings together."""
    plan, twist, episodes = night.config.dream, derive_seed(seed, "twist"), recall.contexts(trusted, seed)
    if plan.recall == "by_lot":
        return zip(episodes, imagine.template_pairs(night.pack, plan.recalled, twist), strict=False)
    pairs = imagine.template_pairs(night.pack, WISHES * plan.recalled, twist)
    return recall.akin(episodes, pairs, plan.recalled, wanted_embedder("dream.recall: associative"), seed)


def _dreamed(night: Night, propose: Propose, teachers: Teachers, answer_tokens: int, refusal_tokens: int) -> list[Screened]:
    path = night.folder / "dreams.jsonl"
    if path.is_file():
        night.log.resumed("Ω dream")
        kept = [Dream.from_json(row) for row in read_jsonl(path)]
        night.counts = json.loads((night.folder / "counts.json").read_text())
        _hand_on_archive(night)
        return list(screen_answers(kept, declines, garbled).kept)
    with night.stage("Ω dream: imagine and screen"):
        screen = RequestScreen(night.pack, [p.text for p in night.data.bench.suites], _grammar_sample(night.pack, night.seed("overlap")))
        kept_requests, blocked = propose(screen)
    with night.stage("Ω dream: answer"):
        screened, usable = answered(night, kept_requests, teachers, answer_tokens, refusal_tokens)
    blocked += screened.blocked
    night.counts = _counts([s.dream for s in screened.kept], blocked, usable) | ({"helper": night.asked_helper} if night.asked_helper else {})
    write_jsonl(night.folder / "blocked.jsonl", [b.to_json() for b in blocked])
    write_json(night.folder / "counts.json", night.counts)
    write_jsonl(path, [s.dream.to_json() for s in screened.kept])
    _hand_on_archive(night)
    return list(screened.kept)


def _hand_on_archive(night: Night) -> None:
    """Tonight's archive becomes the workspace's once the dreams that it led to are written: a killed night explores the same again."""
    if (night.folder / ARCHIVE).is_file():
        Archive.load(night.folder).save(night.workspace.root)


def answered(
    night: Night, scenarios: Sequence[Scenario], teachers: Teachers, answer_tokens: int, refusal_tokens: int
) -> tuple[ScreenedDreams, float]:
    """Dreams with their answers, screened, and the share of harmful ones that the teacher declined in words of its own."""
    harmful, twins, anchors = ([s for s in scenarios if s.side == side] for side in ("harmful", "twin", "anchor"))
    seed = night.seed("answer")
    declined = targets.refuse(night.model, teachers.harmful, night.pack, harmful, refusal_tokens, seed, declines)
    met = [d for harmless in (twins, anchors) for d in targets.answer(night.model, teachers.harmless, harmless, answer_tokens, seed, declines)]
    return screen_answers([*declined.dreams, *met], declines, garbled), declined.usable


def _decisions(night: Night, woken: str, scenarios: Sequence[Scenario]) -> list[float] | None:
    """W's probabilities of refusing; None where its probe is void."""
    report = night.report(woken)
    if report.probe is None or metrics.probe_void(night.report("T").evaluation, report.evaluation):
        return None
    with night.model.using(woken):
        return report.probe.probabilities(probe_scores(night.model, report.probe, [s.turns for s in scenarios]))


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
