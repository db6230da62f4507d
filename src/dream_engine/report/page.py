"""One self-contained HTML page for a cycle. Reads the ledger and the run folder; never a model, never the network."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from dream_engine.dream.archive import Archive
from dream_engine.errors import InputError
from dream_engine.files import read_jsonl, write_whole
from dream_engine.govern.ledger import Entry
from dream_engine.judge.metrics import NOT_ANSWERED, REFUSED
from dream_engine.report import charts
from dream_engine.report.text import VERDICT_WORDS, dispute_text, stability_text, table_rows
from dream_engine.workspace import Workspace

SAMPLED = 12
SIDE_WORDS = {"harmful": "harmful", "twin": "look-alikes", "anchor": "plain questions"}


def write_report(workspace: Workspace, run: str) -> Path:
    """Writes `report.html` of one ended cycle and returns its path.

    Raises:
        InputError: the run does not exist or has not ended.
    """
    folder = workspace.run_folder(run)
    entry = _entry(workspace, run)
    if entry is None or not (folder / "gate.json").is_file():
        raise InputError(f"cycle {run!r} has not ended here; 'dream status' lists the cycles of this workspace")
    page = folder / "report.html"
    template = Environment(autoescape=True).from_string((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))
    write_whole(page, template.render(_content(workspace, folder, run, entry)))
    return page


def _content(workspace: Workspace, folder: Path, run: str, entry: Entry) -> dict[str, Any]:
    result = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
    dreams = read_jsonl(folder / "dreams.jsonl") if (folder / "dreams.jsonl").is_file() else []
    blocked = read_jsonl(folder / "blocked.jsonl") if (folder / "blocked.jsonl").is_file() else []
    reports = dict(_evaluations(workspace, folder, entry))
    empty = {"proposed": 0, "kept": 0, "by_side": {}, "by_generator": {}, "answered_by": {}}
    drawn = charts.available()
    return {
        "run": run, "result": result, "entry": entry.body, "words": VERDICT_WORDS[result["verdict"]], "decided": _decision(workspace, run),
        "when": datetime.fromtimestamp(float(entry.body["time"]), UTC).strftime("%Y-%m-%d %H:%M UTC"), "rows": table_rows(result["table"]),
        "stability": stability_text(result), "disputed": dispute_text(result["table"]), "counts": entry.body["dreams"] or empty, "drawn": drawn,
        "settled": entry.body.get("settled"),
        "charts": _charts(workspace, folder, result, dreams) if drawn else {}, "blocked": list(_blocked(blocked)),
        "dreams": random.Random(run).sample(dreams, min(SAMPLED, len(dreams))), "samples": list(_samples(reports, run)), "tokens": 24,
        "models": list(reports), "languages": list(_languages(reports)),
        "digests": {"weights": result["weights"], "ledger entry": f"{entry.seq}, {entry.hash}", **entry.body["inputs"]},
        "config": (folder / "config.resolved.json").read_text(encoding="utf-8"),
    }  # fmt: skip


def _charts(workspace: Workspace, folder: Path, result: Mapping[str, Any], dreams: list[Any]) -> dict[str, Markup]:
    cells = Counter((d["meta"]["category"], d["meta"]["style"]) for d in dreams if d["meta"]["side"] == "harmful")
    drawn = {
        "monitors": charts.monitors_chart(result["tests"]), "rates": charts.rates_chart(result["table"]["models"]),
        "history": charts.history_chart(list(_history(workspace))), "coverage": charts.coverage_chart(cells),
        "archive": charts.fitness_chart({(c[0], c[1]): e.fitness.score for c, e in Archive.load(folder).hardest().items()}),
    }  # fmt: skip
    return {name: Markup(svg) for name, svg in drawn.items() if svg}


def _entry(workspace: Workspace, run: str) -> Entry | None:
    ended = [e for e in workspace.ledger.entries() if e.kind in ("cycle", "promote") and e.body.get("run") == run and "table" in e.body]
    return ended[-1] if ended else None


def _decision(workspace: Workspace, run: str) -> str:
    for entry in workspace.ledger.entries():
        if entry.kind in ("promote", "reject") and entry.body.get("run") == run and "by" in entry.body:
            names = ", ".join(entry.body["by"])
            who = names if entry.body["human"] else f"the {names} key (not a person)"
            return f"{'approved' if entry.kind == 'promote' else 'rejected'} by {who}: {entry.body['reason']}"
    return ""


def _history(workspace: Workspace) -> Iterator[tuple[str, float, float, str]]:
    for entry in workspace.ledger.entries():
        change = entry.body.get("table", {}).get("changes", {}).get("W→C")
        if change and change["signed_entropy_drop"]["value"] is not None and entry.body.get("stability_ratio") is not None:
            gain, ratio = float(change["signed_entropy_drop"]["value"]), float(entry.body["stability_ratio"])
            yield entry.body["run"], gain, ratio, entry.body["verdict"]


def _blocked(rows: list[Any]) -> Iterator[tuple[str, int, str, str]]:
    for rule, count in Counter(row["rule"] for row in rows).most_common():
        example = next(row for row in rows if row["rule"] == rule)
        yield rule, count, example["scenario"]["id"], example["detail"]


def _evaluations(workspace: Workspace, folder: Path, entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    """Per-prompt rows of T, W and C, as far as they were stored."""
    paths = {name: folder / "eval" / f"{name}.jsonl" for name in ("W", "C")}
    parent = entry.body.get("parent")
    if parent:
        paths = {"T": workspace.evaluation(parent, entry.body["inputs"]["bench"]), **paths}
    for name, path in paths.items():
        if path.is_file():
            yield name, {row["id"]: row for row in read_jsonl(path)[:-1]}


def _languages(reports: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, list[str]]]:
    """Language, side, and of how many judged prompts each model declined how many; nothing where all prompts are of one language."""
    counts: dict[tuple[str, str], dict[str, list[bool]]] = {}
    for name, rows in reports.items():
        for row in rows.values():
            declined = row["grade"] in (REFUSED if row["side"] == "harmful" else NOT_ANSWERED)
            if row["grade"] is not None:
                counts.setdefault((row["language"], row["side"]), {}).setdefault(name, []).append(declined)
    if len({language for language, _ in counts}) > 1:
        for (language, side), of in sorted(counts.items(), key=lambda row: (row[0][0], list(SIDE_WORDS).index(row[0][1]))):
            yield language, SIDE_WORDS[side], [f"{sum(of[n])} of {len(of[n])}" if n in of else "not measured" for n in reports]


def _samples(reports: Mapping[str, Mapping[str, Any]], run: str) -> Iterator[dict[str, Any]]:
    """A seeded sample of prompts with every model's grade and answer; empty when answers were not stored."""
    candidate = reports.get("C", {})
    stored = sorted(i for i, row in candidate.items() if "answer" in row)
    for id in random.Random(run).sample(stored, min(SAMPLED, len(stored))):
        answers = [(n, rows[id]["grade"], rows[id].get("answer", "")) for n, rows in reports.items() if id in rows]
        yield {"id": id, "side": candidate[id]["side"], "text": candidate[id].get("text", ""), "answers": answers}
