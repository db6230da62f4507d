"""The commands of what is live and what follows a failure: sabar, rollback, log, collect."""

from __future__ import annotations

from typing import Annotated

import typer

from dream_engine.commands.shared import (
    DEFAULT_WORKSPACE,
    ByOption,
    ConfigOption,
    JsonOption,
    KeyOption,
    ReasonOption,
    WorkspaceOption,
    decision_of,
    held_workspace,
    opened_workspace,
    settings_of,
    show_result,
    utc_seconds,
    utc_text,
)
from dream_engine.errors import InputError

app = typer.Typer()
sabar_app = typer.Typer(no_args_is_help=True, help="What follows a candidate that failed: stop, align, breathe, adjust, resume.")
app.add_typer(sabar_app, name="sabar")


@app.command()
def rollback(digest: str, by: ByOption, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Make an earlier sealed version live again, byte for byte."""
    with held_workspace(workspace, create=False) as opened:
        entry = opened.registry.rollback(digest, reason, by)
        path = opened.registry.verified(str(entry.body["weights"]))
    typer.echo(f"live again: {path} (ledger entry {entry.seq})")


@app.command()
def log(
    at: Annotated[str, typer.Option("--at", help="A time: 2026-11-24T08:00 (UTC unless it says more). Now without it.")] = "",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Which weights were live at a time, since when, and who let them live."""
    opened = opened_workspace(workspace, create=False)
    when = utc_seconds(at) if at else opened.ledger.now()
    move = opened.registry.live_at(when)
    if move is None:
        raise InputError(f"nothing was live at {utc_text(when)}; the first seal came later")
    by = move.body.get("by") or ["the gate"]
    result = {
        "weights": move.body["weights"],
        "since": utc_text(move.time),
        "entry": move.seq,
        "act": move.kind,
        "run": move.body.get("run"),
        "by": by,
    }
    show_result(result if as_json else "\n".join(f"{key}: {value}" for key, value in result.items()))


@app.command()
def erase(
    row: Annotated[str, typer.Argument(help="The row's id in the data file.")],
    by: ByOption,
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make a row of the user's data unrecognisable in every record; the ledger still verifies. Take it out of the data file yourself."""
    from dream_engine.govern import commitments

    with held_workspace(workspace, create=False) as opened:
        entry = commitments.erase(opened.ledger, opened.root / "runs", row, by, reason)
    typer.echo(f"row {row} erased from {', '.join(entry.body['runs'])} (ledger entry {entry.seq}); adapters trained on it keep what they learned")


@app.command()
def collect(
    keep_last: Annotated[int, typer.Option("--keep-last", min=1, help="How many of the last sealed versions stay.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Remove stored adapters that nothing needs: never the live one, the anchor, or what an open or held cycle stands on."""
    with held_workspace(workspace, create=False) as opened:
        gone = opened.registry.collect(keep_last, dry_run)
    typer.echo(f"{'would remove' if dry_run else 'removed'} {len(gone)} adapters" + "".join(f"\n  {digest[:12]}" for digest in gone))


@sabar_app.command("status")
def sabar_status(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Where the open SABAR stands, and what the next plan changes."""
    from dream_engine.govern import sabar

    ledger = opened_workspace(workspace, create=False).ledger
    opened, changes = sabar.current(ledger.entries()), sabar.changes_in_force(ledger.entries())
    left = max(0.0, opened.until - ledger.now()) if opened else 0.0
    if as_json:
        state = {"run": opened.run, "state": opened.state, "failing": opened.failing, "repeats": opened.repeats} if opened else None
        show_result({"open": state, "cooling_seconds_left": left, "changes": [{"key": c.key, "factor": c.factor, "rule": c.rule} for c in changes]})
        return
    if opened:
        show_result(
            f"cycle {opened.run}: {opened.state} after {', '.join(opened.failing)} (failure {opened.repeats} in a row), {left:.0f} s to cool down"
        )
        show_result("the way on: " + ("'dream sabar resume --by NAME --reason ...'" if opened.state == "adjusting" else "'dream sabar adjust'"))
    else:
        show_result("no SABAR is open")
    show_result("\n".join(f"next plan: {c.key} times {c.factor:g}, because of {c.rule}" for c in changes) or "the next plan is the configured one")


@sabar_app.command("adjust")
def sabar_adjust(config: ConfigOption = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Change the next plan by the stated rules, one for each failed test."""
    from dream_engine.govern import sabar

    cooldown = settings_of(config, None).govern.cooldown_seconds
    with held_workspace(workspace, create=False) as opened:
        changes = sabar.adjust(opened.ledger, opened.registry, cooldown)
    typer.echo("\n".join(f"{c.key} times {c.factor:g}, because of {c.rule}" for c in changes) or "no rule names a setting; change the plan yourself")


@sabar_app.command("resume")
def sabar_resume(
    by: ByOption, reason: ReasonOption, key: KeyOption = None, config: ConfigOption = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Close the review: after the cool-down, after the adjustment, when a dry check passes, and by a reviewer's signature."""
    from dream_engine.config import scaled
    from dream_engine.govern import sabar
    from dream_engine.govern.decisions import wanted

    settings = settings_of(config, None)
    with held_workspace(workspace, create=False) as opened:
        stopped = sabar.current(opened.ledger.entries())
        stake = wanted("resume", stopped.run, stopped.entry, stopped.weights) if stopped else wanted("resume", "")

        def dry_check() -> None:
            opened.ledger.verify()
            scaled(settings, [(c.key, c.factor) for c in sabar.changes_in_force(opened.ledger.entries())])
            opened.registry.verify_live()

        entry = sabar.resume(opened.ledger, decision_of(opened, stake, by, reason, key, None), dry_check)
    typer.echo(
        f"cycle {entry.body['run']}: review closed by {by} (ledger entry {entry.seq}); 'dream run' starts the next cycle with the changed plan"
    )
