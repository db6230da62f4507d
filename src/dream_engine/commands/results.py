"""The commands by which results leave: eval, export, diff."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dream_engine.commands.shared import (
    DEFAULT_WORKSPACE,
    ConfigOption,
    JsonOption,
    SetOption,
    WorkspaceOption,
    opened_workspace,
    prepare_torch,
    progress,
    settings_of,
    show_result,
)
from dream_engine.errors import InputError

app = typer.Typer()
export_app = typer.Typer(no_args_is_help=True, help="Take a sealed adapter, a merged model, or a cycle's dreams elsewhere, with a card.")
app.add_typer(export_app, name="export")
ToOption = Annotated[Path, typer.Option("--to", help="A new or empty folder.")]
VersionOption = Annotated[str, typer.Option("--version", help="Beginning of a sealed digest; the live one without it.")]


class Format(StrEnum):
    """In whose format an evaluation is written."""

    native = "native"
    lm_eval = "lm-eval"
    inspect = "inspect"


@app.command("eval")
def evaluate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the result.")],
    adapter: Annotated[Path | None, typer.Option("--adapter", help="PEFT folder; the bare base without it.")] = None,
    base: Annotated[str, typer.Option("--base", help="A folder or hub id; model.name without it.")] = "",
    answers: Annotated[
        Path | None, typer.Option("--answers", help="Grade the answers in a log of lm-eval or Inspect instead of asking a model.")
    ] = None,
    kind: Annotated[Format, typer.Option("--format", help="native, lm-eval or inspect.")] = Format.native,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure one model on the suites: refusals by side with intervals. No gate, no ledger."""
    settings = settings_of(config, [*(overrides or []), *([f"model.name={json.dumps(base)}"] if base else [])])
    with progress(as_json) as show:
        from dream_engine.evaluate import evaluate_answers, evaluate_model, write_evaluation

        if answers:
            report, suites = evaluate_answers(settings, answers)
        else:
            prepare_torch(settings.model.threads)
            report, suites = evaluate_model(settings, adapter, show)
        name = str(adapter or settings.model.name)
        files = write_evaluation(report, suites, name, out, kind.value, settings.seed)
    from dream_engine.report.text import column_text
    from dream_engine.results import column_json

    column = column_json(report.evaluation, settings.seed)
    show_result({"model": name, "measured": column, "files": [str(f) for f in files]} if as_json else column_text(column, files))


@export_app.command("adapter")
def export_adapter(to: ToOption, version: VersionOption = "", workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """A sealed version as a plain PEFT folder with a model card."""
    from dream_engine.export import export_adapter as exported

    typer.echo(f"wrote {exported(opened_workspace(workspace, create=False), to, version)}")


@export_app.command("merged")
def export_merged(to: ToOption, version: VersionOption = "", workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """A sealed version merged into its base, as a whole model folder."""
    opened = opened_workspace(workspace, create=False)
    prepare_torch()
    from dream_engine.export import export_merged as exported

    typer.echo(f"wrote {exported(opened, to, version)}")


@export_app.command("dreams")
def export_dreams(run: str, to: ToOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """The kept dreams of a cycle as a data set with a card; each row says under which terms it stands."""
    from dream_engine.export import export_dreams as exported

    typer.echo(f"wrote {exported(opened_workspace(workspace, create=False), run, to)} dreams to {to}")


@app.command()
def diff(first: str, second: str, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """What two cycles did differently: settings, verdicts, and the candidate's numbers side by side."""
    from dream_engine.report.text import diff_text
    from dream_engine.results import difference

    opened = opened_workspace(workspace, create=False)
    found = difference(*(_run_of(opened.run_folder(run), run) for run in (first, second)))
    show_result(found if as_json else diff_text(found, first, second))


def _run_of(folder: Path, run: str) -> dict[str, Any]:
    """A finished cycle's gate and configuration."""
    files = {"gate": folder / "gate.json", "config": folder / "config.resolved.json"}
    if not all(path.is_file() for path in files.values()):
        raise InputError(f"cycle {run!r} has not ended in this workspace; 'dream status' lists the cycles")
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
