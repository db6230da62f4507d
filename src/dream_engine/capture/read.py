"""Δ Reading the user's chat data, in any format that logs may have, and plain text. No model; nothing is trained here."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from dream_engine.capture.formats import Read, read_logs
from dream_engine.errors import InputError
from dream_engine.types import Conversation


def read_conversations(path: Path) -> list[Conversation]:
    """The dialogues of a file; a row without an id is called by the file's name and its number.

    Raises:
        InputError: as `read_logs`; a dialogue that does not end with an assistant's answer; ids that are not all different.
    """
    found = [_conversation(read, path.stem) for read in read_logs(path)]
    repeated = len(found) - len({c.id for c in found})
    if repeated:
        raise InputError(f"data file {path} has {repeated} duplicate ids; every row needs its own")
    return found


def split(rows: Sequence[Conversation], heldout: int, seed: int) -> tuple[list[Conversation], list[Conversation]]:
    """(training rows, held-out rows) by a seeded shuffle.

    Raises:
        InputError: fewer than twice as many rows as are to be held out.
    """
    if len(rows) < 2 * heldout:
        raise InputError(f"{len(rows)} rows are too few to hold {heldout} out; give wake.heldout a file of its own or lower wake.heldout_rows")
    order = random.Random(seed).sample(list(rows), len(rows))
    return order[heldout:], order[:heldout]


def read_texts(path: Path, chars: int, count: int) -> list[str]:
    """Up to `count` passages of about `chars` characters of plain text, evenly spread over a file."""
    if not path.is_file():
        raise InputError(f"text file {path} does not exist")
    text = path.read_text(encoding="utf-8", errors="replace")
    if len(text) < chars:
        raise InputError(f"text file {path} has {len(text)} characters; at least {chars} are needed for perplexity")
    starts = range(0, len(text) - chars + 1, max(chars, len(text) // count))
    return [text[s : s + chars] for s in starts][:count]


def _conversation(read: Read, file: str) -> Conversation:
    if len(read.messages) < 2 or read.messages[-1].role != "assistant":
        raise InputError(f"{read.where}: a dialogue must end with an assistant's answer to a user")
    *asked, answer = read.messages
    if not answer.content.strip():
        raise InputError(f"{read.where}: the assistant's answer is empty")
    return Conversation(str(read.row.get("id", f"{file}-{read.number:06d}")), tuple(asked), answer.content)
