"""Writes docs/cli.md from the commands' own help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from dream_engine.cli import app


def main() -> None:
    """One section a command."""
    parts = ["# Command line\n\nWritten by `make docs`.\n"]
    for command in ("", *paths(get_command(app))):
        done = subprocess.run([sys.executable, "-m", "dream_engine.cli", *command.split(), "--help"], check=True, capture_output=True, text=True)
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()).replace("python -m dream_engine.cli", "dream")
        parts.append(f"## dream {command}\n\n```\n{text}\n```\n")
    (Path(__file__).parent / "cli.md").write_text("\n".join(parts), encoding="utf-8")


def paths(group: Any, before: str = "") -> list[str]:
    """Every command and group, as it is typed."""
    found = []
    for name, command in getattr(group, "commands", {}).items():
        found += [f"{before}{name}", *paths(command, f"{before}{name} ")]
    return found


if __name__ == "__main__":
    main()
