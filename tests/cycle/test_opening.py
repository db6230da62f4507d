"""Opening a night: which run a command goes on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_engine.config import Config
from dream_engine.cycle import opening
from dream_engine.cycle.opening import open_night
from dream_engine.errors import InputError
from dream_engine.inputs import Data, configured_model
from dream_engine.models.hf import ChatModel
from dream_engine.progress import silent

Make = Callable[..., Any]


def test_a_killed_run_is_found_although_it_closed_another(commissioned: Any, sandbox_config: Make) -> None:
    """A is killed, B begins and closes A, B is killed: B again is the same run, begun once; A again is a new one, after both."""
    a, b = sandbox_config(1), sandbox_config(2)

    def opened(config: Any) -> str:
        return str(open_night(config, commissioned, silent).run_id)

    first, second = opened(a), opened(b)
    assert opened(b) == second
    assert opened(b) == second
    assert opened(a) not in (first, second)
    begun = [e.body["run"] for e in commissioned.ledger.entries("begin")]
    assert begun.count(first) == begun.count(second) == 1


@pytest.mark.parametrize("file", ["data", "heldout"])
@pytest.mark.parametrize("turn", [0, 1], ids=["request", "answer"])
def test_other_rows_are_another_run(file: str, turn: int, commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """One word of one row, in what is asked as much as in what is answered: nothing that was made of the former rows is gone on with."""
    config, changed = sandbox_config(), tmp_path / f"{file}.jsonl"
    lines = getattr(config.wake, file).read_text().splitlines()
    row = json.loads(lines[3])
    row["messages"][-2 + turn]["content"] += " again"
    changed.write_text("\n".join([*lines[:3], json.dumps(row), *lines[4:]]))
    same = tmp_path / "same.jsonl"
    same.write_text("\n".join(lines))

    def opened(path: Path) -> str:
        path = path.rename(tmp_path / "rows.jsonl")
        return str(open_night(sandbox_config(wake={file: str(path)}), commissioned, silent).run_id)

    assert opened(same)[4:] != opened(changed)[4:]


def test_another_row_length_is_another_bench(sandbox_config: Make) -> None:
    """Losses over rows that are cut elsewhere are other numbers: what is cached for one length is not read for another."""
    digests = {Data.read(sandbox_config(model={"max_length": most})).bench_digest for most in (1024, 2048, 4096)}
    assert len(digests) == 3


ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') == (loop.index0 % 2 == 1) %}{{ raise_exception('must alternate') }}{% endif %}{% endfor %}x"
)


def test_a_dialogue_that_the_chat_template_does_not_take_is_named_before_anything_is_learned(
    commissioned: Any, sandbox_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests in a row under a template whose roles must alternate: which row, how many of its kind, whose turns; no run begins."""

    def strict(config: Config) -> ChatModel:
        model = configured_model(config)
        model.tokenizer.chat_template = ALTERNATING
        return model

    monkeypatch.setattr(opening, "configured_model", strict)
    turns = [["user", "assistant"], ["user", "user", "assistant"], ["user", "user", "assistant"]]
    rows = [{"id": f"r{i}", "messages": [{"role": role, "content": "is the lamp red?"} for role in roles]} for i, roles in enumerate(turns)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    begun = len(list(commissioned.ledger.entries()))
    with pytest.raises(
        InputError, match="'r1', one of 2 with such turns: the chat template of 'sandbox' does not take a dialogue of user, user: must"
    ):
        open_night(sandbox_config(wake={"data": str(file)}), commissioned, silent)
    assert len(list(commissioned.ledger.entries())) == begun
