"""People mark dreams; marks survive every format there and back; what was dropped is not rehearsed and what was edited is screened again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.capture.added import add, read_added
from dream_engine.cycle import generate, run_cycle
from dream_engine.dream import review
from dream_engine.dream.review import Mark
from dream_engine.errors import InputError
from dream_engine.types import Dream, Scenario

Make = Callable[..., Any]
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40).map(str.strip).filter(bool)


def row(number: int, text: str = "", answer: str = "I can't help with that.", side: str = "harmful") -> dict[str, Any]:
    scenario = Scenario(f"d{number}", text or f"request {number}", side, "generated", "theft", "plain", "en", "template", 0)  # type: ignore[arg-type]
    return Dream(scenario, answer, "T").to_json()


ROWS = [row(n) for n in range(4)]
MARKS = {
    "d0": Mark("keep", "ada", ""), "d1": Mark("drop", "ada", "off, \"quoted\"\nand two lines"),
    "d2": Mark("edit", "bo", "clearer", "a new request", "a new answer"),
}  # fmt: skip


def filled_in(kind: str, text: str) -> str:
    """What a reviewer's tool gives back: its own file with the three marks of MARKS in it."""
    if kind == "jsonl":
        return review.text_of(review.marked([json.loads(line) for line in text.splitlines()], MARKS))
    if kind == "csv":
        return review.write_as("csv", review.marked(ROWS, MARKS))
    rows = json.loads(text)
    for one in rows:
        mark = MARKS.get(one["data"]["id"] if kind == "label-studio" else one["id"])
        if mark and kind == "label-studio":
            values = [("reason", mark.reason), ("request", mark.request), ("answer", mark.answer)]
            result = [{"from_name": "decision", "to_name": "t", "type": "choices", "value": {"choices": [mark.decision]}}]
            result += [{"from_name": name, "to_name": "t", "type": "textarea", "value": {"text": [text]}} for name, text in values if text]
            one["annotations"] = [{"was_cancelled": False, "completed_by": {"id": 1, "email": mark.by}, "result": result}]
        elif mark:
            given = {"decision": mark.decision, "reason": mark.reason, "request": mark.request, "answer": mark.answer}
            one["responses"] = {name: [{"value": value, "user_id": mark.by}] for name, value in given.items() if value}
    return json.dumps(rows)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "label-studio", "argilla"])
def test_marks_come_back_from_every_format(kind: str) -> None:
    """Keep, drop and edit with author and reason; the dream nobody looked at has no mark."""
    assert review.marks_from(kind, filled_in(kind, review.write_as(kind, ROWS))) == MARKS


@given(st.lists(st.tuples(st.sampled_from(["keep", "drop", "edit"]), TEXT, TEXT, TEXT), min_size=1, max_size=4))
def test_csv_and_jsonl_keep_any_text(marks: list[tuple[str, str, str, str]]) -> None:
    """Commas, quotes, other scripts: what was written is what is read."""
    given_ = {f"d{n}": Mark(d, by, why, new if d == "edit" else "", new if d == "edit" else "") for n, (d, by, why, new) in enumerate(marks)}  # type: ignore[arg-type]
    rows = review.marked(ROWS, given_)
    for kind in ("csv", "jsonl"):
        assert review.marks_from(kind, review.write_as(kind, rows)) == given_


def test_what_a_review_leaves() -> None:
    """Three of four stay, one edited; the counts say who looked."""
    left = review.reviewed(review.marked(ROWS, MARKS))
    assert (left.of, left.removed, left.edited, left.by) == (4, 1, 1, ("ada", "bo"))
    assert [(d.scenario.id, d.scenario.text, d.answer, d.answered_by) for d in left.dreams][1] == ("d2", "a new request", "a new answer", "review")
    assert [d.scenario.id for d in left.dreams] == ["d0", "d2", "d3"]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("csv", "id,decision\nd0,perhaps\n", "'perhaps' is none of keep, drop, edit"), ("csv", "id,decision\nd0,keep\n", "needs an author"),
        ("csv", "a,b\n1,2\n", "is not csv"), ("jsonl", "{", "is not jsonl"), ("label-studio", "{}", "is not label-studio|^$"),
        ("argilla", "[1]", "is not argilla"), ("word", "", "known are jsonl, csv, label-studio, argilla"),
    ],
)  # fmt: skip
def test_a_review_that_is_none_is_named(kind: str, text: str, message: str) -> None:
    """Unknown decision, no author, another table, another tool."""
    if kind == "label-studio":
        assert review.marks_from(kind, "[]") == {}
        text = '[{"data": {"id": "d0"}, "annotations": [{"result": [{}]}]}]'
    with pytest.raises(InputError, match=message):
        review.marks_from(kind, text)


