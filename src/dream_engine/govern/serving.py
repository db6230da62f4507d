"""What may be served now. A pure function of the ledger: a server asks before it loads, and again at every request it can afford.

Knows nothing about models. Nobody opens a hold by serving: the alias stays where it is, the limited mode only takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dream_engine.govern.approvals import open_hold
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.registry import ANCHOR, LIVE

WhileHeld = Literal["sealed", "anchor", "none"]
"""What serves while a cycle waits for a person: `sealed` the live weights as before, `anchor` the first sealed model, `none` nothing at all."""


@dataclass(frozen=True)
class Serving:
    """The digest to serve, None for nothing; the mode, and in words why."""

    weights: str | None
    mode: Literal["normal", "limited"]
    reason: str


def serving(ledger: Ledger) -> Serving:
    """The weights that may answer users now.

    The mode is the one that the held cycle was recorded with, so that changing the configuration afterwards changes nothing.
    """
    held, live = open_hold(ledger), ledger.alias(LIVE)
    if held is None:
        return Serving(live, "normal", "the sealed weights" if live else "nothing is sealed yet")
    run, mode = held.body["run"], held.body.get("while_held", "sealed")
    if mode == "sealed":
        return Serving(live, "normal", f"cycle {run} is held; the sealed weights serve")
    if mode == "anchor":
        return Serving(ledger.alias(ANCHOR), "limited", f"cycle {run} is held; the anchor serves until a person decides")
    return Serving(None, "limited", f"cycle {run} is held; nothing is served until a person decides")
