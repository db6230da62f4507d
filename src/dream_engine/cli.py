"""The `dream` command. Parses, calls, prints; imports torch only in the commands that need a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_engine.errors import DreamError, InputError

if TYPE_CHECKING:
    from dream_engine.progress import Show
    from dream_engine.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Dream Engine: repair what fine-tuning wears away from a chat model's safety, and prove it before it goes live.",
)
ledger_app = typer.Typer(no_args_is_help=True, help="The append-only log of every cycle.")
app.add_typer(ledger_app, name="ledger")

EXIT = {"seal": 0, "sabar": 1, "inconclusive": 3, "hold": 4}
INTERRUPTED, INTERNAL, IO = 130, 70, 74

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="dream.yaml; without it dream.yaml here, or the defaults.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: --set wake.learning_rate=1e-4")]
WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Folder of ledger, registry and runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ByOption = Annotated[str, typer.Option("--by", help="Who decides.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]
DEFAULT_WORKSPACE = Path(".dream")


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write.")] = Path("dream.yaml")) -> None:
    """Write a dream.yaml with every setting at its default."""
    from dream_engine.config import Config
    from dream_engine.files import write_whole

    if path.exists():
        raise InputError(f"{path} exists already; choose another name or remove it first")
    import yaml

    write_whole(path, yaml.safe_dump(json.loads(Config().model_dump_json()), sort_keys=False))
    typer.echo(f"wrote {path}; set wake.data to your dialogues, then: dream run")


@app.command()
def doctor(
    config: ConfigOption = None, overrides: SetOption = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False
) -> None:
    """Check that versions, disk, workspace, pack, data and model are usable."""
    from dream_engine.doctor import examine

    checks = examine(_config(config, overrides), workspace)
    text = "\n".join(f"{'ok  ' if c.ok else 'FAIL'}  {c.name}: {c.detail}" for c in checks)
    _print({c.name: {"ok": c.ok, "detail": c.detail} for c in checks} if as_json else text)
    raise typer.Exit(0 if all(c.ok for c in checks) else 2)


@app.command()
def validate(pack: Annotated[str, typer.Argument(help="A shipped pack's name or a file.")] = "default", as_json: JsonOption = False) -> None:
    """Check a policy pack and say what is missing."""
    from dream_engine.policy.pack import load_pack, problems

    loaded = load_pack(pack)
    found = problems(loaded)
    pairs = sum(len(c.pairs) + len(c.es) for c in loaded.categories.values())
    summary = f"pack {loaded.name!r}: {len(loaded.categories)} categories, {pairs} pairs, {len(loaded.styles)} styles, {len(loaded.anchors)} anchors"
    _print(
        {"pack": loaded.name, "problems": found}
        if as_json
        else "\n".join([summary, *(f"missing: {p}" for p in found), "complete" if not found else ""]).strip()
    )
    raise typer.Exit(2 if found else 0)


@app.command()
def run(
    config: ConfigOption = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
    no_store_answers: Annotated[bool, typer.Option("--no-store-answers", help="Keep no judged answers in the run folder.")] = False,
) -> None:
    """Run one replay cycle (or go on with a killed one). The first cycle of a workspace commissions the policy."""
    settings = _config(config, [*(overrides or []), *(["judge.store_answers=false"] if no_store_answers else [])])
    with _held(workspace) as opened, _progress(as_json) as show:
        _threads(settings.model.threads)
        from dream_engine.cycle import run_cycle

        outcome = run_cycle(settings, opened, show)
        from dream_engine.report.page import write_report

        page = write_report(opened, outcome.run_id)
    result = _gate_of(opened, outcome.run_id)
    _print(
        {**result, "run": outcome.run_id, "report": str(page), "entry": outcome.entry}
        if as_json
        else _summary(result, outcome.run_id, outcome.entry, page)
    )
    raise typer.Exit(EXIT[outcome.gated.verdict.name])


@app.command()
def gate(
    adapter: Annotated[Path, typer.Option("--adapter", help="PEFT folder to judge against the sealed model.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Judge an adapter against the sealed model, without training. Measures only; nothing is promoted."""
    settings = _config(config, overrides)
    with _held(workspace, create=False) as opened, _progress(as_json) as show:
        _threads(settings.model.threads)
        from dream_engine.cycle import gate_adapter

        result = gate_adapter(settings, opened, adapter, show)
    _print(result if as_json else _verdict_text(result))
    raise typer.Exit(EXIT[result["verdict"]])


