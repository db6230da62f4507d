"""P9: killed at every named point, recovery included. P13: two engines on one store. P17: how soon the sealed model is live again."""

from __future__ import annotations

import functools
import importlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import night
import pytest

from dream_engine.errors import BusyError, DreamError
from dream_engine.govern import sabar
from dream_engine.govern.release import release
from dream_engine.types import Verdict
from dream_engine.workspace import Workspace

Size = Callable[[int, int], int]
STEPS = [
    "dream_engine.govern.sqlite:SqliteStore.add_row", "dream_engine.govern.sqlite:SqliteStore.add_node",
    "dream_engine.govern.sqlite:SqliteStore.set_alias", "dream_engine.govern.sqlite:SqliteStore.set_checkpoint",
    "dream_engine.govern.sqlite:SqliteStore.add_setting", "dream_engine.govern.sqlite:SqliteStore.claim",
    "dream_engine.govern.sqlite:_open", "dream_engine.govern.sqlite:_create", "dream_engine.govern.sqlite:_check",
    "dream_engine.govern.ledger:Ledger.append", "dream_engine.govern.ledger:Ledger._sign", "dream_engine.govern.ledger:Ledger.verify",
    "dream_engine.govern.registry:Registry.add", "dream_engine.govern.registry:Registry.verified", "dream_engine.govern.registry:Registry.promote",
    "dream_engine.govern.registry:folder_digest", "dream_engine.govern.registry:_flush", "dream_engine.govern.registry:flush_folder",
    "dream_engine.govern.keys:new_key", "dream_engine.govern.sabar:close_crashed", "dream_engine.workspace:Workspace.open",
    "night:release", "os:rename", "os:replace", "os:fsync", "shutil:copy", "shutil:rmtree", "tempfile:mkdtemp",
]  # fmt: skip
POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]


def child(work: Callable[[], None], point: str, occurrence: int) -> tuple[int, list[tuple[int, str]]]:
    """Runs `work` in a forked process that is killed at the n-th time it comes by `point`; its end and what it acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        arm(point, occurrence)
        global _out
        _out = writing
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as lines:
        acknowledged = [(int(line.split()[0]), line.split()[1]) for line in lines if line.endswith("\n")]
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), acknowledged


_out = -1


def acknowledge(entry: Any) -> None:
    os.write(_out, f"{entry.seq} {entry.hash}\n".encode())


def arm(point: str, occurrence: int) -> None:
    """Wraps one function, in this process only, so that it kills the process."""
    when, _, step = point.partition(" ")
    module, _, path = step.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    kept = owner.__dict__[name]
    inner = kept.__func__ if isinstance(kept, classmethod) else kept
    seen = 0

    @functools.wraps(inner)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == occurrence and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*arguments, **named)
        if seen == occurrence and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, classmethod(wrapped) if isinstance(kept, classmethod) else wrapped)


def nights(root: Path, number: int) -> None:
    night.night(root, number, night.TURN[number % len(night.TURN)], acknowledge)


def killed_once(root: Path, point: str, occurrence: int, rng: random.Random, again: bool) -> bool:
    """Kills one night, perhaps its recovery too, checks, and lets the next night end; whether the point was hit."""
    kept: list[tuple[int, str]] = []
    number = rng.randrange(3)
    code, acknowledged = child(lambda: nights(root, number), point, occurrence)
    kept += acknowledged
    night.check(root, kept)
    if again:
        _, acknowledged = child(lambda: nights(root, number), rng.choice(POINTS), rng.randint(1, 6))
        kept += acknowledged
        night.check(root, kept)
    last, acknowledged = child(lambda: nights(root, 0), "before os:abort", 1)
    assert last == 0, f"after a kill {point} the next night did not end by itself"
    night.check(root, kept + acknowledged)
    return code == -signal.SIGKILL


def test_there_are_at_least_forty_named_points() -> None:
    """P9's N, and no name twice."""
    assert len(POINTS) == len(set(POINTS)) >= 40


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_nothing_is_lost_and_nobody_is_needed(tmp_path: Path, point: str, size: Size) -> None:
    """P9: acknowledged entries stay, one whole version serves, the next night runs. A point that is never hit fails."""
    rng, hits = random.Random(point), 0
    for attempt in range(size(2, 100)):
        root = tmp_path / str(attempt)
        if attempt % 2:
            child(lambda root=root: nights(root, 0), "before os:abort", 1)  # type: ignore[misc]
        hits += killed_once(root, point, 1 if attempt < 2 else rng.randint(1, 8), rng, again=attempt % 4 == 3)
    assert hits, "this point was never reached"


