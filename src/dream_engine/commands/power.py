"""`dream power`: what a number of prompts can see."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dream_engine.commands.shared import JsonOption
from dream_engine.errors import InputError

app = typer.Typer()


@app.command()
def power(
    n: Annotated[int | None, typer.Option("--n", help="Prompts a side: print the smallest margin that they decide.")] = None,
    margin: Annotated[float | None, typer.Option("--margin", help="A margin as a share (0.05): print how many prompts decide it.")] = None,
    flips: Annotated[float, typer.Option("--flips", help="Share of prompts that flip each way by chance between two equal models.")] = 0.1,
    chance: Annotated[float, typer.Option("--power", help="How often a model that did not change shall pass.")] = 0.8,
    as_json: JsonOption = False,
) -> None:
    """How many prompts a margin needs, or the margin that a number of prompts can decide."""
    from dream_engine.judge.stats import detectable, prompts_needed

    if (n is None) == (margin is None):
        raise InputError("give --n or --margin, one of the two")
    try:
        count = n if n is not None else prompts_needed(margin or 0, flips, chance)
        smallest = detectable(n, flips, chance) if n is not None else margin or 0
    except ValueError as error:
        raise InputError(str(error)) from error
    shown = f"{count} prompts a side decide a margin of {100 * smallest:.1f} points (flips {flips:g} each way, power {chance:g})"
    typer.echo(json.dumps({"n": count, "margin": smallest, "flips": flips, "power": chance}) if as_json else shown)
