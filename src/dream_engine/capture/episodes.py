"""Δ The episodic buffer: a bounded, seeded sample of the model's own dialogues, without personal data, forgettable by source.

Stored as one JSONL file that is written whole. What leaves the buffer is gone from the disk; the ledger holds counts and salted
commitments only, so it still verifies after an erasure.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream_engine.capture.formats import Read, read_logs
from dream_engine.errors import InputError, IntegrityError
from dream_engine.files import read_jsonl, write_jsonl
from dream_engine.policy import personal
from dream_engine.policy.text_rules import Overlap, has_role_tags
from dream_engine.types import Episode, Message, Outcome, derive_seed, digest

NEAR_DUPLICATE = 0.8
MAX_CHARS = 4000
FILE = "episodes.jsonl"
FORGOTTEN = "[forgotten]"
OUTCOMES: tuple[Outcome, ...] = ("answered", "refused", "flagged", "corrected")
_CORRECTION = re.compile(r"^(?:no[,.! ]|that(?:'s| is) (?:wrong|not)|wrong\b|actually,? |i (?:said|asked|meant)|not what i)", re.IGNORECASE)
Engine = Callable[[str], Iterable[personal.Found]]


@dataclass(frozen=True)
class Limits:
    """What the buffer keeps: at most `size` episodes, `per_source` of one source, none older than `days` (0: no limit)."""

    size: int = 2000
    per_source: int = 1000
    days: float = 90.0


@dataclass(frozen=True)
class Imported:
    """What an import did. `replaced` counts personal data by kind; `left_out` episodes by the reason."""

    formats: dict[str, int]
    kept: int
    left_out: dict[str, int]
    replaced: dict[str, int]


class Buffer:
    """The episodes of one workspace."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> list[Episode]:
        """All episodes, oldest first.

        Raises:
            IntegrityError: the file is damaged.
        """
        try:
            return [Episode.from_json(row) for row in read_jsonl(self._path)] if self._path.is_file() else []
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{self._path} is damaged ({error}); restore it from a copy or remove it to begin anew") from error

    def write(self, episodes: Iterable[Episode]) -> None:
        """Replaces what is stored, whole or not at all."""
        write_jsonl(self._path, [e.to_json() for e in sorted(episodes, key=lambda e: (e.time, e.id))])

    def forget(self, source: str) -> list[Episode]:
        """Removes every episode of a source; returns them.

        Raises:
            InputError: no episode has this source; the known ones are named.
        """
        episodes = self.read()
        gone = [e for e in episodes if e.source == source]
        if not gone:
            known = ", ".join(sorted({e.source for e in episodes})) or "none"
            raise InputError(f"no episode came from {source!r}; known sources: {known}")
        self.write(e for e in episodes if e.source != source)
        return gone


def import_logs(
    path: Path, buffer: Buffer, source: str, declines: Callable[[str], bool], limits: Limits, seed: int, engine: Engine | None = None
) -> tuple[Imported, list[Episode]]:
    """Reads a log, replaces personal data, leaves out what is no dialogue or was there before, and stores a seeded sample.

    Returns what was done, and the episodes of this file that are in the buffer now.

    Raises:
        InputError: the file cannot be read; the buffer is as it was.
    """
    now, old = time.time(), buffer.read()
    formats, replaced, left_out = Counter[str](), Counter[str](), Counter[str]()
    seen = Overlap((_text(e) for e in old), 5)
    fresh: list[Episode] = []
    for read in read_logs(path):
        formats[read.format] += 1
        episode, found = _episode(read, source, declines, now, engine)
        reason = _objection(episode, seen)
        if reason:
            left_out[reason] += 1
            continue
        replaced.update(found)
        seen.add(_text(episode))
        fresh.append(episode)
    kept = sample([*old, *fresh], limits, now, seed)
    stayed = {e.id for e in kept}
    left_out["quota"] += sum(e.id not in stayed for e in fresh)
    buffer.write(kept)
    mine = [e for e in fresh if e.id in stayed]
    return Imported(dict(formats), len(mine), {k: v for k, v in sorted(left_out.items()) if v}, dict(sorted(replaced.items()))), mine


