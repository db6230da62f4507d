"""Ω Recall: dreams made of stored episodes, as they were and with a controlled twist.

A twist puts a pair of the policy pack behind a harmless request of the user's own: the same context, once with a harmful wish and once
with its look-alike. So the boundary is rehearsed where this model is used, and only requests are written.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dream_engine.dream.associative import associated
from dream_engine.models.embedding import Embed
from dream_engine.types import Episode, Proposed, Scenario, digest

MAX_CONTEXT = 160


def drawn(episodes: Sequence[Episode], count: int, seed: int) -> list[Episode]:
    """A seeded sample of at most `count` episodes that were answered."""
    good = [e for e in episodes if e.outcome == "answered" and _asked(e)]
    return random.Random(seed).sample(good, min(count, len(good)))


def as_anchor(episode: Episode, seed: int) -> Scenario:
    """The first request of an episode as a plain harmless scenario. What was answered then is not replayed: a model answers anew."""
    name = "d" + digest(["replayed", episode.id])[:12]
    return Scenario(name, _asked(episode), "anchor", "replayed", "plain", "plain", "en", "recall", seed, None, episode.id)


def contexts(episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Answered episodes whose request is short enough to stand before another, in a seeded order."""
    return [e for e in drawn(episodes, len(episodes), seed + 1) if len(_asked(e)) <= MAX_CONTEXT]


def twists(behind: Iterable[tuple[Episode, Proposed]], seed: int) -> list[Proposed]:
    """Each pair behind the request of its episode."""
    return [_twisted(episode, pair, seed) for episode, pair in behind]


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
    harm, twin = (_behind(episode, side, seed) for side in pair)
    return harm, replace(twin, twin_of=harm.id)


def _behind(episode: Episode, side: Scenario, seed: int) -> Scenario:
    text = f"{_asked(episode)} {side.text}"
    name = "d" + digest(["twist", episode.id, side.text])[:12]
    return replace(side, id=name, text=text, kind="counterfactual", generator="recall", seed=seed, parent=episode.id, twin_of=None)
