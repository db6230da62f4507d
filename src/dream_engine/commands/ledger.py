"""The commands of the ledger, of the process that signs it, and of its witness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dream_engine.commands.shared import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, held_workspace, opened_workspace, show_result
from dream_engine.errors import IntegrityError

app = typer.Typer()
ledger_app = typer.Typer(no_args_is_help=True, help="The append-only log of every cycle.")
app.add_typer(ledger_app, name="ledger")
witness_app = typer.Typer(no_args_is_help=True, help="A witness, which cosigns a log only as long as it grows honestly.")
app.add_typer(witness_app, name="witness")

WitnessFolder = Annotated[Path, typer.Option("--folder", help="The witness's own memory and key, out of the engine's reach.")]
LogKey = Annotated[str, typer.Option("--key", help="The log's verifier key, as the witness was given it.")]


@ledger_app.command("show")
def ledger_show(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Print every entry."""
    entries = list(opened_workspace(workspace, create=False).ledger.entries())
    if as_json:
        show_result([{"seq": e.seq, "hash": e.hash, "body": e.body} for e in entries])
    else:
        show_result(
            "\n".join(
                f"{e.seq:4d}  {e.hash[:12]}  {e.kind:9s} {e.body.get('run', ''):14s} {e.body.get('verdict', '')} {e.body.get('reason', '')}"
                for e in entries
            )
        )


@ledger_app.command("verify")
def ledger_verify(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    head: Annotated[str, typer.Option("--head", help="The head hash you wrote down.")] = "",
    key: Annotated[str, typer.Option("--key", help="The log's verifier key, from 'dream ledger key', kept elsewhere.")] = "",
    witness: Annotated[list[str] | None, typer.Option("--witness", help="A witness's verifier key; may be given again.")] = None,
) -> None:
    """Recompute every hash and the tree. Without --head a cut-off end cannot be noticed; without --key nothing signed is checked."""
    from dream_engine.govern.approvals import unapproved_promotions
    from dream_engine.govern.ledger import LEVELS
    from dream_engine.govern.notes import PublicKey

    opened = opened_workspace(workspace, create=False)
    found = opened.ledger.verify(head or None, PublicKey.parse(key) if key else None, [PublicKey.parse(w) for w in witness or []])
    for weights in opened.registry.sealed():
        opened.registry.verified(weights)
    for entry in unapproved_promotions(opened.ledger):
        raise IntegrityError(f"entry {entry.seq} promotes held cycle {entry.body['run']} without the signatures that it needs")
    pinned = "the pinned head is in it" if head else "no head was given, so a cut-off end would go unnoticed"
    typer.echo(f"{found.entries} entries verify at level {LEVELS[found.level]}; {pinned}; head {opened.ledger.head}")


@ledger_app.command("key")
def ledger_key(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Print the log's verifier key. Keep it where this workspace's owner cannot change it."""
    typer.echo(str(opened_workspace(workspace, create=False).ledger.verifier_key()))


@ledger_app.command("export")
def ledger_export(
    file: Annotated[Path, typer.Argument(help="Where to write the export.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write the whole log to one file, which tools/verify_ledger.py verifies without this program."""
    from dream_engine.files import write_whole

    opened = opened_workspace(workspace, create=False)
    write_whole(file, opened.ledger.export().decode())
    typer.echo(f"{file}: {opened.ledger.checkpoint().checkpoint.size} entries; verify it with tools/verify_ledger.py --key '…'")


@ledger_app.command("proof")
def ledger_proof(
    entry: Annotated[int, typer.Argument(help="Number of the entry.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Print the proof that one entry is in the signed checkpoint, as JSON."""
    ledger = opened_workspace(workspace, create=False).ledger
    note, path = ledger.checkpoint(), [step.hex() for step in ledger.inclusion(entry)]
    show_result({"entry": entry, "size": note.checkpoint.size, "leaf": ledger.leaf(entry).hex(), "path": path, "checkpoint": note.text})


@app.command()
def signer(
    socket: Annotated[Path, typer.Option("--socket", help="Where to listen; the engine gets it as DREAM_SIGNER_SOCKET.")],
    key: Annotated[Path, typer.Option("--key", help="The ledger's secret key; made when it is not there.")],
) -> None:
    """Hold the ledger's key in a process of its own, which signs growing logs and nothing else."""
    from dream_engine.govern.keys import ENGINE, LocalSigner, new_key, read_key
    from dream_engine.govern.signer import SignerServer

    holder = LocalSigner(ENGINE, read_key(key) if key.exists() else new_key(key))
    with SignerServer(socket, holder) as server:
        typer.echo(f"signing for {holder.public} at {socket}; stop with Ctrl-C")
        try:
            server.serve_forever()
        finally:
            socket.unlink(missing_ok=True)


@witness_app.command("sign")
def witness_sign(folder: WitnessFolder, key: LogKey, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Cosign the newest checkpoint if it extends the last one that this witness saw."""
    from dream_engine.govern.notes import PublicKey
    from dream_engine.govern.witness import Witness

    with held_workspace(workspace, create=False) as opened:
        watcher, note = Witness(folder, PublicKey.parse(key)), opened.ledger.checkpoint()
        size = watcher.seen(note.checkpoint.origin)
        proof = opened.ledger.consistency(size) if 0 < size <= note.checkpoint.size else []
        opened.ledger.add_cosignature(watcher.cosign(note, proof))
    typer.echo(f"{note.checkpoint.size} entries cosigned (seen before: {size}); witness key {watcher.public_key}")


@witness_app.command("serve")
def witness_serve(
    folder: WitnessFolder,
    key: LogKey,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8808,
) -> None:
    """Serve a witness over HTTP (needs the extra 'serve'); 'dream witness ask' sends it checkpoints."""
    from dream_engine.govern.notes import PublicKey
    from dream_engine.govern.witness import Witness
    from dream_engine.govern.witness_http import serve

    watcher = Witness(folder, PublicKey.parse(key))
    typer.echo(f"witness {watcher.public_key} at http://{host}:{port}")
    serve(watcher, host, port)


@witness_app.command("ask")
def witness_ask(url: Annotated[str, typer.Argument(help="Where the witness serves.")], workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Have a served witness cosign the newest checkpoint."""
    from dream_engine.govern.witness_http import ask

    with held_workspace(workspace, create=False) as opened:
        note = ask(url, opened.ledger)
    typer.echo(f"{note.checkpoint.size} entries cosigned by {note.signatures[-1].name}")
