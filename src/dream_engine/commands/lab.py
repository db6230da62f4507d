"""The commands of Experiment 1: replay against forgetting at a toy scale."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
lab_app = typer.Typer(no_args_is_help=True, help="Experiment 1: replay against forgetting, on a small network.")
app.add_typer(lab_app, name="lab")


class Incremental(StrEnum):
    """The three scenarios."""

    task = "task"
    domain = "domain"
    class_ = "class"


@lab_app.command("run")
def lab_run(
    methods: Annotated[
        list[str] | None, typer.Argument(help="Methods beside the bounds none and joint; without any: er dgr dgr+distill bi-r.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data-dir", help="Folder with MNIST's four IDX files; scikit-learn's digits without it.")] = None,
    scenario: Annotated[Incremental, typer.Option(help="What is told and what must be told apart.")] = Incremental.class_,
    contexts: Annotated[int, typer.Option(min=1, help="Into how many contexts the classes are split.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to this number less one.")] = 1,
    iterations: Annotated[int, typer.Option(min=1, help="Steps a context.")] = 2000,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units a layer.")] = 400,
    bf16: Annotated[bool, typer.Option("--bf16", help="Matrix products in bfloat16.")] = False,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    rows: Annotated[Path, typer.Option(help="Where the runs are kept; runs that are in it are not run again.")] = Path("runs/lab.jsonl"),
) -> None:
    """Learn the contexts one after the other with each method, and show what was kept."""
    import torch

    from dream_engine.lab.data import read_digits, read_mnist, split_stream
    from dream_engine.lab.methods import Plan
    from dream_engine.lab.table import lines, run_all

    torch.set_num_threads(threads)
    train, test = read_mnist(data) if data else read_digits(0)
    stream = split_stream(train, test, scenario.value, contexts)
    plan = Plan(iterations=iterations, hidden=hidden, bf16=bf16)
    names = methods or ["er", "dgr", "dgr+distill", "bi-r"]
    source = str(data.resolve()) if data else "digits"
    runs = run_all(stream, names, range(seeds), plan, rows, source, lambda text: typer.echo(text, err=True))
    typer.echo("\n".join(lines(runs)))


@lab_app.command("demo")
def lab_demo(
    folder: Annotated[Path, typer.Option("--out", help="Where the page and the runs go.")] = Path("runs/lab-demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """A minute on scikit-learn's digits: five methods, nights spoiled on purpose, one page."""
    import torch

    from dream_engine.lab.data import read_digits, split_stream
    from dream_engine.lab.demo import demo, night_stream, wrong_verdicts
    from dream_engine.lab.page import write_page
    from dream_engine.lab.table import lines

    torch.set_num_threads(threads)
    train, test = read_digits(seed)
    done = demo(split_stream(train, test, "class", 5), night_stream(train, test), folder, seed, lambda text: typer.echo(text, err=True))
    typer.echo("\n".join(lines(done.runs)))
    for name, night in done.nights.items():
        typer.echo(f"{name:34s} {night.gated.verdict.name:13s} {', '.join(night.gated.verdict.failing or night.gated.verdict.undecided)}")
    typer.echo(f"page: {write_page(done, folder / 'lab.html')}")
    raise typer.Exit(1 if wrong_verdicts(done.nights) else 0)
