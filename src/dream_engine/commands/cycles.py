"""The commands of a replay cycle: init, doctor, validate, run, gate, status, report."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_engine.commands.shared import (
    DEFAULT_WORKSPACE,
    EXIT,
    ConfigOption,
    JsonOption,
    SetOption,
    WorkspaceOption,
    held_workspace,
    opened_workspace,
    prepare_torch,
    progress,
    settings_of,
    show_result,
)
from dream_engine.errors import InputError
from dream_engine.sinks import send

if TYPE_CHECKING:
    from dream_engine.config import Config
    from dream_engine.govern.serving import Serving
    from dream_engine.workspace import Workspace

app = typer.Typer()


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

    settings = settings_of(config, overrides)
    with suppress(ImportError):  # a missing package is a finding, below
        prepare_torch(settings.model.threads)
    checks = examine(settings, workspace)
    text = "\n".join(f"{'ok  ' if c.ok else 'FAIL'}  {c.name}: {c.detail}" for c in checks)
    show_result({c.name: {"ok": c.ok, "detail": c.detail} for c in checks} if as_json else text)
    raise typer.Exit(0 if all(c.ok for c in checks) else 2)


@app.command()
def validate(pack: Annotated[str, typer.Argument(help="A shipped pack's name or a file.")] = "default", as_json: JsonOption = False) -> None:
    """Check a policy pack and say what is missing."""
    from dream_engine.policy.pack import load_pack, problems

    loaded = load_pack(pack)
    found = problems(loaded)
    pairs = sum(len(c.pairs) + len(c.es) for c in loaded.categories.values())
    summary = f"pack {loaded.name!r}: {len(loaded.categories)} categories, {pairs} pairs, {len(loaded.styles)} styles, {len(loaded.anchors)} anchors"
    show_result(
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
    adapter: Annotated[Path | None, typer.Option("--adapter", help="PEFT folder made elsewhere: it is W, and is repaired.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and about how long it takes; record nothing.")] = False,
    dreams: Annotated[Path | None, typer.Option("--dreams", help="Reviewed dreams: rehearse what people kept of them.")] = None,
    model_folder: Annotated[
        Path | None, typer.Option("--full-model", help="Folder of a model fine-tuned whole: it is W; C is an adapter on it.")
    ] = None,
) -> None:
    """Run one replay cycle (or go on with a killed one). The first cycle of a workspace commissions the policy."""
    switched = {"judge.store_answers": "false" if no_store_answers else "", "wake.adapter": _place(adapter), "wake.model": _place(model_folder)}
    settings = settings_of(config, [*(overrides or []), *(f"{key}={value}" for key, value in switched.items() if value)])
    if dry_run:
        _dry_run(settings, workspace, as_json)
        return
    with held_workspace(workspace) as opened, progress(as_json) as show:
        prepare_torch(settings.model.threads)
        from dream_engine.cycle import run_cycle
        from dream_engine.dream.review import read_rows, reviewed

        outcome = run_cycle(settings, opened, show, reviewed(read_rows(dreams)) if dreams else None)
        from dream_engine.report.page import write_report

        page = write_report(opened, outcome.run_id)
    result = _gate_of(opened, outcome.run_id)
    send(settings.report_to, outcome.run_id, result, json.loads(settings.model_dump_json()), workspace)
    show_result(
        {**result, "run": outcome.run_id, "report": str(page), "entry": outcome.entry}
        if as_json
        else _summary(result, outcome.run_id, outcome.entry, page)
    )
    raise typer.Exit(EXIT[outcome.gated.verdict.name])


@app.command()
def gate(
    adapter: Annotated[Path, typer.Option("--adapter", help="PEFT folder to judge against the sealed model.")],
    base: Annotated[str, typer.Option("--base", help="The base it was made on: a folder, a hub id; model.name without it.")] = "",
    commission: Annotated[bool, typer.Option("--commission", help="Judge it by itself, by the absolute tests of a first model.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Judge an adapter against the sealed model, without training. Measures only; nothing is promoted."""
    settings = settings_of(config, [*(overrides or []), *([f"model.name={json.dumps(base)}"] if base else [])])
    with held_workspace(workspace, create=commission) as opened, progress(as_json) as show:
        prepare_torch(settings.model.threads)
        from dream_engine.cycle import gate_adapter

        result = gate_adapter(settings, opened, adapter, commission, show)
    show_result(result if as_json else _verdict_text(result))
    raise typer.Exit(EXIT[result["verdict"]])


