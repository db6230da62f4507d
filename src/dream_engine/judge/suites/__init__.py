"""Ψ Suites: the fixed prompts that a gate measures on. Shipped ones are the project's own text; any CSV or JSONL can be one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from dream_engine.errors import InputError
from dream_engine.types import Message, Prompt, Side, digest

SHIPPED: Mapping[str, Side] = {"harmful": "harmful", "lookalike": "twin", "plain": "anchor"}
SIDES: Mapping[str, Side] = {"harmful": "harmful", "twin": "twin", "anchor": "anchor"}
MIN_ROWS = 2
JUDGED = 150
"""Judged answers to harmful prompts at the standard profile, besides those of critical categories."""


def shipped_suites(profile: str = "quick") -> list[Prompt]:
    """The project's own harmful requests, their look-alikes (same clusters), and plain questions.

    `quick`: 150 a side. `standard` and `full`: 664, 664 and 332, with styles, dialogues of three turns and 48 pairs in Spanish.
    """
    prompts = [p for name, side in SHIPPED.items() for p in _shipped(name, side)]
    if profile == "quick":
        return prompts
    return prompts + [p for name, side in SHIPPED.items() for p in _shipped(f"standard_{name}", side)] + _shipped("multi_turn", "anchor")


def judged_shares(prompts: Sequence[Prompt], critical: frozenset[str], profile: str) -> dict[str, float] | None:
    """Which prompts are answered and judged at `standard`, by id, and the share of its stratum that was drawn; None means all.

    Every plain prompt, every look-alike and every harmful one of a critical category; of the other harmful ones 150, drawn by a digest of the id, so
    that all models of all cycles are judged on the same ones. The probe reads every prompt. (With 150 look-alikes, half of the gate's doubt was
    about the others: docs/metrics.md, "Honesty".)
    """
    if profile != "standard":
        return None

    def by_lot(prompt: Prompt) -> bool:
        return prompt.side == "harmful" and prompt.category not in critical

    rest = sorted(filter(by_lot, prompts), key=lambda p: digest(["judged", p.id]))
    sure = {p.id: 1.0 for p in prompts if not by_lot(p)}
    return sure | {p.id: min(1.0, JUDGED / len(rest)) for p in rest[:JUDGED]}


def load_suite(path: Path, side: Side | None = None, column: str | None = None) -> list[Prompt]:
    """Reads an external suite: one side from the named column, or a file whose shape is known (`SHAPES`), side by side.

    Optional columns: id, cluster, category, style, language. Without `cluster` each row is a cluster of its own.

    Raises:
        InputError: no such file or column, a malformed line (with its number), fewer than two rows, or an unknown shape without side and column.
    """
    if not path.is_file():
        raise InputError(f"suite file {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"suite file {path} is not UTF-8 text: {error}") from error
    rows = list(_jsonl_rows(text, path) if path.suffix in (".jsonl", ".json") else _csv_rows(text))
    shape = _shape(rows[0]) if rows and (side is None or column is None) else None
    if side is None and shape is None and rows:
        known = ", ".join(s.name for s in SHAPES)
        raise InputError(f"suite file {path} has none of the known shapes ({known}); set side and column of the suite in judge.suites")
    if shape:
        rows = [row | {"side": side or shape.side(row), "category": row.get(shape.category) or "uncategorised"} for row in rows]
    prompts = _prompts(iter(rows), side or "harmful", column or (shape.column if shape else "text"), path.stem)
    if len(prompts) < MIN_ROWS:
        raise InputError(f"suite file {path} has {len(prompts)} rows; at least {MIN_ROWS} are needed to say anything")
    return prompts


@dataclass(frozen=True)
class Shape:
    """How a published suite is laid out: the column of the request, that of its category, and which side a row belongs to."""

    name: str
    column: str
    category: str
    side: Callable[[Mapping[str, str]], Side]


SHAPES = (
    Shape("XSTest", "prompt", "type", lambda row: "twin" if row.get("label") == "safe" else "harmful"),
    Shape("HarmBench", "Behavior", "SemanticCategory", lambda row: "harmful"),
    Shape("StrongREJECT", "forbidden_prompt", "category", lambda row: "harmful"),
    Shape("SimpleSafetyTests", "prompts_final", "harm_area", lambda row: "harmful"),
    Shape("HateCheck", "test_case", "functionality", lambda row: "twin" if row.get("label_gold") == "non-hateful" else "harmful"),
)


def _shape(row: Mapping[str, str]) -> Shape | None:
    return next((shape for shape in SHAPES if shape.column in row and shape.category in row), None)


def evenly(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """At most `count` of them, evenly spread over their order."""
    return list(prompts[:: max(1, len(prompts) // count)][:count])


def suite_digest(prompts: list[Prompt]) -> str:
    """SHA-256 over all prompts with their sides and clusters."""
    return digest([[p.id, p.side, p.category, p.cluster, p.text, *(m.content for m in p.earlier)] for p in prompts])


def _shipped(name: str, side: Side) -> list[Prompt]:
    return _prompts(_csv_rows((resources.files(__name__) / f"{name}.csv").read_text(encoding="utf-8")), side, "text", name)


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
                    side=SIDES.get(row.get("side") or "", side),
                    category=row.get("category") or "uncategorised",
                    style=row.get("style") or "plain",
                    language=row.get("language") or "en",
                    cluster=row.get("cluster") or id,
                    earlier=_earlier(row),
                )
            )
    repeated = len(found) - len({p.id for p in found})
    if repeated:
        raise InputError(f"suite {name!r} has {repeated} duplicate ids; every row needs its own")
    return found


def _earlier(row: Mapping[str, str]) -> tuple[Message, ...]:
    """The turns before the last one, from the columns `user` and `assistant`."""
    said: list[Message] = [Message(role, row[role].strip()) for role in ("user", "assistant") if (row.get(role) or "").strip()]
    return tuple(said)
