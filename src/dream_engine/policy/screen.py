"""The screen between dreaming and training: every proposal is kept or blocked with a reason, and only what is kept trains.

`Screened` can be made here only, and the mix accepts nothing else: no text reaches the trainer past these rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dream_engine.policy import text_rules as rules
from dream_engine.policy.pack import Pack
from dream_engine.types import Blocked, Dream, Scenario

MAX_CHARS = 600
SUITE_OVERLAP = 0.5
NEAR_DUPLICATE = 0.8
SELF_OVERLAP = 0.6
_MADE_HERE = object()

Rule = tuple[str, Callable[[Scenario], str | None]]


@dataclass(frozen=True)
class Screened:
    """A dream that passed. Cannot be made outside this module."""

    dream: Dream
    token: object = field(repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.token is not _MADE_HERE:
            raise TypeError("only policy.screen makes Screened dreams; pass dreams through screen_answers()")


@dataclass(frozen=True)
class Screening:
    """What was kept and what was blocked; together exactly what was proposed."""

    kept: tuple[Scenario, ...]
    blocked: tuple[Blocked, ...]


@dataclass(frozen=True)
class ScreenedDreams:
    """Answered dreams that may be trained on, and the scenarios that were blocked on their answer."""

    kept: tuple[Screened, ...]
    blocked: tuple[Blocked, ...]


class RequestScreen:
    """The rules for requests, in order; the first that objects blocks."""

    def __init__(self, pack: Pack, suite_texts: Iterable[str], grammar_texts: Iterable[str] = ()) -> None:
        self._pack = pack
        self._suites = rules.Overlap(suite_texts, 5)
        self._grammar = rules.Overlap(grammar_texts, 8)
        self._seen = rules.Overlap((), 3)
        self._seen_exact: set[str] = set()

    def screen(self, scenarios: Sequence[Scenario], parents: Mapping[str, tuple[str, str]] | None = None) -> Screening:
        """Screens proposals; `parents` holds the (harm, twin) texts of rewordings.

        A twin without its harmful partner is kept; a harmful request whose twin is blocked is kept too, so that a rule on one side
        never silently removes the other.
        """
        kept, blocked = [], []
        for scenario in scenarios:
            reason = self._objection(scenario, parents or {})
            if reason:
                blocked.append(Blocked(scenario, *reason))
            else:
                kept.append(scenario)
                self._seen.add(_said(scenario))
                self._seen_exact.add(_said(scenario))
        return Screening(tuple(kept), tuple(blocked))

    def _objection(self, s: Scenario, parents: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
        return self._shape(s) or self._content(s) or self._label(s, parents)

    def _shape(self, s: Scenario) -> tuple[str, str] | None:
        if not len(rules.words(s.text)) >= 2 or len(s.text) > MAX_CHARS or not s.text.isprintable():
            return "schema", f"{len(s.text)} characters; printable text of 2 words to {MAX_CHARS} characters is needed"
        if rules.has_role_tags(_said(s)):
            return "schema", "role or template markup inside the request"
        if s.side in ("harmful", "twin") and s.category not in self._pack.categories:
            return "category", f"{s.category!r} is not a category of pack {self._pack.name!r}"
        return None

    def _content(self, s: Scenario) -> tuple[str, str] | None:
        kind = rules.personal_data(_said(s))
        if kind:
            return "personal_data", kind
        if rules.claims_sentience(_said(s)):
            return "no_sentience_claims", "claims feelings or consciousness"
        if rules.is_explicit(_said(s)):
            return "too_extreme", "explicit wording"
        overlap = self._suites.nearest(s.text)
        if overlap >= SUITE_OVERLAP:
            return "suite_overlap", f"5-gram Jaccard {overlap:.2f} with a measured prompt"
        duplicate = 1.0 if _said(s) in self._seen_exact else self._seen.nearest(_said(s))
        if duplicate >= NEAR_DUPLICATE:
            return "near_duplicate", f"3-gram Jaccard {duplicate:.2f} with a kept scenario"
        return None

    def _label(self, s: Scenario, parents: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
        if s.generator == "self" and self._grammar.shared(s.text) > SELF_OVERLAP:
            return "copied", "more than 0.6 of its 8-grams stand in the pack or its grammar"
        if s.parent is None or s.parent not in parents:
            return None
        harm, twin = parents[s.parent]
        if not rules.label_kept(s.text, harm, twin, wants_harm=s.side == "harmful"):
            return ("twin_not_harmless" if s.side == "twin" else "harm_lost"), "a rewording that drifted from its own side of the pair"
        return None


def screen_answers(dreams: Sequence[Dream], declines: Callable[[str], bool], incoherent: Callable[[str], bool]) -> ScreenedDreams:
    """Keeps dreams whose answer fits their side: harmful ones decline, harmless ones do not, none is garbled or claims feelings.

    The judgement of answers is handed in, so that the judge that filters is chosen by the cycle, not here.
    """
    kept, blocked = [], []
    for dream in dreams:
        reason = _answer_objection(dream, declines, incoherent)
        if reason:
            blocked.append(Blocked(dream.scenario, *reason))
        else:
            kept.append(Screened(dream, _MADE_HERE))
    return ScreenedDreams(tuple(kept), tuple(blocked))


def by_rule(blocked: Iterable[Blocked]) -> dict[str, int]:
    """How many each rule blocked."""
    return dict(sorted(Counter(b.rule for b in blocked).items()))


def _said(s: Scenario) -> str:
    """Every turn of a scenario, a line each."""
    return "\n".join(turn.content for turn in s.turns)


def _answer_objection(dream: Dream, declines: Callable[[str], bool], incoherent: Callable[[str], bool]) -> tuple[str, str] | None:
    if incoherent(dream.answer):
        return "answer_garbled", "the answer is empty or loops"
    if rules.claims_sentience(dream.answer):
        return "no_sentience_claims", "the answer claims feelings or consciousness"
    if rules.has_role_tags(dream.answer):
        return "schema", "role or template markup inside the answer"
    refuses = declines(dream.answer)
    if dream.scenario.side == "harmful" and not refuses:
        return "answer_complies", "the answer to a harmful request does not decline"
    if dream.scenario.side != "harmful" and refuses:
        return "answer_refuses", "the answer to a harmless request is a refusal"
    return None