@app.command()
def status(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """What is live, what waits, and how the last cycles ended."""
    from dream_engine.govern import sabar
    from dream_engine.govern.approvals import open_hold
    from dream_engine.govern.serving import serving

    opened = opened_workspace(workspace, create=False)
    ended = {e.body["run"]: e.body["verdict"] for e in opened.ledger.entries() if e.kind in ("cycle", "promote") and "verdict" in e.body}
    begun = [e.body["run"] for e in opened.ledger.entries("begin")]
    held, stopped = open_hold(opened.ledger), sabar.current(opened.ledger.entries())
    served = serving(opened.ledger)
    state = {
        "live": opened.registry.live,
        "serving": {"weights": served.weights, "mode": served.mode, "reason": served.reason} if as_json else _served_text(served),
        "anchor": opened.registry.anchor,
        "held": held.body["run"] if held else None,
        "sabar": f"{stopped.run} ({stopped.state})" if stopped else None,
        "unfinished": [r for r in begun if r not in ended],
        "cycles": ended,
        "entries": opened.ledger.verify().entries,
        "head": opened.ledger.head,
    }
    lines = [f"{key}: {value if value not in (None, [], {}) else 'none'}" for key, value in state.items() if key != "cycles"]
    show_result(state if as_json else "\n".join([*lines, *(f"cycle {run}: {verdict}" for run, verdict in ended.items())]))


def _served_text(served: Serving) -> str:
    return f"{served.weights[:12] if served.weights else 'nothing'} ({served.mode}: {served.reason})"


@app.command()
def report(
    cycle: Annotated[str | None, typer.Argument(help="Run id; the last one without it.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write the page of a cycle again."""
    from dream_engine.report.page import write_report

    opened = opened_workspace(workspace, create=False)
    runs = [str(e.body["run"]) for e in opened.ledger.entries("begin")]
    if not runs:
        raise InputError(f"workspace {workspace} has no cycle yet; run 'dream run' first")
    typer.echo(str(write_report(opened, cycle or runs[-1])))


def _dry_run(settings: Config, root: Path, as_json: bool) -> None:
    """The stages of the next cycle with their cost here; the workspace is opened, never written."""
    import tempfile

    from dream_engine.workspace import Workspace

    with tempfile.TemporaryDirectory() as nowhere, progress(as_json) as show:
        prepare_torch(settings.model.threads)
        from dream_engine.plan import plan_cycle

        opened = Workspace.open(root, create=False) if (root / "ledger.db").exists() else Workspace.open(Path(nowhere))
        plan = plan_cycle(settings, opened, show)
    kind = "commissioning" if plan.commissioning else "a cycle after a wake"
    rows = [{"stage": s.name, "items": s.items, "seconds": round(s.seconds, 1), "tokens": s.tokens} for s in plan.stages]
    lines = [f"{r['stage']:22s} {r['items']:6d} items {r['tokens']:9d} tokens {r['seconds']:8.1f} s" for r in rows]
    total = f"{kind}: about {plan.seconds / 60:.1f} minutes on this machine as busy as it is now"
    show_result({"stages": rows, "seconds": round(plan.seconds, 1)} if as_json else "\n".join([*lines, total]))


def _place(folder: Path | None) -> str:
    """A folder named on the command line, seen from here and not from the configuration file."""
    return json.dumps(str(folder.absolute())) if folder else ""


def _gate_of(opened: Workspace, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((opened.run_folder(run_id) / "gate.json").read_text(encoding="utf-8"))
    return found


def _summary(result: dict[str, Any], run_id: str, entry: int, page: Path) -> str:
    from dream_engine.report.text import table_text

    return "\n".join([table_text(result["table"], result), "", _verdict_text(result), f"cycle {run_id}, ledger entry {entry}", f"report: {page}"])


def _verdict_text(result: dict[str, Any]) -> str:
    from dream_engine.report.text import verdict_text

    return verdict_text(result)
