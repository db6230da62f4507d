"""The commands of Experiment 1: replay against forgetting at a toy scale."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dream_engine.commands.shared import progress

app = typer.Typer()
lab_app = typer.Typer(no_args_is_help=True, help="Experiment 1: replay against forgetting, on a small network.")
app.add_typer(lab_app, name="lab")


class Incremental(StrEnum):
    """The three scenarios."""

    task = "task"
    domain = "domain"
    class_ = "class"


class Network(StrEnum):
    """What reads a text."""

    mlp = "mlp"
    transformer = "transformer"


@lab_app.command("run")
def lab_run(
    methods: Annotated[
        list[str] | None, typer.Argument(help="Methods beside the bounds none and joint; without any: er dgr dgr+distill bi-r.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data-dir", help="Folder with MNIST's four IDX files; scikit-learn's digits without it.")] = None,
    scenario: Annotated[Incremental, typer.Option(help="What is told and what must be told apart.")] = Incremental.class_,
    permuted: Annotated[bool, typer.Option("--permuted", help="All classes in every context, the pixels in an order of its own.")] = False,
    contexts: Annotated[int | None, typer.Option(min=1, help="How many contexts; 5, permuted 10.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to this number less one.")] = 1,
    iterations: Annotated[int | None, typer.Option(min=1, help="Steps a context; 2000, permuted 5000.")] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Hidden units a layer; 400, permuted 1000.")] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Matrix products in bfloat16.")] = False,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    rows: Annotated[Path, typer.Option(help="Where the runs are kept, and a page beside them; runs that are in it are not run again.")] = Path(
        "runs/lab.jsonl"
    ),
) -> None:
    """Learn the contexts one after the other with each method, and show what was kept."""
    from dataclasses import replace
    from functools import partial

    import torch

    from dream_engine.lab.data import read_digits, read_mnist
    from dream_engine.lab.methods import PERMUTED_PLAN, Plan
    from dream_engine.lab.page import write_runs
    from dream_engine.lab.published import compared
    from dream_engine.lab.reproduce import dealt, stream_of
    from dream_engine.lab.table import lines, run_all
    from dream_engine.report.charts import available

    torch.set_num_threads(threads)
    train, test = read_mnist(data, pad=2 if permuted else 0) if data else read_digits(0)
    count = contexts or (10 if permuted else 5)
    streams = partial(stream_of, permuted, train, test, scenario.value, count)
    plan = PERMUTED_PLAN if permuted else Plan()
    plan = replace(plan, iterations=iterations or plan.iterations, hidden=hidden or plan.hidden, bf16=bf16)
    source = f"{'permuted' if permuted else 'split'} {'mnist' if data else 'digits'}"
    with progress(quiet=False) as show:
        names = methods or ["er", "dgr", "dgr+distill", "bi-r"]
        runs = run_all(streams, names, range(seeds), plan, rows, source, show, version=dealt(train, test))
    typer.echo("\n".join(lines(runs)))
    if data:
        typer.echo("\n" + "\n".join(compared(source, runs)))
    page = write_runs(f"{source}, {scenario.value} incremental", runs, rows.with_suffix(".html")) if available() else "none without matplotlib"
    typer.echo(f"\npage: {page}")


@lab_app.command("reproduce")
def lab_reproduce(
    data: Annotated[Path, typer.Option("--data-dir", help="Folder with MNIST's four IDX files.")],
    full: Annotated[
        bool, typer.Option("--full", help="All methods, five seeds, task and domain incremental, permuted MNIST: hours, unattended.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Matrix products in bfloat16.")] = False,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    rows: Annotated[Path, typer.Option(help="Where the runs are kept; a killed command goes on where it was.")] = Path("runs/lab-mnist.jsonl"),
) -> None:
    """Run the published tables again at their settings: none, joint, DGR, DGR + distillation, BI-R on split MNIST, three seeds."""
    import torch

    from dream_engine.lab.reproduce import reproduce
    from dream_engine.lab.table import comparisons

    torch.set_num_threads(threads)
    with progress(quiet=False) as show:
        reproduce(data, full, bf16, rows, show)
    typer.echo("\n".join(comparisons([rows])))


@lab_app.command("table")
def lab_table(
    rows: Annotated[list[Path] | None, typer.Argument(help="Files of runs that 'dream lab run' or 'reproduce' kept.")] = None,
) -> None:
    """Published, ours with its interval, and whether that is a reproduction; for every setting in the files."""
    from dream_engine.lab.table import comparisons

    typer.echo("\n".join(comparisons(rows or [Path("runs/lab.jsonl")])))


@lab_app.command("text")
def lab_text(
    tables: Annotated[
        list[Path] | None,
        typer.Argument(help="CSV files with text,label[,split], a context each, in order; without any the policy pack's text."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="Beside none and joint; without any: er-1% er-5%, and dgr+distill bi-r (mlp) or n-gram lamol (transformer)."),
    ] = None,
    network: Annotated[Network, typer.Option(help="An MLP on bags of words, or a small transformer on their sequence.")] = Network.mlp,
    scenario: Annotated[
        Incremental, typer.Option(help="task: a label among the context's own; class: among all so far, for texts that belong to one context only.")
    ] = Incremental.task,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    iterations: Annotated[int, typer.Option(min=1, help="Steps a context.")] = 500,
    hidden: Annotated[int, typer.Option(min=1)] = 400,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    rows: Annotated[Path, typer.Option(help="Where the runs are kept; runs that are in it are not run again.")] = Path("runs/lab-text.jsonl"),
) -> None:
    """Safety text: unsafe or not, then other tasks; macro F1 of each context after each."""
    import torch

    from dream_engine.lab.learners import class_mean_f1
    from dream_engine.lab.methods import Plan
    from dream_engine.lab.table import by_context, lines, run_all
    from dream_engine.lab.text import own_tables, read_table, text_stream, word_stream
    from dream_engine.policy.pack import load_pack

    torch.set_num_threads(threads)
    read = [read_table(path) for path in tables] if tables else own_tables(load_pack(), 900, 0)
    written = network is Network.transformer
    stream, plan = (word_stream if written else text_stream)(read, scenario.value), Plan(iterations=iterations, hidden=hidden)
    source = "\n".join(f"{path.resolve()} {path.stat().st_size}" for path in tables or []) or "policy pack"
    names = methods or ["er-1%", "er-5%", *(("n-gram", "lamol") if written else ("dgr+distill", "bi-r"))]
    with progress(quiet=False) as show:
        runs = run_all(lambda _: stream, names, range(seeds), plan, rows, "text", show, class_mean_f1, f"{network.value} {source}")
    typer.echo("\n".join(["macro F1", *lines(runs), "", *by_context(runs, [c.name for c in stream.contexts])]))


@lab_app.command("sweep")
def lab_sweep(
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    page: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("runs/lab-sweep.html"),
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """A generator spoiled step by step on scikit-learn's digits: accuracy, ΔS and verdict of each."""
    import torch

    from dream_engine.lab.data import read_digits
    from dream_engine.lab.demo import night_stream
    from dream_engine.lab.page import write_sweep
    from dream_engine.lab.sweep import lines, sweep

    torch.set_num_threads(threads)
    with progress(quiet=False) as show:
        found = sweep(night_stream(*read_digits(seed)), seed, show)
    typer.echo("\n".join(lines(found)))
    typer.echo(f"page: {write_sweep(found, page)}")


