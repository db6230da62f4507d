"""The commands by which people decide: review cycle, review answers, approve, reject, sign, keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_engine.commands.shared import (
    DEFAULT_WORKSPACE,
    EXIT,
    ByOption,
    JsonOption,
    KeyOption,
    ReasonOption,
    SignedOption,
    WorkspaceOption,
    decision_of,
    held_workspace,
    opened_workspace,
    show_result,
    signer_of,
    utc_text,
)
from dream_engine.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from dream_engine.govern.decisions import Act
    from dream_engine.workspace import Workspace

app = typer.Typer()
keys_app = typer.Typer(no_args_is_help=True, help="Who may decide: reviewers and their keys.")
app.add_typer(keys_app, name="keys")
review_app = typer.Typer(no_args_is_help=True, help="Look before deciding: a held cycle, or dreams before they are trained on.")
app.add_typer(review_app, name="review")


@review_app.command("cycle")
def review(cycle: str, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show what a decision on a held cycle would sign: the candidate, why it is held, and its numbers."""
    from dream_engine.govern.approvals import held_cycle, signatures_needed, still_valid

    opened = opened_workspace(workspace, create=False)
    held = held_cycle(opened.ledger, cycle)
    given = [d.decision.by for d in still_valid(opened.ledger, held)]
    result = {"run": cycle, "entry": held.hash, "weights": held.body["weights"], "reasons": held.body["reasons"], "failing": held.body["failing"]}
    if as_json:
        show_result({**result, "approved_by": given, "table": held.body["table"], "standing": held.body["standing"]})
        return
    show_result("\n".join([f"{key}: {value}" for key, value in result.items()]))
    show_result(f"report: {opened.run_folder(cycle) / 'report.html'}\napproved so far by: {', '.join(given) or 'nobody'}")
    show_result(f"signatures needed: {signatures_needed(held)}")


