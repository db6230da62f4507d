"""The published tables, run again: which methods on which stream with how many seeds. `dream lab reproduce`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dream_engine.lab.data import Examples, Scenario, Stream, content_digest, permuted_stream, read_mnist, split_stream
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
        plan, name = (PERMUTED_PLAN, "permuted mnist") if setting.permuted else (Plan(), "split mnist")
        streams = partial(stream_of, setting.permuted, train, test, setting.scenario, 10 if setting.permuted else 5)
        run_all(streams, setting.methods, range(setting.seeds), replace(plan, bf16=bf16), rows, name, show, version=dealt(train, test))


def stream_of(permuted: bool, train: Examples, test: Examples, scenario: Scenario, contexts: int, seed: int) -> Stream:
    """The contexts of one seed: its own permutations, or its own deal of the classes."""
    return (permuted_stream if permuted else split_stream)(train, test, scenario, contexts, seed)


def dealt(train: Examples, test: Examples) -> str:
    """Tells rows of these data apart from those of others, and from rows whose seeds shared one deal."""
    return f"{content_digest(train, test)}, a deal for each seed"
