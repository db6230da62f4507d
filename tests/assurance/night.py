"""A night's governance without its model: begin, store a candidate, release by verdict. What the crash suites kill, cut and starve.

As a program it runs some nights on a workspace and prints one line for every entry that was acknowledged:

    python night.py ROOT NIGHTS [--no-fsync | --no-folder-fsync | --normal]

The switches are the negative controls of the power-loss suite: they take away what durability rests on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from dream_engine.files import write_json
from dream_engine.govern import sabar
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.registry import Registry
from dream_engine.govern.release import release
from dream_engine.govern.store import exclusive
from dream_engine.types import Verdict, VerdictName
from dream_engine.workspace import Workspace

Acknowledge = Callable[[Entry], None]
TURN: tuple[VerdictName, ...] = ("seal", "inconclusive", "seal")


def night(root: Path, number: int, verdict: VerdictName, acknowledge: Acknowledge) -> None:
    """One cycle: what lies unfinished is closed, then begin, candidate, release."""
    workspace = Workspace.open(root)
    try:
        with exclusive(workspace.lock):
            workspace.ledger.claim()
            workspace.ledger.verify()
            _cycle(workspace, number, verdict, acknowledge)
    finally:
        workspace.ledger.close()


def _cycle(workspace: Workspace, number: int, verdict: VerdictName, acknowledge: Acknowledge) -> None:
    ledger, registry = workspace.ledger, workspace.registry
    run = f"{ledger.size:04d}-{number}"
    registry.verify_live()
    for entry in sabar.close_crashed(ledger, run):
        acknowledge(entry)
    acknowledge(ledger.append("begin", {"run": run, "live": registry.live}))
    folder = workspace.run_folder(run) / "adapter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(f"weights of {run} " * 200)
    write_json(folder / "adapter_config.json", {"run": run})
    weights = registry.add(folder, {"run": run})
    body = {"run": run, "verdict": verdict, "reasons": ["r"], "failing": ["kl_drift"] if verdict == "sabar" else [], "missing": []}
    acknowledge(release(ledger, registry, Verdict(verdict), weights, body, 0.0))


def check(root: Path, acknowledged: list[tuple[int, str]]) -> None:
    """No acknowledged entry is lost, the log verifies, and exactly one serving version is there, whole (or none was ever sealed).

    Raises:
        AssertionError or DreamError: the promise is broken.
    """
    if not (root / "ledger.db").exists() and not acknowledged:
        return
    ledger = Ledger.open(root / "ledger.db")
    try:
        ledger.verify()
        found = {e.seq: e.hash for e in ledger.entries()}
        lost = [seq for seq, value in acknowledged if found.get(seq) != value]
        assert not lost, f"acknowledged entries {lost} are lost"
        moves = [str(e.body["aliases"]["live"]) for e in ledger.entries() if "live" in e.body.get("aliases", {})]
        registry = Registry(root / "registry", ledger)
        assert registry.live == (moves[-1] if moves else None)
        registry.verify_live()
    finally:
        ledger.close()


def main() -> None:
    """Runs the nights and acknowledges on standard output."""
    root, nights, *switches = sys.argv[1:]
    if "--no-fsync" in switches:
        os.fsync = lambda handle: None  # type: ignore[assignment]
    if "--no-folder-fsync" in switches:
        from dream_engine.govern import registry

        registry.flush_folder = lambda folder: None
    if "--normal" in switches:
        from dream_engine.govern import sqlite

        sqlite.DURABILITY = "NORMAL"
    for number in range(int(nights)):
        night(Path(root), number, TURN[number % len(TURN)], lambda e: os.write(1, f"ack {e.seq} {e.hash}\n".encode()) and None)


if __name__ == "__main__":
    main()
