"""Progress of a run: one line a stage with an estimate of the time left; a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

PLAIN_EVERY_SECONDS = 10.0


class Show(Protocol):
    """Where progress goes. `done` of `total`, in whatever the stage counts."""

    def __call__(self, stage: str, done: int, total: int, seconds_left: float | None) -> None: ...


def silent(stage: str, done: int, total: int, seconds_left: float | None) -> None:
    """Shows nothing."""


class RunLog:
    """Times the stages of one run, shows them, and keeps them in `events.jsonl`."""

    def __init__(self, path: Path, show: Show) -> None:
        self._path, self._show = path, show
        self.stages: list[dict[str, Any]] = []

    @contextmanager
    def stage(self, name: str, tokens: Callable[[], int] = int) -> Iterator[Callable[[int, int], None]]:
        """A stage that runs; yields the callback that reports (done, total). `tokens` counts what the model has read so far."""
        begun, read = time.monotonic(), tokens()
        with staged(self._show, name) as report:
            yield report
        self._note(name, time.monotonic() - begun, tokens() - read)

    def resumed(self, name: str) -> None:
        """A stage whose result was already there."""
        self._show(f"{name} (done before)", 1, 1, 0.0)

    def _note(self, name: str, seconds: float, tokens: int) -> None:
        event = {"stage": name, "seconds": round(seconds, 2), "tokens": tokens, "tokens_per_s": round(tokens / max(seconds, 1e-9), 1)}
        self.stages.append(event)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


@contextmanager
def staged(show: Show, name: str) -> Iterator[Callable[[int, int], None]]:
    """A stage that is shown with an estimate of the time left and not kept anywhere."""
    begun = time.monotonic()
    show(name, 0, 1, None)

    def report(done: int, total: int) -> None:
        spent = time.monotonic() - begun
        show(name, done, total, spent / done * (total - done) if done else None)

    yield report


class PlainLines:
    """A line when a stage begins, every ten seconds, and when it ends. For logs and pipes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._last, self._shown = write, 0.0, ""

    def __call__(self, stage: str, done: int, total: int, seconds_left: float | None) -> None:
        now = time.monotonic()
        new = stage != self._shown
        if new or done >= total or now - self._last >= PLAIN_EVERY_SECONDS:
            self._last, self._shown = now, stage
            self._write(describe(stage, done, total, seconds_left))


def describe(stage: str, done: int, total: int, seconds_left: float | None) -> str:
    """`Ω rehearse  120/372, 140 s left`."""
    left = "" if seconds_left is None else f", {seconds_left:.0f} s left" if done < total else ", done"
    return f"{stage}  {done}/{total}{left}" if total > 1 or done else f"{stage} ..."
