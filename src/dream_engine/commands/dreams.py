"""The commands around Ω: dreams before they are trained on, reviewed by people; scenarios that people add."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_engine.commands.decisions import review_app
from dream_engine.commands.shared import (
    DEFAULT_WORKSPACE,
    ConfigOption,
    JsonOption,
    SetOption,
    WorkspaceOption,
    held_workspace,
    prepare_torch,
    progress,
    settings_of,
    show_result,
)
from dream_engine.errors import InputError

if TYPE_CHECKING:
    from dream_engine.dream.archive import Archive

app = typer.Typer()
archive_app = typer.Typer(no_args_is_help=True, help="Scenarios that were hard, and scenarios beside the pack's.")
app.add_typer(archive_app, name="archive")


class Format(StrEnum):
    """How a review travels."""

    jsonl = "jsonl"
    csv = "csv"
    label_studio = "label-studio"
    argilla = "argilla"


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="Folder for dreams.jsonl and blocked.jsonl.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write the dreams that the next cycle would rehearse, for people to look at; `dream run` goes on from there."""
    settings = settings_of(config, overrides)
    with held_workspace(workspace) as opened, progress(as_json) as show:
        prepare_torch(settings.model.threads)
        from dream_engine.cycle import generate as generated

        folder = generated(settings, opened, show)
        if folder is None:
            show_result(
                {"dreams": 0} if as_json else "there is nothing to dream about: W is inside the noise of T, or a first model is taken as it is"
            )
            return
        out.mkdir(parents=True, exist_ok=True)
        counts = {name: _copied(folder / f"{name}.jsonl", out) for name in ("dreams", "blocked")}
    show_result({**counts, "run": folder.name} if as_json else f"{counts['dreams']} dreams and {counts['blocked']} blocked ones written to {out}")


@review_app.command("dreams")
def review_dreams(
    file: Annotated[Path, typer.Argument(help="dreams.jsonl as `dream generate` writes it; marks are written into it.")],
    by: Annotated[str, typer.Option("--by", help="Who looks (for the pager).")] = "",
    to: Annotated[Path | None, typer.Option("--to", help="Write the dreams for another tool instead.")] = None,
    marks: Annotated[Path | None, typer.Option("--from", help="Read marks from another tool's file instead.")] = None,
    kind: Annotated[Format, typer.Option("--as", help="Format of --to or --from.")] = Format.csv,
) -> None:
    """Look at dreams one by one (keep, drop, edit), or hand them to another tool and take its marks back."""
    from dream_engine.dream import review
    from dream_engine.files import write_whole

    rows = review.read_rows(file)
    if to:
        write_whole(to, review.write_as(kind.value, rows))
        typer.echo(f"wrote {len(rows)} dreams to {to}")
        return
    if marks:
        if not marks.is_file():
            raise InputError(f"{marks} does not exist; --to writes a file for reviewers first")
        found = review.marks_from(kind.value, marks.read_text(encoding="utf-8-sig", errors="replace"))
    else:
        found = _paged(rows, by)
    write_whole(file, review.text_of(review.marked(rows, found)))
    left = review.reviewed(review.read_rows(file))
    typer.echo(f"{len(found)} marks; {left.removed} of {left.of} dreams removed, {left.edited} edited; train with: dream run --dreams {file}")


@archive_app.command("add")
def archive_add(
    file: Annotated[Path, typer.Argument(help="JSONL or CSV with category, harm and twin.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Add scenarios that the pack lacks: a harmful request and its harmless look-alike each."""
    from dream_engine.capture.added import add
    from dream_engine.policy.pack import load_pack
    from dream_engine.types import digest

    pack = load_pack(settings_of(config, overrides).policy.pack)
    with held_workspace(workspace) as opened:
        count = add(file, opened.root, set(pack.categories))
        entry = opened.ledger.append("archive", {"added": count, "file": digest(file.read_bytes())})
    typer.echo(f"{count} pairs added; the next dreams hold them (ledger entry {entry.seq})")


@archive_app.command("show")
def archive_show(
    config: ConfigOption = None, overrides: SetOption = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False
) -> None:
    """Show the archive: the score of the hardest pair in each cell of category × style × language, coverage, and blind spots."""
    from dream_engine.dream.archive import Archive
    from dream_engine.policy.pack import load_pack

    expected = load_pack(settings_of(config, overrides).policy.pack).cells()
    archive = Archive.load(workspace)
    hardest = archive.hardest()
    if not hardest:
        raise InputError(f"the archive of {workspace} is empty; a cycle with dream.pool fills it: dream run --set dream.pool=600")
    blind = archive.blind_spots(expected)
    if as_json:
        cells = [{"cell": list(cell), "pairs": len(archive.cells[cell]), "night": e.night, **asdict(e.fitness)} for cell, e in hardest.items()]
        show_result({"coverage": archive.coverage(expected), "blind_spots": [list(cell) for cell in blind], "cells": cells})
        return
    show_result("\n".join([*_archive_lines(archive), f"coverage {archive.coverage(expected):.0%} of {len(expected)} cells of the pack's grammar"]))
    if blind:
        show_result("blind spots: " + ", ".join(" · ".join(cell) for cell in blind))


def _archive_lines(archive: Archive) -> Iterator[str]:
    """A line a cell, the hardest first."""
    yield f"{'cell':48s} {'score':>6s} {'KL':>6s} {'wrong':>6s} {'pairs':>5s}  night"
    for cell, e in sorted(archive.hardest().items(), key=lambda item: -item[1].fitness.score):
        wrong = "–" if e.fitness.wrong is None else f"{e.fitness.wrong:.1f}"
        yield f"{' · '.join(cell):48s} {e.fitness.score:6.2f} {e.fitness.kl:6.2f} {wrong:>6s} {len(archive.cells[cell]):5d}  {e.night}"


def _copied(source: Path, folder: Path) -> int:
    """Copies a file of rows; returns how many there are."""
    shutil.copy(source, folder / source.name)
    return len(source.read_text(encoding="utf-8").splitlines())


def _paged(rows: list[dict[str, Any]], by: str) -> dict[str, Any]:
    """Asks for each dream without a mark; q ends and keeps what was marked."""
    from dream_engine.dream.review import Mark

    if not by.strip():
        raise InputError("a review needs a name: --by NAME")
    found: dict[str, Mark] = {}
    open_ = [row for row in rows if not row["meta"].get("review")]
    for number, row in enumerate(open_, 1):
        request, answer = (repr(turn["content"]) for turn in row["messages"][-2:])
        typer.echo(
            f"\n[{number}/{len(open_)}] {row['meta']['side']} · {row['meta']['category']} · {row['meta']['generator']}\n  {request}\n  → {answer}"
        )
        word = typer.prompt("keep, drop, edit or quit", default="k").strip().lower()[:1]
        if word == "q":
            break
        if word not in ("k", "d", "e"):
            typer.echo("not understood; it stays unmarked")
            continue
        texts = (
            {key: typer.prompt(f"new {key} (empty: as it is)", default="", show_default=False) for key in ("request", "answer")}
            if word == "e"
            else {}
        )
        reason = typer.prompt("why", default="", show_default=False) if word != "k" else ""
        found[str(row["meta"]["id"])] = Mark({"k": "keep", "d": "drop", "e": "edit"}[word], by, reason, **texts)  # type: ignore[arg-type]
    return found