def test_killed_twice(tmp_path: Path, size: Size) -> None:
    """P9: the recovery is killed too."""
    rng = random.Random(0)
    for attempt in range(size(20, 1000)):
        killed_once(tmp_path / str(attempt), rng.choice(POINTS), rng.randint(1, 8), rng, again=True)


def test_the_suite_notices_a_commit_point_in_two_halves(tmp_path: Path) -> None:
    """The negative control: an engine that moves the alias in a transaction of its own, before the entry, is caught."""
    caught = 0
    for occurrence in range(1, 8):
        root = tmp_path / str(occurrence)

        def careless(root: Path = root) -> None:
            workspace = Workspace.open(root)
            store = workspace.ledger._store
            acknowledge(workspace.ledger.append("begin", {"run": "x", "live": None}))
            with store.transaction():
                store.set_alias("live", "0" * 64, 1)
            workspace.ledger.append("promote", {"run": "x", "weights": "0" * 64})

        child(careless, "before dream_engine.govern.sqlite:SqliteStore.add_row", occurrence)
        try:
            night.check(root, [])
        except (AssertionError, DreamError):
            caught += 1
    assert caught


def test_two_engines_on_one_store(tmp_path: Path, size: Size) -> None:
    """P13: of two nights that start at once one runs and the other says who holds the workspace; the log stays whole."""
    refused = 0
    for _ in range(size(10, 200)):
        first, second, start = os.pipe(), os.pipe(), os.pipe()
        pids = []
        for pipe in (first, second):
            pid = os.fork()
            if pid == 0:
                try:
                    os.read(start[0], 1)
                    night.night(tmp_path, 0, "inconclusive", lambda e: None)
                    os.write(pipe[1], b"ran")
                except BusyError as error:
                    os.write(pipe[1], b"refused" if "held by" in str(error) else b"unclear")
                finally:
                    os._exit(0)
            pids.append(pid)
        os.write(start[1], b"go")
        for pid in pids:
            os.waitpid(pid, 0)
        said = sorted(os.read(pipe[0], 20) for pipe in (first, second))
        for pipe in (first, second, start):
            os.close(pipe[0])
            os.close(pipe[1])
        assert said in ([b"ran", b"refused"], [b"ran", b"ran"])
        refused += said == [b"ran", b"refused"]
    night.check(tmp_path, [])
    assert refused, "the two never met; the test showed nothing"


def test_the_sealed_model_is_live_at_once_after_a_failure(tmp_path: Path, size: Size) -> None:
    """P17: from the verdict to the re-verified alias on the sealed weights, p99 within 2 s; no clock can make it fail by a slow disk alone."""
    night.night(tmp_path, 0, "seal", lambda e: None)
    workspace = Workspace.open(tmp_path)
    live, spent = workspace.registry.live, []
    body = {"verdict": "sabar", "reasons": ["r"], "failing": ["kl_drift"], "missing": []}
    for number in range(size(10, 200)):
        begun = time.monotonic()
        release(workspace.ledger, workspace.registry, Verdict("sabar"), str(live), {**body, "run": str(number)}, 0.0)
        assert workspace.registry.live == live
        spent.append(time.monotonic() - begun)
        found = sabar.current(workspace.ledger.entries())
        assert found
        assert found.state == "cooling"
    assert sorted(spent)[int(0.99 * len(spent))] <= 2.0
