"""Opening a night: which run a command goes on with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dream_engine.cycle.opening import open_night
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
