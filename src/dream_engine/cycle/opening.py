"""Before a cycle: nothing starts on a ledger, weights or inputs that do not hold up (Amanah)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from dream_engine import types
from dream_engine.capture.episodes import Buffer
from dream_engine.config import Config, scaled
from dream_engine.cycle.night import Night, imported_digest
from dream_engine.errors import InputError, IntegrityError
from dream_engine.files import write_json
from dream_engine.govern import sabar
from dream_engine.govern.approvals import refuse_if_held
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.registry import MANIFEST
from dream_engine.inputs import Data, configured_model
from dream_engine.models.hf import ChatModel
from dream_engine.policy.pack import Pack, load_pack, problems
from dream_engine.progress import RunLog, Show
from dream_engine.provenance import code_revision
from dream_engine.workspace import Workspace


def open_night(config: Config, workspace: Workspace, show: Show) -> Night:
    """Checks the ledger and the sealed weights, reads all input, and begins (or goes on with) a run.

    Raises:
        InputError: a person must decide first, or data, pack or model cannot be used.
        IntegrityError: the sealed weights or the ledger do not verify.
    """
    workspace.ledger.verify()
    refuse_if_held(workspace.ledger)
    sabar.refuse_if_stopped(workspace.ledger)
    config = scaled(config, [(c.key, c.factor) for c in sabar.changes_in_force(workspace.ledger.entries())])
    workspace.registry.verify_live()
    live = workspace.registry.live
    pack = load_pack(config.policy.pack)
    pack.grid(config.dream.scope)  # names a category that is not there, before anything is learned
    data = Data.read(config)
    if live is None and config.commission.dreams and problems(pack) and config.model.name != "sandbox":
        raise InputError(f"policy pack {pack.name!r} cannot commission: {problems(pack)[0]}; run 'dream validate' for the whole list")
    if live and not data.wake and not config.wake.imported:
        raise InputError("a model is sealed and there is nothing to learn; set wake.data to a file of dialogues")
    if live and not data.bench.user:
        raise InputError(
            "the user's gain must be measured: set wake.heldout (or wake.data, part of which is held out) beside wake.adapter or wake.model"
        )
    run_id = _run_id(config, workspace, data, pack)
    model = configured_model(config)
    _refuse_untaken([*data.wake, *data.bench.user], model)
    night = Night(config, workspace, run_id, RunLog(workspace.run_folder(run_id) / "events.jsonl", show), model, pack, data)
    _begin(night, live)
    return night


def _refuse_untaken(rows: Sequence[types.Conversation], model: ChatModel) -> None:
    """Names the first dialogue whose turns the chat template does not take, before anything is learned. One of each order of roles is tried."""
    orders: dict[tuple[str, ...], list[types.Conversation]] = {}
    for row in rows:
        orders.setdefault(tuple(m.role for m in row.prompt), []).append(row)
    for alike in orders.values():
        try:
            model.encode_prompt(alike[0].prompt)
        except InputError as error:
            raise InputError(f"dialogue {alike[0].id!r}, one of {len(alike)} with such turns: {error}") from error


def _begin(night: Night, live: str | None) -> None:
    write_json(night.folder / "config.resolved.json", json.loads(night.config.model_dump_json()))
    sabar.close_crashed(night.workspace.ledger, night.run_id)
    rehearsed = _load_sealed(night, live) if live else "nothing is sealed yet"
    if not live:
        night.fresh_adapter("T")
    if not any(e.body.get("run") == night.run_id for e in night.workspace.ledger.entries("begin")):
        body = {"run": night.run_id, "live": live, "inputs": night.digests(), "seed": night.config.seed, "code": code_revision()}
        night.workspace.ledger.append("begin", {**body, "rollback_rehearsed": rehearsed})


def _load_sealed(night: Night, live: str) -> str:
    """Amanah: the sealed weights load twice and answer alike, and as they did when they were sealed on this kind of machine."""
    folder = night.workspace.registry.verified(live)
    made_on = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("base")
    if made_on not in (None, night.model.base_digest):
        raise IntegrityError(
            f"the sealed adapter was made on base {str(made_on)[:12]}, model.name gives {night.model.base_digest[:12]}; use that base"
        )
    answers = []
    for _ in range(2):
        night.model.load_adapter("T", folder)
        answers.append(night.answers("T"))
    sealed = [e.body["answers"] for e in night.workspace.ledger.entries() if e.body.get("weights") == live and "answers" in e.body]
    same_machine = [a["digest"] for a in sealed if a["on"] == answers[0]["on"]]
    if answers[0] != answers[1] or any(digest != answers[0]["digest"] for digest in same_machine):
        raise IntegrityError(
            f"the sealed weights {live[:12]} do not answer as they did when they were sealed; no cycle starts, check the disk and memory"
        )
    return "answers as sealed" if same_machine else "answers alike twice; sealed on another machine or version"


def _run_id(config: Config, workspace: Workspace, data: Data, pack: Pack) -> str:
    """`001-ab12cd34`: number of the cycle, and a digest of all its inputs, so that the same command finds its killed run."""
    inputs = [
        json.loads(config.model_dump_json()),
        pack.digest,
        data.bench_digest,
        [asdict(c) for c in data.wake],
        imported_digest(config, workspace.registry.live is None),
        workspace.registry.live,
        [e.id for e in Buffer(workspace.root).read()],
    ]
    return _numbered(workspace.ledger, types.digest(inputs)[:8])


def _numbered(ledger: Ledger, inputs: str) -> str:
    """The open run with these inputs, else the number after all that ended. Opening it closes other killed runs, and they count from then on."""
    runs = {kind: [e.body["run"] for e in ledger.entries(kind) if "run" in e.body] for kind in ("begin", "cycle", "promote")}
    ended = {*runs["cycle"], *runs["promote"]}
    begun = [run for run in runs["begin"] if run not in ended and run.endswith(f"-{inputs}")]
    return begun[-1] if begun else f"{len(ended) + 1:03d}-{inputs}"
