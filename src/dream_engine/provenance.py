"""What a run was made with: the code's revision and the libraries' versions."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any


@cache
def code_revision() -> dict[str, Any]:
    """Version, and commit with dirty flag when the package runs from a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    return {"version": version("dream-engine"), "commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


def libraries() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "peft", "safetensors", "apsw")}