@app.command()
def approve(cycle: str, by: ByOption, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Let a commissioned model live."""
    from dream_engine.govern import approvals

    with _held(workspace, create=False) as opened:
        entry = approvals.approve(opened.ledger, opened.registry, cycle, by, reason)
    typer.echo(f"cycle {cycle} approved by {by}: {str(entry.body['weights'])[:12]} is live (ledger entry {entry.seq})")


@app.command()
def reject(cycle: str, by: ByOption, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Close a hold without release."""
    from dream_engine.govern import approvals

    with _held(workspace, create=False) as opened:
        entry = approvals.reject(opened.ledger, cycle, by, reason)
    typer.echo(f"cycle {cycle} rejected by {by} (ledger entry {entry.seq}); the sealed weights stay live")


@app.command()
def status(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """What is live, what waits, and how the last cycles ended."""
    from dream_engine.govern.approvals import open_hold

    opened = _open(workspace, create=False)
    ended = {e.body["run"]: e.body["verdict"] for e in opened.ledger.entries() if e.kind in ("cycle", "promote") and "verdict" in e.body}
    begun = [e.body["run"] for e in opened.ledger.entries("begin")]
    held = open_hold(opened.ledger)
    state = {
        "live": opened.registry.live,
        "anchor": opened.registry.anchor,
        "held": held.body["run"] if held else None,
        "unfinished": [r for r in begun if r not in ended],
        "cycles": ended,
        "entries": opened.ledger.verify().entries,
        "head": opened.ledger.head,
    }
    lines = [f"{key}: {value if value not in (None, [], {}) else 'none'}" for key, value in state.items() if key != "cycles"]
    _print(state if as_json else "\n".join([*lines, *(f"cycle {run}: {verdict}" for run, verdict in ended.items())]))


@app.command()
def rollback(digest: str, by: ByOption, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Make an earlier sealed version live again, byte for byte."""
    with _held(workspace, create=False) as opened:
        entry = opened.registry.rollback(digest, reason, by)
        path = opened.registry.verified(str(entry.body["weights"]))
    typer.echo(f"live again: {path} (ledger entry {entry.seq})")


@app.command()
def report(
    cycle: Annotated[str | None, typer.Argument(help="Run id; the last one without it.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write the page of a cycle again."""
    from dream_engine.report.page import write_report

    opened = _open(workspace, create=False)
    runs = [str(e.body["run"]) for e in opened.ledger.entries("begin")]
    if not runs:
        raise InputError(f"workspace {workspace} has no cycle yet; run 'dream run' first")
    typer.echo(str(write_report(opened, cycle or runs[-1])))


@ledger_app.command("show")
def ledger_show(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Print every entry."""
    entries = list(_open(workspace, create=False).ledger.entries())
    if as_json:
        _print([{"seq": e.seq, "hash": e.hash, "body": e.body} for e in entries])
    else:
        _print(
            "\n".join(
                f"{e.seq:4d}  {e.hash[:12]}  {e.kind:9s} {e.body.get('run', ''):14s} {e.body.get('verdict', '')} {e.body.get('reason', '')}"
                for e in entries
            )
        )


@ledger_app.command("verify")
def ledger_verify(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    head: Annotated[str, typer.Option("--head", help="The head hash you wrote down.")] = "",
    key: Annotated[str, typer.Option("--key", help="The log's verifier key, from 'dream ledger key', kept elsewhere.")] = "",
    witness: Annotated[list[str] | None, typer.Option("--witness", help="A witness's verifier key; may be given again.")] = None,
) -> None:
    """Recompute every hash and the tree. Without --head a cut-off end cannot be noticed; without --key nothing signed is checked."""
    from dream_engine.govern.ledger import LEVELS
    from dream_engine.govern.notes import PublicKey

    opened = _open(workspace, create=False)
    found = opened.ledger.verify(head or None, PublicKey.parse(key) if key else None, [PublicKey.parse(w) for w in witness or []])
    for weights in dict.fromkeys(str(e.body["weights"]) for e in opened.ledger.entries("promote")):
        opened.registry.verified(weights)
    pinned = "the pinned head is in it" if head else "no head was given, so a cut-off end would go unnoticed"
    typer.echo(f"{found.entries} entries verify at level {LEVELS[found.level]}; {pinned}; head {opened.ledger.head}")


@ledger_app.command("key")
def ledger_key(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Print the log's verifier key. Keep it where this workspace's owner cannot change it."""
    from dream_engine.govern.ledger import verifier_key

    typer.echo(str(verifier_key(_open(workspace, create=False).root)))


@ledger_app.command("export")
def ledger_export(
    file: Annotated[Path, typer.Argument(help="Where to write the export.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write the whole log to one file, which tools/verify_ledger.py verifies without this program."""
    from dream_engine.files import write_whole

    opened = _open(workspace, create=False)
    write_whole(file, opened.ledger.export().decode())
    typer.echo(f"{file}: {opened.ledger.checkpoint().checkpoint.size} entries; verify it with tools/verify_ledger.py --key '…'")


@ledger_app.command("proof")
def ledger_proof(
    entry: Annotated[int, typer.Argument(help="Number of the entry.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Print the proof that one entry is in the signed checkpoint, as JSON."""
    ledger = _open(workspace, create=False).ledger
    note, path = ledger.checkpoint(), [step.hex() for step in ledger.inclusion(entry)]
    _print({"entry": entry, "size": note.checkpoint.size, "leaf": ledger.leaf(entry).hex(), "path": path, "checkpoint": note.text})


@app.command()
def witness(
    folder: Annotated[Path, typer.Option("--folder", help="The witness's own memory and key, out of the engine's reach.")],
    key: Annotated[str, typer.Option("--key", help="The log's verifier key, as the witness was given it.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Cosign the newest checkpoint if it extends the last one that this witness saw."""
    from dream_engine.govern.notes import PublicKey
    from dream_engine.govern.witness import Witness

    with _held(workspace, create=False) as opened:
        watcher, note = Witness(folder, PublicKey.parse(key)), opened.ledger.checkpoint()
        seen = watcher.last(note.checkpoint.origin)
        size = seen.checkpoint.size if seen else 0
        proof = opened.ledger.consistency(size) if 0 < size <= note.checkpoint.size else []
        opened.ledger.add_cosignature(watcher.cosign(note, proof))
    typer.echo(f"{note.checkpoint.size} entries cosigned (seen before: {size}); witness key {watcher.public_key}")


def main() -> None:
    """Runs the command; turns every expected problem into one line and an exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted; run the same command again to go on where it was", INTERRUPTED)
    except DreamError as error:
        _complain(str(error), error.exit_code)
    except OSError as error:
        _complain(f"the disk or a file refused: {error}", IO)
    except Exception as error:
        _click_or_internal(error)


def _click_or_internal(error: Exception) -> None:
    shown = getattr(error, "format_message", None)
    if shown:
        _complain(shown(), 2)
    import logging

    logging.getLogger(__name__).debug("internal error", exc_info=error)
    _complain(f"internal error: {type(error).__name__}: {error}; please report it with the command you ran", INTERNAL)


def _complain(message: str, code: int) -> None:
    typer.echo(f"dream: {message}", err=True)
    sys.exit(code)


def _config(path: Path | None, overrides: list[str] | None) -> Any:
    from dream_engine.config import load_config

    here = Path("dream.yaml")
    return load_config(path or (here if here.is_file() else None), overrides or [])


def _open(root: Path, create: bool) -> Workspace:
    from dream_engine.workspace import Workspace

    return Workspace.open(root, create)


@contextmanager
def _held(root: Path, create: bool = True) -> Iterator[Workspace]:
    from dream_engine.govern.store import exclusive

    opened = _open(root, create)
    with exclusive(opened.lock):
        yield opened


def _threads(count: int) -> None:
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
    torch.set_num_threads(count)


@contextmanager
def _progress(quiet: bool) -> Iterator[Show]:
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


def _gate_of(opened: Workspace, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((opened.run_folder(run_id) / "gate.json").read_text(encoding="utf-8"))
    return found


def _print(value: Any) -> None:
    typer.echo(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))


def _summary(result: dict[str, Any], run_id: str, entry: int, page: Path) -> str:
    from dream_engine.report.text import table_text

    return "\n".join([table_text(result["table"], result), "", _verdict_text(result), f"cycle {run_id}, ledger entry {entry}", f"report: {page}"])


def _verdict_text(result: dict[str, Any]) -> str:
    from dream_engine.report.text import verdict_text

    return verdict_text(result)


if __name__ == "__main__":
    main()
