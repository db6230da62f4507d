"""Ω Recall: dreams made of stored episodes, as they were and with a controlled twist.

A twist puts a pair of the policy pack behind a harmless request of the user's own: the same context, once with a harmful wish and once
with its look-alike. So the boundary is rehearsed where this model is used, and only requests are written.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dream_engine.dream.associative import associated
from dream_engine.dream.imagine import MAX_PREFACE, behind
from dream_engine.models.embedding import Embed
from dream_engine.types import Episode, Proposed, Scenario, digest

BURST, BEGINNING_WORDS = 3, 5
"""At most so many recalled requests of a night begin with the same so many words."""
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")


def drawn(episodes: Sequence[Episode], count: int, seed: int) -> list[Episode]:
    """A seeded sample of at most `count` episodes that were answered."""
    good = [e for e in episodes if e.outcome == "answered" and _asked(e)]
    return random.Random(seed).sample(good, min(count, len(good)))


def without_bursts(episodes: Iterable[Episode], count: int) -> tuple[list[Episode], list[Episode]]:
    """The first `count` of which no more than a few begin alike, and those passed over for it: a planted phrase must be said often to be learned."""
    seen: Counter[str] = Counter()
    calm: list[Episode] = []
    burst: list[Episode] = []
    for episode in episodes:
        beginning = " ".join(_asked(episode).lower().split()[:BEGINNING_WORDS])
        seen[beginning] += 1
        (calm if seen[beginning] <= BURST else burst).append(episode)
        if len(calm) == count:
            break
    return calm, burst


def said(episode: Episode) -> list[str]:
    """The request whole and, where it has several, each of its sentences: what stands behind a strange beginning is looked at by itself too."""
    sentences = _SENTENCE.split(_asked(episode))
    return [_asked(episode), *(sentences if len(sentences) > 1 else [])]


def beginnings(episodes: Sequence[Episode], count: int, seed: int) -> list[str]:
    """First sentences of `count` answered episodes, drawn with replacement, as often as they were said: what is said most is put before most."""
    first = [sentence for e in episodes if e.outcome == "answered" and len(sentence := _SENTENCE.split(_asked(e))[0]) in range(1, MAX_PREFACE + 1)]
    return random.Random(seed).choices(sorted(first), k=count) if first else []


def as_anchor(episode: Episode, seed: int) -> Scenario:
    """The first request of an episode as a plain harmless scenario. What was answered then is not replayed: a model answers anew."""
    name = "d" + digest(["replayed", episode.id])[:12]
    return Scenario(name, _asked(episode), "anchor", "replayed", "plain", "plain", "en", "recall", seed, None, episode.id)


def contexts(episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Answered episodes whose request is short enough to stand before another, in a seeded order."""
    return [e for e in drawn(episodes, len(episodes), seed + 1) if len(_asked(e)) <= MAX_PREFACE]


def twists(brought: Iterable[tuple[Episode, Proposed]], seed: int) -> list[Proposed]:
    """Each pair behind the request of its episode."""
    return [_twisted(episode, pair, seed) for episode, pair in brought]


def akin(episodes: Sequence[Episode], pairs: Sequence[Proposed], count: int, embed: Embed, seed: int) -> list[tuple[Episode, Proposed]]:
    """Episodes with the pairs that an associative store reactivates beside them: a wish near to what is talked about where the model is used."""
    if not episodes or not pairs:
        return []
    spoken, wished = embed([_asked(e) for e in episodes]), embed([f"{harm.text} {twin.text}" for harm, twin in pairs])
    return [(episodes[i], pairs[j]) for i, j in associated(spoken, wished, count, seed)]


def _asked(episode: Episode) -> str:
    """The first thing that the user said, in one line."""
    return next((" ".join(m.content.split()) for m in episode.messages if m.role == "user"), "")


def _twisted(episode: Episode, pair: Proposed, seed: int) -> Proposed:
    harm, twin = (replace(s, kind="counterfactual", generator="recall", seed=seed) for s in behind(_asked(episode), episode.id, pair))
    return harm, twin