@review_app.command("answers")
def review_answers(
    cycle: str,
    to: Annotated[Path | None, typer.Option("--to", help="Write a form: blinded pairs of W's and C's answers to plain requests (CSV).")] = None,
    filled: Annotated[Path | None, typer.Option("--from", help="Read a form that was filled in.")] = None,
    count: Annotated[int, typer.Option("--pairs", min=1, help="Pairs in a form.")] = 30,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Let people rate tone and usefulness of C's answers beside W's. The verdict on it goes into the ledger; nothing is promoted."""
    from dream_engine.files import write_json, write_whole
    from dream_engine.judge import ratings
    from dream_engine.judge.gate import gate
    from dream_engine.results import verdict_json

    if (to is None) == (filled is None):
        raise InputError("say either --to FILE (write a form) or --from FILE (read one that was filled in)")
    with held_workspace(workspace, create=False) as opened:
        pairs = ratings.pairs_of(*(_stored(opened, cycle, name) for name in ("W", "C")))
        if len(pairs) < ratings.LEAST:
            needed = f"{ratings.LEAST} are needed (judge.store_answers: true keeps them)"
            raise InputError(f"cycle {cycle} holds {len(pairs)} plain requests to which W and C gave different answers; {needed}")
        if to:
            write_whole(to, ratings.form(pairs, cycle, count, seed=0))
            show_result({"pairs": min(count, len(pairs))} if as_json else f"wrote {min(count, len(pairs))} pairs to {to}")
            return
        gated = gate(ratings.rating_tests(ratings.filled_in(_text_of(filled), pairs, cycle), seed=0))
        result = verdict_json(gated)
        write_json(opened.run_folder(cycle) / "ratings.json", result)
        opened.ledger.append("ratings", {"run": cycle, "verdict": gated.verdict.name, "failing": list(gated.verdict.failing)})
    show_result(result if as_json else "\n".join([f"rated by people: {gated.verdict.name}", *(f"  - {d.why}" for d in gated.decisions)]))
    raise typer.Exit(EXIT[gated.verdict.name])


def _stored(opened: Workspace, cycle: str, model: str) -> list[dict[str, Any]]:
    from dream_engine.files import read_jsonl

    path = opened.run_folder(cycle) / "eval" / f"{model}.jsonl"
    if not path.is_file():
        raise InputError(f"cycle {cycle} has no measured answers of {model}; only a cycle after a wake has W and C, see 'dream status'")
    try:
        return read_jsonl(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is damaged ({error}); restore it from a copy, or run the cycle again") from error


def _text_of(path: Path | None) -> str:
    if path is None or not path.is_file():
        raise InputError(f"{path} does not exist; --to writes a form first")
    return path.read_text(encoding="utf-8-sig", errors="replace")


@app.command()
def approve(
    cycle: str,
    by: ByOption = "",
    reason: ReasonOption = "",
    key: KeyOption = None,
    signed: SignedOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Let a held candidate live, by a reviewer's signature (two people where a critical category or another test failed)."""
    from dream_engine.govern import approvals

    with held_workspace(workspace, create=False) as opened:
        held = approvals.held_cycle(opened.ledger, cycle)
        needed = approvals.signatures_needed(held)
        decision = decision_of(opened, approvals.at_stake(held, "approve"), by, reason, key, signed)
        entry = approvals.approve(opened.ledger, opened.registry, decision)
    who = ", ".join(entry.body["by"])
    if entry.kind == "promote":
        typer.echo(f"cycle {cycle} approved by {who}: {str(entry.body['weights'])[:12]} is live (ledger entry {entry.seq})")
    else:
        typer.echo(f"cycle {cycle} approved by {who}; {needed - len(entry.body['by'])} more person must approve (ledger entry {entry.seq})")


@app.command()
def reject(
    cycle: str,
    by: ByOption = "",
    reason: ReasonOption = "",
    key: KeyOption = None,
    signed: SignedOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Close a hold without release, by a reviewer's signature."""
    from dream_engine.govern import approvals

    with held_workspace(workspace, create=False) as opened:
        stake = approvals.at_stake(approvals.held_cycle(opened.ledger, cycle), "reject")
        entry = approvals.reject(opened.ledger, decision_of(opened, stake, by, reason, key, signed))
    typer.echo(f"cycle {cycle} rejected by {', '.join(entry.body['by'])} (ledger entry {entry.seq}); the sealed weights stay live")


@app.command()
def sign(
    cycle: str,
    act: Annotated[str, typer.Argument(help="approve or reject")],
    out: Annotated[Path, typer.Option("--out", help="Where to write the signed decision.")],
    by: ByOption,
    reason: ReasonOption,
    key: KeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Sign a decision without acting on it; whoever runs the engine passes the file to approve or reject with --signed."""
    from dream_engine.files import write_json
    from dream_engine.govern import approvals

    acts: dict[str, Act] = {"approve": "approve", "reject": "reject"}
    if act not in acts:
        raise InputError(f"{act!r} is neither 'approve' nor 'reject'")
    opened = opened_workspace(workspace, create=False)
    decision = decision_of(opened, approvals.at_stake(approvals.held_cycle(opened.ledger, cycle), acts[act]), by, reason, key, None)
    write_json(out, decision.to_json())
    typer.echo(f"wrote {out}; it may be used until {utc_text(decision.decision.expires)}")


@keys_app.command("new")
def keys_new(
    name: str,
    file: Annotated[Path | None, typer.Option("--file", help="Where the secret goes; ~/.config/dream-engine/NAME.key without it.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="A key that stands for nobody; it counts only while no person is registered.")] = False,
    sponsor: Annotated[str, typer.Option("--sponsor", help="A registered person who brings this one in.")] = "",
    sponsor_key: Annotated[Path | None, typer.Option("--sponsor-key", help="The sponsor's secret key file.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make a reviewer's key (or take the one in --file) and register it. The first person is trusted on first use, later ones need a sponsor."""
    from dream_engine.govern import reviewers
    from dream_engine.govern.decisions import decide, wanted
    from dream_engine.govern.keys import LocalSigner, new_key, read_key, reviewer_file

    path = file or reviewer_file(name)
    with held_workspace(workspace) as opened:
        reviewers.refuse_unless_addable(opened.ledger, name, not demo, sponsor)
        public = LocalSigner(name, read_key(path) if path.exists() else new_key(path)).public
        stake = wanted("add_reviewer", name, weights=str(public))
        signed = decide(opened.ledger, signer_of(sponsor, sponsor_key), stake, f"brings in {name}") if sponsor else None
        entry = reviewers.add(opened.ledger, public, not demo, signed)
    typer.echo(f"reviewer {name}: secret in {path}, registered as {public} (ledger entry {entry.seq})")


@keys_app.command("revoke")
def keys_revoke(name: str, by: ByOption, reason: ReasonOption, key: KeyOption = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Take a reviewer's key out; approvals that it gave and that were not used yet no longer count."""
    from dream_engine.govern import reviewers
    from dream_engine.govern.decisions import wanted

    with held_workspace(workspace, create=False) as opened:
        known = reviewers.active(opened.ledger)
        stake = wanted("revoke_reviewer", name, weights=str(known[name].key) if name in known else "")
        entry = reviewers.revoke(opened.ledger, name, decision_of(opened, stake, by, reason, key, None))
    typer.echo(f"reviewer {name} revoked by {by} (ledger entry {entry.seq})")


@keys_app.command("list")
def keys_list(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Print who may decide."""
    from dream_engine.govern.reviewers import active

    known = active(opened_workspace(workspace, create=False).ledger)
    if as_json:
        show_result([{"name": r.name, "key": str(r.key), "human": r.human} for r in known.values()])
    else:
        show_result(
            "\n".join(f"{r.name:20s} {'person' if r.human else 'demo  '}  {r.key}" for r in known.values()) or "nobody yet; 'dream keys new NAME'"
        )