@lab_app.command("consolidate")
def lab_consolidate(
    data: Annotated[Path | None, typer.Option("--data-dir", help="Folder with MNIST's four IDX files; scikit-learn's digits without it.")] = None,
    patterns: Annotated[int, typer.Option(min=1, help="Experiences in the memory at first.")] = 1000,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    fading: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the memory that is forgotten after each epoch.")] = 0.2,
    hidden: Annotated[int, typer.Option(min=1)] = 400,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """A Hopfield memory, reactivated from noise, teaches a VAE while it fades (Spens & Burgess 2024)."""
    import torch

    from dream_engine.lab.data import read_digits, read_mnist
    from dream_engine.lab.hopfield import Memory, consolidate, course

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    train, test = read_mnist(data) if data else read_digits(seed)
    rng = torch.Generator().manual_seed(seed)
    stored = train.x[torch.randperm(len(train), generator=rng)[:patterns]]
    done = consolidate(Memory(stored), test.x[:1000], hidden, epochs, len(stored), rng, fading=fading)
    typer.echo("\n".join(course(done)))


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
    with progress(quiet=False) as show:
        done = demo(split_stream(train, test, "class", 5), night_stream(train, test), folder, seed, show)
    typer.echo("\n".join(lines(done.runs)))
    for name, night in done.nights.items():
        typer.echo(f"{name:34s} {night.gated.verdict.name:13s} {', '.join(night.gated.verdict.failing or night.gated.verdict.undecided)}")
    typer.echo(f"page: {write_page(done, folder / 'lab.html')}")
    raise typer.Exit(1 if wrong_verdicts(done.nights) else 0)
