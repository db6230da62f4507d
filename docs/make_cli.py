"""Writes docs/cli.md from the commands' own help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMANDS = [
    "",
    "init",
    "doctor",
    "validate",
    "run",
    "gate",
    "approve",
    "reject",
    "status",
    "rollback",
    "report",
    "ledger",
    "ledger show",
    "ledger verify",
]


def main() -> None:
    """One section a command."""
    parts = ["# Command line\n\nWritten by `make docs`.\n"]
    for command in COMMANDS:
        done = subprocess.run([sys.executable, "-m", "dream_engine.cli", *command.split(), "--help"], check=True, capture_output=True, text=True)
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()).replace("python -m dream_engine.cli", "dream")
        parts.append(f"## dream {command}\n\n```\n{text}\n```\n")
    (Path(__file__).parent / "cli.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
