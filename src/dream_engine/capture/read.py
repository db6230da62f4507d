"""Δ Reading the user's chat data: JSONL with `messages`, or `prompt` and `completion`. No model; nothing is trained here."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dream_engine.errors import InputError
from dream_engine.types import Conversation, Message, Role

ROLES = ("system", "user", "assistant")
MAX_LINE_BYTES = 1 << 20


def read_conversations(path: Path) -> list[Conversation]:
    """All dialogues of a file that end with an assistant's answer.

    Raises:
        InputError: missing, empty, not UTF-8, or a malformed line (with its number).
    """
    if not path.is_file():
        raise InputError(f"data file {path} does not exist")
    found = [_conversation(row, number, path) for number, row in objects(path)]
    if not found:
        raise InputError(f"data file {path} is empty; it needs one JSON object a line with 'messages'")
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


def objects(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The JSON objects of a JSONL file with their line numbers; empty lines are passed over.

    Raises:
        InputError: a line is too long, not UTF-8, not JSON, or no object (with its number).
    """
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{path} line {number} has more than {MAX_LINE_BYTES} bytes; split the dialogue")
            try:
                text = line.decode("utf-8-sig").strip()
                row = json.loads(text) if text else None
            except UnicodeDecodeError as error:
                raise InputError(f"{path} line {number} is not UTF-8 ({error.reason}); convert the file") from error
            except json.JSONDecodeError as error:
                raise InputError(f"{path} line {number} is not JSON: {error.msg}") from error
            except RecursionError as error:
                raise InputError(f"{path} line {number} is not JSON that can be read: nested too deeply") from error
            if row is not None:
                if not isinstance(row, dict):
                    raise InputError(f"{path} line {number} is not an object with 'messages'")
                yield number, row


def _conversation(row: Mapping[str, Any], number: int, path: Path) -> Conversation:
    where = f"{path} line {number}"
    messages = [_message(turn, where) for turn in _turns(row, where)]
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise InputError(f"{where}: a dialogue must end with an assistant's answer to a user")
    if not messages[-1].content.strip():
        raise InputError(f"{where}: the assistant's answer is empty")
    return Conversation(str(row.get("id", f"{path.stem}-{number:06d}")), tuple(messages[:-1]), messages[-1].content)


def _turns(row: Mapping[str, Any], where: str) -> list[Any]:
    if isinstance(row.get("messages"), list):
        return cast(list[Any], row["messages"])
    if "prompt" in row and "completion" in row:
        return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    raise InputError(f"{where}: neither 'messages' nor 'prompt' and 'completion'; found: {', '.join(map(str, row)) or 'nothing'}")


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
        raise InputError(f"{where}: each message needs a role of {', '.join(ROLES)} and a text as content")
    return Message(cast(Role, turn["role"]), turn["content"])
