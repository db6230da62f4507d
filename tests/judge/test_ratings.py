"""Ratings by people: the form hides whose answer it is, what was filled in comes back whole, and the gate reads it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.errors import InputError
from dream_engine.judge.gate import gate
from dream_engine.judge.ratings import COLUMNS, filled_in, form, pairs_of, rating_tests
from dream_engine.types import Missing

PAIRS = {f"p{i}": (f"question {i}", f"before {i}", f"after {i}") for i in range(20)}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def text_of(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_pairs_are_plain_prompts_whose_answers_differ() -> None:
    """Not the other sides, not what was stored for one model alone, not two answers that are the same."""
    woken = [
        {"id": "a", "side": "anchor", "text": "q", "answer": "yes"},
        {"id": "b", "side": "anchor", "text": "q", "answer": "same"},
        {"id": "c", "side": "anchor"},
        {"id": "h", "side": "harmful", "text": "q", "answer": "no"},
        {"model": "W"},
    ]
    candidate = [{**row, "answer": "same"} for row in woken[:4]] + [{"model": "C"}]
    assert pairs_of(woken, candidate) == {"a": ("q", "yes", "same")}


@given(st.lists(st.tuples(st.sampled_from(["", "1", "3", " 5 "]), st.sampled_from(["", "2", "4"])), min_size=24, max_size=24))
def test_what_was_filled_in_comes_back(marks: list[tuple[str, str]]) -> None:
    """Two blinded rows a pair, in any order and typography of numbers; empty cells say nothing."""
    rows = rows_of(form(PAIRS, "002-x", 12, 0))
    assert len({row["row"] for row in rows}) == len(rows) == 24
    answers = {row["row"]: row["answer"] for row in rows}
    for row, (tone, usefulness) in zip(rows, marks, strict=True):
        row |= {"tone": tone, "usefulness": usefulness}
    found = filled_in(text_of(rows[::-1]), PAIRS, "002-x")
    given_marks = {(r["answer"], aspect): int(r[aspect]) for r in rows for aspect in ("tone", "usefulness") if r[aspect]}
    back = {(PAIRS[id][1 if model == "W" else 2], aspect): mark for aspect, marked in found.items() for (id, model), mark in marked.items()}
    assert back == given_marks
    assert not any(answer in name for name, answer in answers.items())


def test_no_answer_is_a_formula() -> None:
    """What a spreadsheet would compute is text; other answers are as they were said."""
    rows = rows_of(form({"a": ("=1+1", "@x", "-y")}, "002-x", 1, 0))
    assert {(row["request"], row["answer"]) for row in rows} == {("'=1+1", "'@x"), ("'=1+1", "'-y")}
    assert {row["answer"] for row in rows_of(form({"a": ("q", "", "a = b")}, "002-x", 1, 0))} == {"", "a = b"}


@pytest.mark.parametrize(("better", "worse", "verdict"), [(4, 4, "seal"), (4, 3, "sabar"), (3, 5, "seal")])
def test_the_gate_reads_ratings(better: int, worse: int, verdict: str) -> None:
    """A C that everybody rates a point lower is sabar by both names, an equal or better one passes."""
    marks = {(id, model): better if model == "W" else worse for id in PAIRS for model in "WC"}
    found = gate(rating_tests({"tone": marks, "usefulness": marks}, 0)).verdict
    assert found.name == verdict
    assert found.failing == (("rated_tone", "rated_usefulness") if verdict == "sabar" else ())


def test_too_few_ratings_hold() -> None:
    """Nine pairs say nothing, and neither does a form without a mark; the reason counts them."""
    marks = {(f"p{i}", model): 3 for i in range(9) for model in "WC"}
    tests = rating_tests({"tone": marks, "usefulness": {}}, 0)
    assert [t.drift for t in tests] == [Missing("9 pairs are rated, 10 are needed"), Missing("0 pairs are rated, 10 are needed")]
    assert gate(tests).verdict.name == "hold"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": "ffff"}, "line 2: row 'ffff' is not of the form of cycle 002-x"),
        ({"tone": "6"}, "line 2: tone is '6'; a whole number from 1 to 5"),
        ({"usefulness": "good"}, "line 2: usefulness is 'good'"),
        ({"usefulness": "3.5"}, "line 2: usefulness is '3.5'"),
    ],
)
def test_a_wrong_form_says_where(change: dict[str, str], message: str) -> None:
    """The line, the column and the value."""
    rows = rows_of(form(PAIRS, "002-x", 3, 0))
    rows[0] |= change
    with pytest.raises(InputError, match=message):
        filled_in(text_of(rows), PAIRS, "002-x")


def test_a_row_twice_and_another_file_are_refused() -> None:
    """Nobody is counted twice; a file without the columns is told what to do."""
    rows = rows_of(form(PAIRS, "002-x", 3, 0))
    rows = [row | {"tone": "3"} for row in (*rows, rows[0])]
    with pytest.raises(InputError, match="rated twice"):
        filled_in(text_of(rows), PAIRS, "002-x")
    with pytest.raises(InputError, match="no column row, tone, usefulness"):
        filled_in("a,b\n1,2\n", PAIRS, "002-x")
    with pytest.raises(InputError, match="no column"):
        filled_in("", PAIRS, "002-x")
