"""The command that compares ways to keep a model safe while it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dream_engine.commands.shared import prepare_torch, progress
from dream_engine.errors import InputError

app = typer.Typer()


@app.command()
def study(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="YAML: teacher, arms, wakes, learning_rates, seeds.")],
    out: Annotated[Path, typer.Option("--out", help="Where results and the page go; what is there is not run again.")] = Path("runs/study"),
    shard: Annotated[str, typer.Option("--shard", help="1/3 runs the first of three parts of the settings.")] = "1/1",
    show_only: Annotated[bool, typer.Option("--show", help="Only the table and the page of what is there.")] = False,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Run arms × wakes × rates × seeds from a plan, and compare: a table, a page, a CSV."""
    from dream_engine.study.compare import counted, table
    from dream_engine.study.page import as_text, write_page
    from dream_engine.study.plan import load_plan

    plan, part = load_plan(plan_file), _part(shard)
    prepare_torch(threads)
    from dream_engine.study.run import left_to_run, read_results, run_study

    with progress(quiet=False) as show:
        results = read_results(plan, out) if show_only else run_study(plan, out, show, part)
    there = {r.setting for r in results}
    counting = counted(results, plan.loss_that_counts)
    if not counting:
        least = f"{100 * plan.loss_that_counts:g} points of T's refusals"
        raise InputError(
            f"{len(there)} settings were run and W lost {least} in none of them; raise learning_rates, or lower loss_that_counts in the plan "
            "and run the same command again: what was measured is kept"
        )
    lines = table(results, counting)
    page = write_page(plan.name, lines, [s.name for s in there - set(counting)], out)
    left = f"{len(counting)} settings counted, {len(left_to_run(plan, out))} with arms left to run"
    typer.echo("\n".join([*as_text(lines), left, f"page: {page}"]))


def _part(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise InputError(f"--shard {text!r} is not of the form 1/3")
    return int(index) - 1, int(count)