def test_marks_for_strange_dreams_are_refused() -> None:
    """A review of another file."""
    with pytest.raises(InputError, match="not in the file, such as 'd9'"):
        review.marked(ROWS, {"d9": Mark("keep", "ada", "")})


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"messages": []}', '{"messages": [{"content": "x"}], "meta": {}}'])
def test_a_file_without_dreams_is_named(content: str | None, tmp_path: Path) -> None:
    """Missing, empty, no JSON, no dream."""
    if content is not None:
        (tmp_path / "d.jsonl").write_text(content + "\n" if content else "")
    with pytest.raises(InputError, match=r"d\.jsonl"):
        review.read_rows(tmp_path / "d.jsonl")


def test_a_cycle_rehearses_what_people_kept(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """Generate, drop five of them and spoil one by an edit, run: the ledger says who removed how many, and the screen caught the edit."""
    config = sandbox_config(dream={"pairs": 24, "anchors": 8, "self_anchors": 0, "num_train_epochs": 1, "settle_pairs": 0})
    folder = generate(config, commissioned)
    assert folder is not None
    rows = review.read_rows(folder / "dreams.jsonl")
    marks = {str(r["meta"]["id"]): Mark("drop", "ada", "not ours") for r in rows[:5]}
    marks[str(rows[5]["meta"]["id"])] = Mark("edit", "ada", "a slip", "Mail anna.berg@example.org at once please")
    left = review.reviewed(review.marked(rows, marks))
    outcome = run_cycle(config, commissioned, review=left)
    assert outcome.folder == folder
    entry = next(e for e in commissioned.ledger.entries() if "dreams" in e.body and e.body.get("run") == outcome.run_id)
    assert entry.body["dreams"]["reviewed"] == {"of": len(rows), "removed": 5, "edited": 1, "by": ["ada"]}
    assert entry.body["dreams"]["blocked"] == {"personal_data": 1}
    assert entry.body["dreams"]["kept"] == len(rows) - 6


def test_scenarios_that_people_add_are_dreamed(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """They come as pairs of a known category, once, and the next night holds them under `person`."""
    from dream_engine.policy.pack import load_pack

    categories = set(load_pack("sandbox").categories)
    pair = json.loads(json.dumps(_some_pair(commissioned, sandbox_config)))
    (tmp_path / "new.jsonl").write_text(json.dumps(pair) + "\n")
    assert add(tmp_path / "new.jsonl", commissioned.root, categories) == 1
    assert add(tmp_path / "new.jsonl", commissioned.root, categories) == 0
    assert read_added(commissioned.root) == [pair]
    folder = generate(sandbox_config(dream={"pairs": 8, "anchors": 4, "self_anchors": 0}), commissioned)
    assert folder is not None
    everything = (folder / "dreams.jsonl").read_text() + (folder / "blocked.jsonl").read_text()
    assert everything.count('"generator": "person"') == 2


def _some_pair(workspace: Any, make: Make) -> dict[str, str]:
    """A pair in the sandbox's language that its grammar did not write."""
    from dream_engine.dream.imagine import template_pairs
    from dream_engine.policy.pack import load_pack

    harm, twin = template_pairs(load_pack("sandbox"), 1, 77)[0]
    return {"category": harm.category, "harm": f"please {harm.text}", "twin": f"please {twin.text}"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", None, "does not exist"), ("a.jsonl", "", "is empty"), ("a.jsonl", '{"category": "theft"}', "harm, twin is missing"),
        ("a.csv", "category,harm,twin\ncooking,a b,c d\n", "'cooking' is not a category"),
        ("a.csv", "category,harm,twin\ntheft,a,c d\n", "two words"), ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.csv", "category,harm,twin\n", "is empty"),
    ],
)  # fmt: skip
def test_bad_scenarios_add_nothing(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    """The row and the column are named; nothing is written."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        add(tmp_path / name, tmp_path, {"theft"})
    assert not (tmp_path / "scenarios.jsonl").exists()
