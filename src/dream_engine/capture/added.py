"""Δ Scenarios that people add because the pack lacks them: a harmful request and its harmless look-alike each."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from dream_engine.capture.formats import objects
from dream_engine.errors import InputError
from dream_engine.files import read_jsonl, write_jsonl
from dream_engine.policy.text_rules import words

FILE = "scenarios.jsonl"
COLUMNS = ("category", "harm", "twin")


def read_added(folder: Path) -> list[dict[str, str]]:
    """The pairs of one workspace."""
    return read_jsonl(folder / FILE) if (folder / FILE).is_file() else []


def add(path: Path, folder: Path, categories: Collection[str]) -> int:
    """Adds the pairs of a JSONL or CSV file with the columns category, harm and twin; returns how many are new.

    Raises:
        InputError: missing, empty, a column or a category that is none (with the row's number); nothing was added.
    """
    if not path.is_file():
        raise InputError(f"scenario file {path} does not exist")
    fresh = [_pair(row, f"{path} row {number}", categories) for number, row in _rows(path)]
    if not fresh:
        raise InputError(f"scenario file {path} is empty; it needs {', '.join(COLUMNS)}")
    old = read_added(folder)
    new = [row for row in fresh if row not in old]
    write_jsonl(folder / FILE, [*old, *new])
    return len(new)


def _rows(path: Path) -> list[tuple[int, dict[str, object]]]:
    if path.suffix.lower() != ".csv":
        return [(number, dict(row)) for number, row in objects(path)]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [(number, dict(row)) for number, row in enumerate(csv.DictReader(file), 1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not CSV in UTF-8: {error}") from error


def _pair(row: dict[str, object], where: str, categories: Collection[str]) -> dict[str, str]:
    found = {key: str(row.get(key) or "").strip() for key in COLUMNS}
    empty = [key for key, value in found.items() if not value]
    if empty:
        raise InputError(f"{where}: {', '.join(empty)} is missing; each row needs {', '.join(COLUMNS)}")
    if found["category"] not in categories:
        raise InputError(f"{where}: {found['category']!r} is not a category of the pack; known are {', '.join(sorted(categories))}")
    if min(len(words(found["harm"])), len(words(found["twin"]))) < 2:
        raise InputError(f"{where}: harm and twin need two words or more each")
    return found
