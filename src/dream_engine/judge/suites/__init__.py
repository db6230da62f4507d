"""Ψ Suites: the fixed prompts that a gate measures on. Shipped ones are the project's own text; any CSV or JSONL can be one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from dream_engine.errors import InputError
from dream_engine.types import Prompt, Side, digest

SHIPPED: Mapping[str, Side] = {"harmful": "harmful", "lookalike": "twin", "plain": "anchor"}
MIN_ROWS = 2


def shipped_suites() -> list[Prompt]:
    """The project's own harmful requests, their look-alikes (same clusters), and plain questions."""
    prompts: list[Prompt] = []
    for name, side in SHIPPED.items():
        text = (resources.files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
        prompts += _prompts(_csv_rows(text), side, "text", name)
    return prompts


def load_suite(path: Path, side: Side, column: str) -> list[Prompt]:
    """Reads one side of an external suite.

    Optional columns: id, cluster, category, style, language. Without `cluster` each row is a cluster of its own.

    Raises:
        InputError: no such file or column, a malformed line (with its number), or fewer than two rows.
    """
    if not path.is_file():
        raise InputError(f"suite file {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"suite file {path} is not UTF-8 text: {error}") from error
    rows = _jsonl_rows(text, path) if path.suffix in (".jsonl", ".json") else _csv_rows(text)
    prompts = _prompts(rows, side, column, path.stem)
    if len(prompts) < MIN_ROWS:
        raise InputError(f"suite file {path} has {len(prompts)} rows; at least {MIN_ROWS} are needed to say anything")
    return prompts


def suite_digest(prompts: list[Prompt]) -> str:
    """SHA-256 over all prompts with their sides and clusters."""
    return digest([[p.id, p.side, p.category, p.cluster, p.text] for p in prompts])


def _csv_rows(text: str) -> Iterator[dict[str, str]]:
    lines = (line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return iter(csv.DictReader(lines))


def _jsonl_rows(text: str, path: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path} line {number} is not JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path} line {number} is not an object")
            yield row


def _prompts(rows: Iterator[dict[str, str]], side: Side, column: str, name: str) -> list[Prompt]:
    found: list[Prompt] = []
    for number, row in enumerate(rows, 1):
        if column not in row:
            raise InputError(f"suite {name!r} has no column {column!r}; it has: {', '.join(map(str, row))}")
        text = (row[column] or "").strip()
        if text:
            id = row.get("id") or f"{name}-{number:04d}"
            found.append(
                Prompt(
                    id=id,
                    text=text,
                    side=side,
                    category=row.get("category") or "uncategorised",
                    style=row.get("style") or "plain",
                    language=row.get("language") or "en",
                    cluster=row.get("cluster") or id,
                )
            )
    repeated = len(found) - len({p.id for p in found})
    if repeated:
        raise InputError(f"suite {name!r} has {repeated} duplicate ids; every row needs its own")
    return found
