"""What leaves a workspace: a sealed adapter, a merged model, the dreams as a data set; each with a card that says what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dream_engine.errors import InputError
from dream_engine.files import write_jsonl, write_whole
from dream_engine.govern.registry import MANIFEST
from dream_engine.report.text import table_rows
from dream_engine.types import Dream
from dream_engine.workspace import Workspace

TERMS = {
    "template": "text of the policy pack's grammar; the pack's own licence (the shipped pack: Apache-2.0)",
    "self": "written by the model itself; the model's licence and terms apply",
    "recall": "made of your own episodes; your terms",
    "person": "written by a person of yours; your terms",
}
"""Under which terms a dream stands, by who wrote its request."""


def export_adapter(workspace: Workspace, target: Path, version: str = "") -> Path:
    """A sealed version (the live one without `version`) as a plain PEFT folder with its manifest and a model card.

    Raises:
        InputError: nothing is sealed, no sealed version begins with `version`, or the folder is not empty.
        IntegrityError: the stored weights were changed.
    """
    digest = sealed_version(workspace, version)
    stored = workspace.registry.verified(digest)
    fresh_folder(target)
    for path in sorted(stored.iterdir()):
        shutil.copy(path, target / path.name)
    write_whole(target / "README.md", card(workspace, digest))
    return target


def export_merged(workspace: Workspace, target: Path, version: str = "", device: str = "auto") -> Path:
    """A sealed version merged into its base: a whole model folder with tokenizer and card."""
    from dream_engine.models.hf import load_model

    digest = sealed_version(workspace, version)
    stored = workspace.registry.verified(digest)
    model = load_model(json.loads((stored / MANIFEST).read_text(encoding="utf-8"))["base_name"], device)
    model.load_adapter("C", stored)
    fresh_folder(target)
    model.save_merged("C", target)
    write_whole(target / "README.md", card(workspace, digest))
    return target


def export_dreams(workspace: Workspace, run: str, target: Path) -> int:
    """The kept dreams of a cycle as a data set with a card; each row names its generator and its terms. Returns how many.

    Raises:
        InputError: the cycle has no dreams here, or the folder is not empty.
    """
    path = workspace.run_folder(run) / "dreams.jsonl"
    if not path.is_file():
        raise InputError(f"cycle {run!r} has no dreams in this workspace; 'dream status' lists the cycles")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    fresh_folder(target)
    write_jsonl(target / "dreams.jsonl", [{**row, "terms": TERMS.get(row["meta"]["generator"], "unknown")} for row in rows])
    write_whole(target / "README.md", dreams_card(run, [Dream.from_json(row) for row in rows]))
    return len(rows)


def sealed_version(workspace: Workspace, version: str) -> str:
    """The digest of the live version, or of the one sealed version that begins with `version`."""
    if not version:
        if workspace.registry.live is None:
            raise InputError("nothing is sealed yet; run and approve a first cycle")
        return workspace.registry.live
    found = [d for d in workspace.registry.sealed() if d.startswith(version)]
    if len(found) != 1:
        known = ", ".join(d[:12] for d in workspace.registry.sealed()) or "none"
        raise InputError(f"{version!r} names {len(found)} sealed versions; known: {known}")
    return found[0]


def fresh_folder(target: Path) -> None:
    """Makes the folder.

    Raises:
        InputError: something is in it already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists and is not empty; name a new folder")
    target.mkdir(parents=True, exist_ok=True)


# ---- cards ---------------------------------------------------------------------------------------------------------


def card(workspace: Workspace, digest: str) -> str:
    """A model card in Markdown: what was measured, under which gates, from how much data, with its place in the ledger and its limits."""
    entry = [e for e in workspace.ledger.entries("promote") if e.body["weights"] == digest][-1]
    run = str(entry.body.get("run"))
    manifest = json.loads((workspace.registry.verified(digest) / MANIFEST).read_text(encoding="utf-8"))
    gate_file = workspace.run_folder(run) / "gate.json"
    gate = json.loads(gate_file.read_text(encoding="utf-8")) if gate_file.is_file() else None
    return "\n".join(
        [
            *_front_matter(manifest),
            f"# Adapter {digest[:12]}",
            "",
            f"LoRA adapter over `{manifest.get('base_name', 'unknown')}` (base sha256 `{str(manifest.get('base'))[:16]}…`), made by a replay cycle.",
            "",
            *(_measured(gate) if gate else ["The cycle's measurements are not in this workspace."]),
            "",
            "## Where it comes from",
            "",
            *_origin(workspace, entry, run),
            "",
            "## Limits",
            "",
            "- The claim: refusals lost to harmless fine-tuning were brought back, as far as these suites can tell. It is not tamper resistance.",
            "- Measured with short answers that no person read; the suites do not cover every harm, language or style.",
            "",
        ]
    )


def dreams_card(run: str, dreams: Sequence[Dream]) -> str:
    """A data set card: counts by side and generator, terms, and what the texts are."""
    generators = sorted({d.scenario.generator for d in dreams})
    sides = {side: sum(d.scenario.side == side for d in dreams) for side in ("harmful", "twin", "anchor")}
    return "\n".join(
        [
            "---", "task_categories: [text-generation]", "tags: [safety, replay]", "---", "", f"# Dreams of cycle {run}", "",
            f"{len(dreams)} rehearsed dialogues: {sides['harmful']} harmful requests that are declined, {sides['twin']} harmless look-alikes and "
            f"{sides['anchor']} plain requests that are answered. No harmful request is complied with.", "",
            *(f"- generator `{g}`: {sum(d.scenario.generator == g for d in dreams)} rows; {TERMS.get(g, 'terms unknown')}" for g in generators), "",
        ]
    )  # fmt: skip


def _front_matter(manifest: Mapping[str, Any]) -> list[str]:
    return [
        "---",
        "library_name: peft",
        f"base_model: {json.dumps(str(manifest.get('base_name', '')))}",
        "tags: [lora, safety, dream-engine]",
        "---",
        "",
    ]


def _measured(gate: Mapping[str, Any]) -> list[str]:
    header, *rows = table_rows(gate["table"])
    ratio = "not measured" if gate["stability_ratio"] is None else f"{gate['stability_ratio']:.2f} (worst monitor: {gate['worst_monitor']})"
    passed = sum(t["outcome"] == "pass" for t in gate["tests"])
    return [
        "## What was measured",
        "",
        "T is the version before, W the fine-tuned model, C this one. Brackets: 95 %.",
        "",
        "| " + " | ".join(["", *header[1:]]) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"Peace² {ratio}. Verdict of the gate: {gate['verdict']}; {passed} of {len(gate['tests'])} tests passed, the rest did not apply or is named.",
        *(f"- {reason}" for reason in gate["reasons"]),
    ]


def _origin(workspace: Workspace, entry: Any, run: str) -> list[str]:
    cycle = next((e for e in workspace.ledger.entries() if e.kind in ("cycle", "promote") and e.body.get("run") == run and "dreams" in e.body), None)
    dreams = cycle.body["dreams"] if cycle else {}
    by = ", ".join(entry.body.get("by") or []) or "the gate"
    lines = [f"- ledger entry {entry.seq} (`{entry.hash[:16]}…`) of log `{workspace.ledger.origin}`, cycle {run}, released by {by}"]
    if dreams:
        lines.append(f"- dreams: {dreams.get('kept')} kept of {dreams.get('proposed')} proposed; by side {dreams.get('by_side')}")
    if cycle:
        lines.append(f"- code {cycle.body.get('code')}, trained tokens {cycle.body.get('trained_tokens')}")
    return lines
