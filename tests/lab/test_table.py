"""Runs are kept, resumed, and shown; `dream lab run` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dream_engine.errors import InputError
from dream_engine.lab.data import read_digits, split_stream
from dream_engine.lab.methods import Plan
from dream_engine.lab.published import compared
from dream_engine.lab.run import Run
from dream_engine.lab.table import comparisons, lines, run_all
from dream_engine.progress import silent

QUICK = Plan(iterations=10, hidden=16, latents=4)


def test_a_second_time_runs_nothing_and_another_plan_runs_anew(tmp_path: Path) -> None:
    """Bounds are added; rows of one plan are not taken for another's."""
    stream, said, rows = split_stream(*read_digits(0), "class", 5), list[str](), tmp_path / "rows.jsonl"

    def shown(stage: str, done: int, total: int, left: float | None) -> None:
        if (done, total) == (0, 1):
            said.append(stage)

    runs = run_all(lambda _: stream, ["er"], [0], QUICK, rows, "digits", shown)
    assert [r.method for r in runs] == ["none", "joint", "er"]
    assert len(said) == 3
    again = run_all(lambda _: stream, ["er"], [0], QUICK, rows, "digits", shown)
    assert len(said) == 3
    assert [r.method for r in again] == ["none", "joint", "er"]
    run_all(lambda _: stream, [], [0], Plan(iterations=5, hidden=16, latents=4), rows, "digits", shown)
    assert len(said) == 5
    assert len(list(lines(again))) == 4


@pytest.mark.parametrize("content", ["not json\n", '{"a": 1}\n'])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    """Nothing of somebody else's is overwritten."""
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="--rows"):
        run_all(lambda _: split_stream(*read_digits(0), "class", 5), [], [0], QUICK, path, "digits", silent)
    assert path.read_text() == content


def dream(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dream_engine.cli", "lab", "run", *arguments], check=False, capture_output=True, text=True)


def test_the_command_shows_a_table_and_refuses_bad_input(tmp_path: Path) -> None:
    """A table; an unknown method and a folder without MNIST end in 2 with a message."""
    rows = ("--rows", str(tmp_path / "r.jsonl"), "--iterations", "5", "--hidden", "16")
    done = dream("er", *rows)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line] == ["method", "none", "joint", "er", "page:"]
    assert "split digits, class incremental" in (tmp_path / "r.html").read_text()
    for arguments, word in ((("magic",), "choose among"), (("--data-dir", str(tmp_path)), "IDX"), (("--contexts", "3"), "divisor")):
        bad = dream(*arguments, *rows)
        assert bad.returncode == 2
        assert word in bad.stderr
        assert "Traceback" not in bad.stderr


def finished(method: str, seed: int, end: float) -> Run:
    return Run(method, "class", seed, (0.0, 0.0), ((1.0, 0.0), (end, end)), 10, 1.0, 1.0)


def test_a_figure_is_reproduced_ahead_or_behind() -> None:
    """Published 91.8 for DGR + distillation: 92.3 reproduces it, 96 is ahead, 80 behind; 86 with 94, or no figure, tell nothing."""
    runs = [finished("dgr+distill", 0, 0.92), finished("dgr+distill", 1, 0.926), finished("joint", 0, 0.8), finished("er", 0, 0.5)]
    rows = {line.split()[0]: line for line in compared("split mnist", runs)}
    assert "reproduced" in rows["dgr+distill"]
    assert "+0.5" in rows["dgr+distill"]
    assert "behind" in rows["joint"]
    assert "cannot tell" in list(compared("split mnist", [finished("dgr+distill", 0, 0.86), finished("dgr+distill", 1, 0.94)]))[1]
    assert "no figure" in rows["er"]
    assert "ahead" in list(compared("split mnist", [finished("dgr+distill", 0, 0.96)]))[1]
    assert "no figure" in list(compared("split digits", [finished("joint", 0, 0.97)]))[1]


def test_the_table_of_a_file_names_every_setting(tmp_path: Path) -> None:
    """Two plans in one file are two tables; a file that is not there is said to be missing."""
    stream, rows = split_stream(*read_digits(0), "class", 5), tmp_path / "rows.jsonl"
    for iterations in (5, 6):
        run_all(lambda _: stream, [], [0], Plan(iterations=iterations, hidden=8, latents=4), rows, "split digits", silent)
    said = list(comparisons([rows]))
    assert sum("steps a context" in line for line in said) == 2
    with pytest.raises(InputError, match="holds no runs"):
        list(comparisons([tmp_path / "none.jsonl"]))


def test_consolidation_is_shown_epoch_by_epoch() -> None:
    """The memory empties, and what the VAE makes of unseen digits comes nearer to them."""
    command = [sys.executable, "-m", "dream_engine.cli", "lab", "consolidate", "--epochs", "4", "--fading", "0.5", "--hidden", "64", "--threads", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [int(r[1]) for r in rows] == [1000, 500, 250, 125, 62]
    assert float(rows[-1][2]) < float(rows[0][2])
