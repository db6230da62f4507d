"""Δ Reading dialogues as other tools write them: the format is recognised row by row and reported. No model, nothing stored here."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dream_engine.errors import InputError
from dream_engine.types import Message, Role

MAX_LINE_BYTES = 1 << 20
ROLE_NAMES: Mapping[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
}  # fmt: skip
"""How other tools name the three roles."""
Row = Mapping[str, Any]


class Read(NamedTuple):
    """One dialogue of a file: where it stood and as which row, which format it had, its turns, and what else the row said about it."""

    where: str
    number: int
    format: str
    messages: tuple[Message, ...]
    row: Row


def read_logs(path: Path) -> Iterator[Read]:
    """The dialogues of a JSONL, JSON, CSV or Parquet file, in the format that each row has.

    Raises:
        InputError: missing, empty, not readable, or a row in no known format (with its number).
    """
    if not path.is_file():
        raise InputError(f"file {path} does not exist")
    read, any_row = READERS.get(path.suffix.lower(), _jsonl), False
    for number, row in read(path):
        any_row = True
        where = f"{path} row {number}"
        name, turns = _recognise(row, where)
        yield Read(where, number, name, tuple(_message(turn, where) for turn in turns), row)
    if not any_row:
        raise InputError(f"file {path} is empty; it needs dialogues")


# ---- files ---------------------------------------------------------------------------------------------------------


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
                    raise InputError(f"{path} line {number} is not an object")
                yield number, row


def _jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    yield from objects(path)


def _json(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}); convert the file") from error
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):
            yield from objects(path)
            return
        raise InputError(f"{path} is not JSON: {error}") from error
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path} row {number} is not an object")
        yield number, row


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 1):
                if None in row or None in row.values():
                    raise InputError(f"{path} row {number} has not as many fields as the header; quote texts that hold commas or line breaks")
                yield number, row
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}); convert the file") from error
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError(f"{path}: Parquet needs pyarrow; run: pip install 'dream-engine[parquet]'") from error
    try:
        opened, number = parquet.ParquetFile(path), 0
        for batch in opened.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not Parquet: {error}") from error


READERS: Mapping[str, Callable[[Path], Iterator[tuple[int, Row]]]] = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet
}  # fmt: skip

# ---- rows ----------------------------------------------------------------------------------------------------------


def _recognise(row: Row, where: str) -> tuple[str, list[Any]]:
    """(format, turns) of one row.

    Raises:
        InputError: none of the known formats; the columns that were found are named.
    """
    for name, turns_of in FORMATS.items():
        turns = turns_of(row)
        if turns is not None:
            return name, turns
    raise InputError(f"{where} has no known format (messages, prompt/completion, Alpaca, ShareGPT, OpenAI log); found: {', '.join(map(str, row))}")


def _messages(row: Row) -> list[Any] | None:
    found = row.get("messages")
    found = _parsed(found) if isinstance(found, str) else found
    return found if isinstance(found, list) and not isinstance(row.get("response"), dict) else None


def _openai(row: Row) -> list[Any] | None:
    """A request log: {request | body: {messages}, response: {choices: [{message}]}}, or the request's own fields beside `response`."""
    request, response = row.get("request") or row.get("body") or row, row.get("response")
    response = response.get("body", response) if isinstance(response, dict) else response
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list) or not isinstance(response, dict):
        return None
    choices = response.get("choices")
    answer = choices[0].get("message") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    return [*request["messages"], *([answer] if answer else [])]


def _sharegpt(row: Row) -> list[Any] | None:
    turns = row.get("conversations") or row.get("conversation")
    turns = _parsed(turns) if isinstance(turns, str) else turns
    return [*_system(row), *turns] if isinstance(turns, list) else None


def _alpaca(row: Row) -> list[Any] | None:
    earlier = _history(row)
    if "instruction" not in row or not ({"output", "response"} & set(row)) or earlier is None:
        return None
    given = row.get("input") or row.get("context") or ""
    asked = f"{row['instruction']}\n\n{given}" if given else row["instruction"]
    return [*_system(row), *earlier, *_pair(asked, row.get("output", row.get("response")))]


def _prompt(row: Row) -> list[Any] | None:
    answer = next((row[key] for key in ("completion", "response", "answer") if key in row), None)
    if "prompt" not in row or answer is None:
        return None
    if isinstance(row["prompt"], list):
        return [*row["prompt"], *(answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}])]
    return _pair(row["prompt"], answer)


FORMATS: Mapping[str, Callable[[Row], list[Any] | None]] = {
    "messages": _messages, "OpenAI log": _openai, "ShareGPT": _sharegpt, "Alpaca": _alpaca, "prompt/completion": _prompt
}  # fmt: skip


def _system(row: Row) -> list[Any]:
    """A system prompt in a column of its own, as LLaMA-Factory keeps it."""
    return [{"role": "system", "content": row["system"]}] if row.get("system") else []


def _history(row: Row) -> list[Any] | None:
    """Earlier turns in a column of their own, pairs of request and answer; None where the column holds something else."""
    found = row.get("history") or []
    found = _parsed(found) if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        return None
    return [turn for asked, answer in found for turn in _pair(asked, answer)]


def _pair(asked: Any, answer: Any) -> list[Any]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _parsed(text: str) -> Any:
    """A list that a table holds as JSON text."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise InputError(f"{where}: a turn is {type(turn).__name__}, not an object with a role and a text")
    named, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLE_NAMES.get(str(named).lower())
    if role is None:
        raise InputError(f"{where}: role {named!r} is unknown; known are {', '.join(ROLE_NAMES)}")
    text = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict)) if isinstance(content, list) else content
    if not isinstance(text, str):
        raise InputError(f"{where}: the content of the {role}'s turn is {type(content).__name__}, not a text")
    return Message(role, text)
