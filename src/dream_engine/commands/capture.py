"""The commands of Δ: what the model lived through, without personal data, and how it is forgotten."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from dream_engine.commands.shared import (
    DEFAULT_WORKSPACE,
    ByOption,
    ConfigOption,
    JsonOption,
    ReasonOption,
    SetOption,
    WorkspaceOption,
    held_workspace,
    opened_workspace,
    settings_of,
    show_result,
    utc_text,
)
from dream_engine.errors import InputError

app = typer.Typer()
capture_app = typer.Typer(no_args_is_help=True, help="Δ Chat logs in, personal data out: the episodic buffer.")
app.add_typer(capture_app, name="capture")


@capture_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON, CSV or Parquet: messages, prompt/completion, Alpaca, ShareGPT or OpenAI logs.")],
    source: Annotated[str, typer.Option("--source", help="Who or what it came from; `forget` removes by it. The file's name without it.")] = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Read chat logs, replace personal data, keep a bounded sample."""
    from dream_engine.capture.engines import engine_named
    from dream_engine.capture.episodes import Buffer, Limits, import_logs
    from dream_engine.govern.commitments import committed
    from dream_engine.policy.declining import declines
    from dream_engine.types import canonical_json, derive_seed

    settings = settings_of(config, overrides)
    limits = Limits(settings.capture.buffer_size, settings.capture.per_source, settings.capture.retention_days)
    engine = engine_named(settings.capture.personal_engine)
    with held_workspace(workspace) as opened:
        seed = derive_seed(settings.seed, "capture")
        done, kept = import_logs(file, Buffer(opened.root), source or file.stem, declines, limits, seed, engine)
        folder = opened.root / "capture" / f"{opened.ledger.size + 1:06d}"
        root = committed(folder, {e.id: canonical_json(e.to_json()) for e in kept})
        counts = {"kept": done.kept, "left_out": done.left_out, "replaced": done.replaced, "formats": done.formats}
        entry = opened.ledger.append("capture", {**counts, "episodes": root, "folder": folder.name})
    lines = [f"{count} rows read as {name}" for name, count in done.formats.items()]
    lines += [f"{done.kept} episodes kept" + "".join(f"; {count} left out: {reason}" for reason, count in done.left_out.items())]
    lines += ["replaced: " + (", ".join(f"{count} x {kind}" for kind, count in done.replaced.items()) or "nothing")]
    show_result({**counts, "entry": entry.seq} if as_json else "\n".join([*lines, f"ledger entry {entry.seq}"]))


@capture_app.command("show")
def show(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """What the buffer holds: counts by source and outcome, and from when to when. No text."""
    from dream_engine.capture.episodes import Buffer

    episodes = Buffer(opened_workspace(workspace, create=False).root).read()
    if not episodes:
        raise InputError(f"the buffer of {workspace} is empty; 'dream capture import FILE' fills it")
    state = {
        "episodes": len(episodes),
        "sources": dict(sorted(Counter(e.source for e in episodes).items())),
        "outcomes": dict(sorted(Counter(e.outcome for e in episodes).items())),
        "from": utc_text(episodes[0].time),
        "to": utc_text(episodes[-1].time),
    }
    show_result(state if as_json else "\n".join(f"{key}: {value}" for key, value in state.items()))


@capture_app.command("forget")
def forget(
    source: Annotated[str, typer.Option("--source", help="The source whose episodes go.")],
    by: ByOption,
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Erase a source: its episodes, the dreams made of them, and the salts behind their commitments. The ledger still verifies."""
    from dream_engine.capture.episodes import Buffer, forget_in_runs
    from dream_engine.govern.commitments import read, throw_away

    with held_workspace(workspace, create=False) as opened:
        buffer = Buffer(opened.root)
        ids = {e.id for e in buffer.read() if e.source == source}
        folders = [folder for folder in sorted((opened.root / "capture").glob("*")) if ids & set(read(folder))]
        values = [c.value for folder in folders for id, c in read(folder).items() if id in ids]
        if ids:
            entry = opened.ledger.append("forget", {"episodes": len(ids), "commitments": values, "by": [by], "reason": reason})
        buffer.forget(source)
        blanked = forget_in_runs(opened.root / "runs", ids)
        for folder in folders:
            throw_away(folder, ids)
    typer.echo(f"{len(ids)} episodes and {blanked} dreams forgotten (ledger entry {entry.seq}); adapters trained on them keep what they learned")
