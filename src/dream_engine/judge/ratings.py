"""Ψ What people say of answers: a form of blinded pairs, W's and C's, and the gate's tests on what was filled in.

A rater sees requests and answers in a drawn order and not whose they are. Tone and usefulness are whole numbers from 1 (bad) to 5 (good); a row that
is left empty says nothing. Pure: texts in, tests out.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from typing import Any

from dream_engine.errors import InputError
from dream_engine.judge.budgets import ONE_SIDED
from dream_engine.judge.gate import Test
from dream_engine.judge.stats import cluster_bootstrap
from dream_engine.types import Missing, digest

COLUMNS = ("row", "request", "answer", "tone", "usefulness")
ASPECTS = COLUMNS[3:]
LOWEST, HIGHEST = 1, 5
MARGIN = 0.5
"""Points that C may be rated below W."""
LEAST = 10
"""Pairs that must be rated for a test to say anything."""

Stored = Sequence[Mapping[str, Any]]
"""Rows of an evaluation's file: `id`, `side`, `text`, `answer`."""


def pairs_of(woken: Stored, candidate: Stored) -> dict[str, tuple[str, str, str]]:
    """Request, W's answer and C's answer by prompt id, of the plain prompts where both answers were stored and differ."""
    before = {row["id"]: row for row in woken if row.get("side") == "anchor" and row.get("text")}
    both = {row["id"]: (row["text"], before[row["id"]]["answer"], row["answer"]) for row in candidate if row.get("id") in before and row.get("text")}
    return {id: pair for id, pair in both.items() if pair[1] != pair[2]}


def form(pairs: Mapping[str, tuple[str, str, str]], run: str, count: int, seed: int) -> str:
    """A CSV file with two rows for each of `count` pairs drawn by lot, in a drawn order."""
    rng = random.Random(seed)
    chosen = rng.sample(sorted(pairs), min(count, len(pairs)))
    rows = [(_row(run, id, model), _cell(pairs[id][0]), _cell(pairs[id][place]), "", "") for id in chosen for place, model in ((1, "W"), (2, "C"))]
    rng.shuffle(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return out.getvalue()


def filled_in(text: str, pairs: Mapping[str, tuple[str, str, str]], run: str) -> dict[str, dict[tuple[str, str], int]]:
    """The ratings of each aspect, by prompt id and model.

    Raises:
        InputError: a column is missing, a row is not of this cycle's form or stands there twice, or a rating is no whole number from 1 to 5.
    """
    known = {_row(run, id, model): (id, model) for id in pairs for model in "WC"}
    reader = csv.DictReader(io.StringIO(text))
    lacking = [name for name in ("row", *ASPECTS) if name not in (reader.fieldnames or ())]
    if lacking:
        raise InputError(f"the form has no column {', '.join(lacking)}; fill in the file that 'dream review answers {run} --to FILE' writes")
    found: dict[str, dict[tuple[str, str], int]] = {aspect: {} for aspect in ASPECTS}
    for number, row in enumerate(reader, 2):
        place = known.get(row["row"])
        if place is None:
            raise InputError(f"line {number}: row {row['row']!r} is not of the form of cycle {run}")
        for aspect in ASPECTS:
            if place in found[aspect]:
                raise InputError(f"line {number}: row {row['row']!r} is rated twice")
            if (row[aspect] or "").strip():
                found[aspect][place] = _rating(row[aspect], aspect, number)
    return found


def rating_tests(ratings: Mapping[str, Mapping[tuple[str, str], int]], seed: int) -> list[Test]:
    """Tone and usefulness, W→C: how many points C is rated below W on the pairs where both were rated; missing with fewer than ten."""
    tests = []
    for aspect, given in ratings.items():
        lost = {id: float(given[id, "W"] - given[id, "C"]) for id, model in given if model == "W" and (id, "C") in given}
        few = Missing(f"{len(lost)} pairs are rated, {LEAST} are needed")
        drift = cluster_bootstrap(list(lost.values()), list(lost), seed, level=ONE_SIDED) if len(lost) >= LEAST else few
        tests.append(Test(f"rated_{aspect}", "W→C", drift, MARGIN, "points", monitor=True))
    return tests


def _row(run: str, id: str, model: str) -> str:
    """A name that does not show whose answer it is."""
    return digest([run, id, model])[:12]


def _cell(text: str) -> str:
    """No spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _rating(text: str, aspect: str, number: int) -> int:
    if text.strip() not in map(str, range(LOWEST, HIGHEST + 1)):
        raise InputError(f"line {number}: {aspect} is {text.strip()[:20]!r}; a whole number from {LOWEST} to {HIGHEST} is needed, or nothing")
    return int(text)
