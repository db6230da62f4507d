"""Runs are kept, resumed, and shown; `dream lab run` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dream_engine.errors import InputError
from dream_engine.lab.data import read_digits, split_stream
from dream_engine.lab.methods import Plan
from dream_engine.lab.table import lines, run_all

QUICK = Plan(iterations=10, hidden=16, latents=4)


def test_a_second_time_runs_nothing_and_another_plan_runs_anew(tmp_path: Path) -> None:
    """Bounds are added; rows of one plan are not taken for another's."""
    stream, said, rows = split_stream(*read_digits(0), "class", 5), list[str](), tmp_path / "rows.jsonl"
    runs = run_all(stream, ["er"], [0], QUICK, rows, "digits", said.append)
    assert [r.method for r in runs] == ["none", "joint", "er"]
    assert len(said) == 3
    again = run_all(stream, ["er"], [0], QUICK, rows, "digits", said.append)
    assert len(said) == 3
    assert [r.method for r in again] == ["none", "joint", "er"]
    run_all(stream, [], [0], Plan(iterations=5, hidden=16, latents=4), rows, "digits", said.append)
    assert len(said) == 5
    assert len(list(lines(again))) == 4


@pytest.mark.parametrize("content", ["not json\n", '{"a": 1}\n'])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    """Nothing of somebody else's is overwritten."""
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="--rows"):
        run_all(split_stream(*read_digits(0), "class", 5), [], [0], QUICK, path, "digits", print)
    assert path.read_text() == content


def dream(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dream_engine.cli", "lab", "run", *arguments], check=False, capture_output=True, text=True)


def test_the_command_shows_a_table_and_refuses_bad_input(tmp_path: Path) -> None:
    """A table; an unknown method and a folder without MNIST end in 2 with a message."""
    rows = ("--rows", str(tmp_path / "r.jsonl"), "--iterations", "5", "--hidden", "16")
    done = dream("er", *rows)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["method", "none", "joint", "er"]
    for arguments, word in ((("magic",), "choose among"), (("--data-dir", str(tmp_path)), "IDX"), (("--contexts", "3"), "divisor")):
        bad = dream(*arguments, *rows)
        assert bad.returncode == 2
        assert word in bad.stderr
        assert "Traceback" not in bad.stderr