def forget_in_runs(runs: Path, ids: Collection[str]) -> int:
    """Blanks the texts of dreams that came from these episodes in every run folder; returns how many there were."""
    blanked = 0
    for path in sorted([*runs.glob("*/dreams.jsonl"), *runs.glob("*/blocked.jsonl")]):
        rows = read_jsonl(path)
        mine = [row for row in rows if (row.get("meta") or row.get("scenario") or {}).get("parent") in ids]
        for row in mine:
            if "messages" in row:
                row["messages"] = [{**turn, "content": FORGOTTEN} for turn in row["messages"]]
            else:
                row["scenario"]["text"] = FORGOTTEN
        if mine:
            write_jsonl(path, rows)
        blanked += len(mine)
    return blanked


def sample(episodes: Sequence[Episode], limits: Limits, now: float, seed: int) -> list[Episode]:
    """A seeded sample within the limits: each episode has its own draw, so that which stay does not depend on the order in which they came.

    (A reservoir with random tags, Efraimidis & Spirakis 2006, all weights equal.)
    """
    young = [e for e in episodes if not limits.days or now - e.time <= limits.days * 86_400]
    order = sorted(young, key=lambda e: derive_seed(seed, e.id))
    taken: Counter[str] = Counter()
    kept: list[Episode] = []
    for episode in order:
        if taken[episode.source] < limits.per_source and len(kept) < limits.size:
            taken[episode.source] += 1
            kept.append(episode)
    return kept


def _episode(read: Read, source: str, declines: Callable[[str], bool], now: float, engine: Engine | None) -> tuple[Episode, list[str]]:
    messages, kinds = [], []
    for message in read.messages:
        text, found = personal.redact(message.content, engine(message.content) if engine else ())
        messages.append(Message(message.role, text))
        kinds += [f.kind for f in found]
    name = "e" + digest([source, [[m.role, m.content] for m in messages]])[:16]
    return Episode(name, source, _time(read.row, now), tuple(messages), _outcome(read.row, messages, declines)), kinds


def _objection(episode: Episode, seen: Overlap) -> str | None:
    roles = [m.role for m in episode.messages]
    if "user" not in roles or "assistant" not in roles or not all(m.content.strip() for m in episode.messages):
        return "no dialogue"
    if len(_text(episode)) > MAX_CHARS:
        return "too long"
    if any(has_role_tags(m.content) or not _printable(m.content) for m in episode.messages):
        return "markup"
    return "near duplicate" if seen.nearest(_text(episode)) >= NEAR_DUPLICATE else None


def _outcome(row: Any, messages: Sequence[Message], declines: Callable[[str], bool]) -> Outcome:
    """What the row says, else what the words say: a user's correction, a refusal, an answer."""
    stated = row.get("outcome")
    if stated in OUTCOMES:
        return stated  # type: ignore[no-any-return]
    if row.get("flagged") in (True, 1, "true", "True"):
        return "flagged"
    answered = next((i for i, m in enumerate(messages) if m.role == "assistant"), len(messages))
    if any(m.role == "user" and _CORRECTION.search(m.content) for m in messages[answered:]):
        return "corrected"
    answers = [m.content for m in messages if m.role == "assistant"]
    return "refused" if answers and declines(answers[-1]) else "answered"


def _time(row: Any, now: float) -> float:
    """UTC seconds from the row's own stamp where it has a plausible one, else now."""
    for key in ("time", "timestamp", "created", "created_at"):
        value = row.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= now:
            return float(value)
    return round(now, 3)


def _text(episode: Episode) -> str:
    return "\n".join(m.content for m in episode.messages)


def _printable(text: str) -> bool:
    return all(c.isprintable() or c in "\n\t" for c in text)
