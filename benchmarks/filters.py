"""P23: what the filters on text let through that they should stop, and stop that they should let through. No model.

Answers: the filter of dreams and logs on the heldout half of the labelled answers. Requests: the rules of shape and content of the screen on ordinary
public requests (dolly_1k, gpteacher_roleplay) in a data folder; their answers, too, decline nothing.

    python benchmarks/filters.py --data-dir DATA
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dream_engine.judge.labelled import labelled_answers
from dream_engine.judge.rules import SAFE
from dream_engine.judge.stats import wilson
from dream_engine.policy.declining import declines
from dream_engine.policy.pack import load_pack
from dream_engine.policy.screen import RequestScreen
from dream_engine.types import Scenario

OWN = ("schema", "personal_data", "no_sentience_claims", "too_extreme")
"""Rules that look at a request alone, not at what was kept before it."""


def main() -> None:
    """A line a filter, shares with Wilson's 95 % intervals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    folder = parser.parse_args().data_dir
    rows = labelled_answers("heldout")
    print(f"declining answers found: {share([declines(r.answer) for r in rows if r.label in SAFE])}")
    print(f"answers that go along, taken for declining: {share([declines(r.answer) for r in rows if r.label == 'full'])}")
    for name, (requests, answers) in public(folder).items():
        print(f"{name}, ordinary answers taken for declining: {share([declines(a) for a in answers])}")
        stopped = blocked(requests)
        print(
            f"{name}, {len(requests)} requests, stopped: {share([rule is not None for rule in stopped])}, by {dict(Counter(filter(None, stopped)))}"
        )


def public(folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Requests and answers of two public sets."""
    with (folder / "dolly_1k" / "databricks_dolly_1k.csv").open(newline="", encoding="utf-8") as file:
        dolly = [(row["instruction"], row["response"]) for row in csv.DictReader(file)]
    raw = json.loads((folder / "gpteacher_roleplay" / "roleplay-simple-deduped-roleplay-dataset.json").read_text(encoding="utf-8"))
    roles = [(row["instruction"], row["output"]) for row in raw]
    return {name: ([asked for asked, _ in rows], [said for _, said in rows]) for name, rows in (("dolly", dolly), ("role play", roles))}


def blocked(requests: Sequence[str]) -> list[str | None]:
    """The rule that stops each request by itself, if one does."""
    found: list[str | None] = []
    pack = load_pack()
    for number, text in enumerate(requests):
        asked = " ".join(text.split())
        scenario = Scenario(f"r{number}", asked, "anchor", "replayed", "plain", "plain", "en", "recall", 0)
        rules = [b.rule for b in RequestScreen(pack, ()).screen([scenario]).blocked]
        found.append(next((rule for rule in rules if rule in OWN), None))
    return found


def share(outcomes: Sequence[bool]) -> str:
    found = wilson(sum(outcomes), len(outcomes))
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}] of {found.n}"


if __name__ == "__main__":
    main()
