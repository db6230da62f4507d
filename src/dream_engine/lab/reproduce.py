"""The published tables, run again: which methods on which stream with how many seeds. `dream lab reproduce`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dream_engine.lab.data import Scenario, content_digest, permuted_stream, read_mnist, split_stream
from dream_engine.lab.methods import PERMUTED_PLAN, Plan
from dream_engine.lab.table import run_all
from dream_engine.progress import Show


@dataclass(frozen=True)
class Setting:
    """Methods (none and joint are always added) on one stream."""

    permuted: bool
    scenario: Scenario
    methods: tuple[str, ...]
    seeds: int


FIRST = (Setting(False, "class", ("dgr", "dgr+distill", "bi-r"), 3),)
"""The class-incremental table."""
REST = (
    Setting(False, "class", ("dgr", "dgr+distill", "bi-r"), 5),
    Setting(False, "task", ("ewc", "si", "lwf", "dgr", "dgr+distill"), 3),
    Setting(False, "domain", ("ewc", "si", "lwf", "dgr", "dgr+distill"), 3),
    Setting(False, "class", ("generator-each", "bi-r+si", "generative-classifier", "er", "er-recombined"), 3),
    Setting(True, "domain", ("si", "ewc", "dgr+distill", "bi-r"), 1),
    Setting(False, "class", ("lwf", "ewc", "si", "bi-r-unconditional", "bi-r-ungated", "bi-r-hard", "bi-r-internal"), 3),
)
"""What `--full` adds."""


def reproduce(folder: Path, full: bool, bf16: bool, rows: Path, show: Show) -> None:
    """Runs every setting that `rows` does not hold yet, at the reference's sizes.

    Raises:
        InputError: MNIST's files are not in the folder, or `rows` holds something else.
    """
    for setting in (*FIRST, *(REST if full else ())):
        train, test = read_mnist(folder, pad=2 if setting.permuted else 0)
        if setting.permuted:
            stream, plan, name = permuted_stream(train, test, setting.scenario, 10, 0), PERMUTED_PLAN, "permuted mnist"
        else:
            stream, plan, name = split_stream(train, test, setting.scenario, 5), Plan(), "split mnist"
        version = content_digest(train, test)
        run_all(stream, setting.methods, range(setting.seeds), replace(plan, bf16=bf16), rows, name, show, version=version)
