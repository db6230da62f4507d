"""What the commands share: options, the workspace under its lock, decisions, and how results are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_engine.errors import InputError

if TYPE_CHECKING:
    from dream_engine.govern.decisions import Decision, SignedDecision
    from dream_engine.govern.notes import Signer
    from dream_engine.progress import Show
    from dream_engine.workspace import Workspace

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="dream.yaml; without it dream.yaml here, or the defaults.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: --set wake.learning_rate=1e-4")]
WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Folder of ledger, registry and runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ByOption = Annotated[str, typer.Option("--by", help="Who decides.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]
KeyOption = Annotated[Path | None, typer.Option("--key", help="The reviewer's secret key file; ~/.config/dream-engine/NAME.key without it.")]
SignedOption = Annotated[Path | None, typer.Option("--signed", help="A decision that was signed elsewhere, instead of --by, --reason and --key.")]
DEFAULT_WORKSPACE = Path(".dream")
EXIT = {"seal": 0, "sabar": 1, "inconclusive": 3, "hold": 4}
"""How a command ends after each verdict."""
MOST_THREADS = 8


def settings_of(path: Path | None, overrides: list[str] | None) -> Any:
    from dream_engine.config import load_config

    here = Path("dream.yaml")
    return load_config(path or (here if here.is_file() else None), overrides or [])


def opened_workspace(root: Path, create: bool) -> Workspace:
    from dream_engine.workspace import Workspace

    return Workspace.open(root, create)


@contextmanager
def held_workspace(root: Path, create: bool = True) -> Iterator[Workspace]:
    from dream_engine.govern.store import exclusive

    opened = opened_workspace(root, create)
    with exclusive(opened.lock):
        opened.ledger.claim()
        yield opened


def decision_of(opened: Workspace, stake: Decision, by: str, reason: str, key: Path | None, signed: Path | None) -> SignedDecision:
    """The decision in a file, or a new one signed here."""
    from dream_engine.govern.decisions import SignedDecision, decide

    if signed:
        if not signed.is_file():
            raise InputError(f"{signed} does not exist; 'dream sign' writes a decision")
        return SignedDecision.parse(signed.read_text(encoding="utf-8", errors="replace"))
    if not by.strip():
        raise InputError("a decision needs a name and a reason: --by NAME --reason '...' (or --signed FILE)")
    return decide(opened.ledger, signer_of(by, key), stake, reason)


def signer_of(name: str, key: Path | None) -> Signer:
    from dream_engine.govern.keys import LocalSigner, read_key, reviewer_file

    return LocalSigner(name, read_key(key or reviewer_file(name)))


def utc_seconds(text: str) -> float:
    from datetime import UTC, datetime

    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--at {text!r} is not a time such as 2026-11-24T08:00") from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def utc_text(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def prepare_torch(threads: int = 0) -> None:
    """Quiet libraries, and as many threads as were asked for; 0 is one for each core that this process may use, eight at most."""
    import logging
    import os
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("peft").setLevel(logging.ERROR)
    torch.set_num_threads(threads or _cores())


def _cores() -> int:
    """Without the second thread of a core, and within what a container allows: a thread too many halves the speed."""
    import joblib

    return int(min(MOST_THREADS, joblib.cpu_count(only_physical_cores=True)))


@contextmanager
def progress(quiet: bool) -> Iterator[Show]:
    from dream_engine.progress import PlainLines, describe, silent

    if quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield PlainLines(lambda line: typer.echo(line, err=True))
    else:
        from rich.console import Console
        from rich.status import Status

        with Status("", console=Console(stderr=True)) as line:
            yield lambda stage, done, total, left: line.update(describe(stage, done, total, left))


def show_result(value: Any) -> None:
    typer.echo(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
