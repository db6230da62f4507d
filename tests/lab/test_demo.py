"""The lab's demo: every night spoiled on purpose gets a right verdict, and the page holds what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.lab.data import read_digits, split_stream
from dream_engine.lab.demo import MODES, demo, night_stream, wrong_verdicts
from dream_engine.lab.page import write_page, write_sweep
from dream_engine.lab.sweep import lines, sweep
from dream_engine.progress import silent


@pytest.mark.timeout(600)
def test_the_demo_judges_spoiled_nights_rightly(tmp_path: Path) -> None:
    """Noise, bias, too little training, imbalance and too strong a replay are never sealed; the page is self-contained and names each night."""
    train, test = read_digits(0)
    done = demo(split_stream(train, test, "class", 5), night_stream(train, test), tmp_path, 0, silent)
    assert wrong_verdicts(done.nights) == []
    assert {run.method for run in done.runs} == {"none", "joint", "er", "dgr+distill", "bi-r"}
    page = write_page(done, tmp_path / "lab.html").read_text()
    assert not any(f'{attribute}="http' in page for attribute in (" src", "<a href"))
    assert all(name in page for name in MODES)
    assert page.count("<svg") == 5


@pytest.mark.timeout(600)
def test_a_generator_spoiled_more_is_not_judged_better(tmp_path: Path) -> None:
    """The most noise and the fewest steps are refused and lose accuracy against the least; the page shows every step."""
    found = sweep(night_stream(*read_digits(0)), 0, silent)
    noise, steps = found["noise of the samples, standard deviation"], found["steps of the generator"]
    assert noise[-1].accuracy < noise[0].accuracy
    assert steps[0].accuracy < steps[-1].accuracy
    assert {noise[-1].night.gated.verdict.name, steps[0].night.gated.verdict.name} <= {"sabar", "hold"}
    page = write_sweep(found, tmp_path / "sweep.html").read_text()
    assert all(line.split()[0] in page for line in lines(found))
