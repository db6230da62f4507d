"""Ω Review: people look at dreams before they are trained on. Marks travel as JSONL, CSV, Label Studio or Argilla JSON, there and back.

A mark is `keep`, `drop` or `edit` with its author and reason; it lies in `meta.review` of a dream's row. What was edited goes through
the screen again like every other dream.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from dream_engine.errors import InputError
from dream_engine.types import Dream

Choice = Literal["keep", "drop", "edit"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
COLUMNS = ("id", "side", "category", "request", "answer", "decision", "by", "reason")
Row = dict[str, Any]


@dataclass(frozen=True)
class Mark:
    """One person's word on one dream. `request` and `answer` are the new texts of an edit, else empty."""

    decision: Choice
    by: str
    reason: str
    request: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Reviewed:
    """What a review left: the dreams that stay (edited ones as edited), how many went, who looked."""

    dreams: tuple[Dream, ...]
    of: int
    removed: int
    edited: int
    by: tuple[str, ...]


def read_rows(path: Path) -> list[Row]:
    """The dreams of a file, as rows.

    Raises:
        InputError: missing, empty, or a line that is no dream (with its number).
    """
    if not path.is_file():
        raise InputError(f"dream file {path} does not exist; 'dream generate' writes one")
    rows: list[Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            row = json.loads(line)
            Dream.from_json(row)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} line {number} is not a dream ({error}); it needs messages and meta as 'dream generate' writes them") from error
        rows.append(row)
    if not rows:
        raise InputError(f"dream file {path} is empty")
    return rows


def text_of(rows: Iterable[Row]) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def marked(rows: Sequence[Row], marks: Mapping[str, Mark]) -> list[Row]:
    """The rows with these marks on them; marks that were there before and are not named stay.

    Raises:
        InputError: a mark names no dream of these rows.
    """
    strange = sorted(set(marks) - {_id(row) for row in rows})
    if strange:
        raise InputError(f"{len(strange)} marks name dreams that are not in the file, such as {strange[0]!r}")
    return [{**row, "meta": {**row["meta"], "review": asdict(marks[_id(row)])}} if _id(row) in marks else row for row in rows]


def reviewed(rows: Sequence[Row]) -> Reviewed:
    """What a review left of these rows; a dream without a mark stays as it is.

    Raises:
        InputError: a mark that is none.
    """
    marks = {_id(row): _mark(row["meta"]["review"], _id(row)) for row in rows if row["meta"].get("review")}
    kept = [_edited(Dream.from_json(row), marks.get(_id(row))) for row in rows if _id(row) not in marks or marks[_id(row)].decision != "drop"]
    counts = {choice: sum(m.decision == choice for m in marks.values()) for choice in CHOICES}
    return Reviewed(tuple(kept), len(rows), counts["drop"], counts["edit"], tuple(sorted({m.by for m in marks.values()})))


# ---- formats -------------------------------------------------------------------------------------------------------


def write_as(kind: str, rows: Sequence[Row]) -> str:
    """The rows in a reviewer's format: jsonl, csv, label-studio or argilla."""
    return _format(kind)[0](rows)


def marks_from(kind: str, text: str) -> dict[str, Mark]:
    """The marks in a reviewer's file, by dream id; dreams without a decision are left out.

    Raises:
        InputError: the text is not in that format, or a decision is unknown.
    """
    try:
        found = _format(kind)[1](text)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error, RecursionError) as error:
        raise InputError(f"the review is not {kind} as it was written: {type(error).__name__}: {error}") from error
    return {name: _mark(raw, name) for name, raw in found.items()}


def _format(kind: str) -> tuple[Callable[[Sequence[Row]], str], Callable[[str], dict[str, Row]]]:
    if kind not in FORMATS:
        raise InputError(f"{kind!r} is no review format; known are {', '.join(FORMATS)}")
    return FORMATS[kind]


def _flat(row: Row) -> Row:
    meta, mark = row["meta"], row["meta"].get("review") or {}
    request, answer = (turn["content"] for turn in row["messages"][-2:])
    return {
        "id": _id(row), "side": meta["side"], "category": meta["category"], "request": mark.get("request") or request,
        "answer": mark.get("answer") or answer, **{key: mark.get(key, "") for key in ("decision", "by", "reason")},
    }  # fmt: skip


def _csv_out(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return out.getvalue()


def _csv_in(text: str) -> dict[str, Row]:
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text)) if row["decision"]}


def _jsonl_in(text: str) -> dict[str, Row]:
    rows = [json.loads(line) for line in text.splitlines()]
    return {_id(row): row["meta"]["review"] for row in rows if row["meta"].get("review")}


def _label_studio_out(rows: Sequence[Row]) -> str:
    return json.dumps([{"data": _flat(row)} for row in rows], ensure_ascii=False, indent=1)


def _label_studio_in(text: str) -> dict[str, Row]:
    """The last annotation of each task: `choices` named decision, `textarea` named reason, request and answer."""
    found = {}
    for task in json.loads(text):
        done = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
        if done:
            parts = {r["from_name"]: (r["value"].get("choices") or r["value"].get("text") or [""])[0] for r in done[-1]["result"]}
            author = done[-1].get("completed_by", "")
            found[task["data"]["id"]] = {"by": str(author.get("email", author.get("id")) if isinstance(author, dict) else author), **parts}
    return {name: raw for name, raw in found.items() if raw.get("decision")}


def _argilla_out(rows: Sequence[Row]) -> str:
    flat = [_flat(row) for row in rows]
    records = [
        {"id": f["id"], "fields": {k: f[k] for k in ("request", "answer")}, "metadata": {k: f[k] for k in ("side", "category")}, "responses": {}}
        for f in flat
    ]
    return json.dumps(records, ensure_ascii=False, indent=1)


def _argilla_in(text: str) -> dict[str, Row]:
    """The first response to each question: decision (label), reason, request, answer (text)."""
    found = {}
    for record in json.loads(text):
        given = {name: values[0] for name, values in (record.get("responses") or {}).items() if values}
        if "decision" in given:
            found[record["id"]] = {"by": str(given["decision"].get("user_id", "")), **{name: one["value"] for name, one in given.items()}}
    return found


FORMATS: Mapping[str, tuple[Callable[[Sequence[Row]], str], Callable[[str], dict[str, Row]]]] = {
    "jsonl": (text_of, _jsonl_in),
    "csv": (_csv_out, _csv_in),
    "label-studio": (_label_studio_out, _label_studio_in),
    "argilla": (_argilla_out, _argilla_in),
}


def _mark(raw: Mapping[str, Any], name: str) -> Mark:
    decision = str(raw.get("decision", "")).strip().lower()
    if decision not in CHOICES:
        raise InputError(f"dream {name!r}: decision {decision!r} is none of {', '.join(CHOICES)}")
    if not str(raw.get("by", "")).strip():
        raise InputError(f"dream {name!r}: a decision needs an author in 'by'")
    edits = {key: str(raw.get(key) or "") if decision == "edit" else "" for key in ("request", "answer")}
    return Mark(decision, str(raw["by"]), str(raw.get("reason") or ""), **edits)


def _edited(dream: Dream, mark: Mark | None) -> Dream:
    if mark is None or mark.decision != "edit":
        return dream
    text, answer = mark.request or dream.scenario.text, mark.answer or dream.answer
    changed = (text, answer) != (dream.scenario.text, dream.answer)
    return replace(dream, scenario=replace(dream.scenario, text=text), answer=answer, answered_by="review" if changed else dream.answered_by)


def _id(row: Row) -> str:
    return str(row["meta"]["id"])
