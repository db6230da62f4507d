"""The import walls of DESIGN §3, and the start-up promise of the command line."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "dream_engine"
STAGES = {"capture", "dream", "judge"}


def imports(path: Path) -> set[str]:
    """Every module of ours that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_never_import_each_other(stage: str) -> None:
    """Only the cycle package (and a study, which runs cycles) sees capture, dream and judge together."""
    for path in files(stage):
        for other in STAGES - {stage}:
            assert not any(name.startswith(f"dream_engine.{other}") for name in imports(path)), f"{path} imports {other}"


def test_report_never_touches_models() -> None:
    """A page is made of the ledger and run folders."""
    for path in files("report"):
        assert not any(n.startswith(("dream_engine.models", "torch", "transformers", "peft")) for n in imports(path)), path


def test_only_models_know_transformers_and_peft() -> None:
    """The one home of both libraries (the command line may quiet their logging)."""
    for path in ROOT.rglob("*.py"):
        if "models" not in path.parts and path != ROOT / "commands" / "shared.py":
            assert not any(n.split(".")[0] in ("transformers", "peft") for n in imports(path)), path


@pytest.mark.parametrize(
    "module",
    ["types", "errors", "config", "policy.pack", "policy.screen", "govern.ledger", "govern.registry", "judge.gate",
     "judge.stats", "judge.metrics", "judge.budgets", "report.page", "cli",
     "study.compare", "study.page", "govern.serving", "govern.approvals", "govern.sabar", "govern.release",
     "govern.witness_http"],
)  # fmt: skip
def test_light_modules_import_no_torch(module: str) -> None:
    """Measured in a fresh interpreter, not by reading."""
    code = f"import sys, dream_engine.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_is_quick() -> None:
    """Help without torch; the half second is measured in benchmarks, here only a gross slip is caught."""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "dream_engine.cli", "--help"], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    assert "replay cycle" in done.stdout
    assert time.monotonic() - begun < 10
