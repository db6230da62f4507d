"""The documents, held to the code that they speak of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from dream_engine.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.name != "log.md")]
PLACES = ("", "src/dream_engine", "benchmarks", "tests", "tests/assurance")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_and_links_that_a_page_names_are_there(page: Path) -> None:
    """A file in code type and the target of a relative link exist; the log alone may speak of what is gone."""
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"`([\w/]+\.py)\b", text)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    gone = [name for name in files if not any((ROOT / place / name).is_file() for place in PLACES)]
    assert gone + [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_headings_that_a_link_names_are_there(page: Path) -> None:
    """A link to a part of a page finds a heading of that name, as a browser of Markdown spells it."""
    lost = []
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        other = (page.parent / target) if target else page
        headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
        if anchor not in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}:
            lost.append(f"{target}#{anchor}")
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_that_a_page_shows_are_there(page: Path) -> None:
    """Every `dream` line in code type names a command and options that it has."""
    text = page.read_text(encoding="utf-8")
    shown = [*re.findall(r"^    (?:\$ )?(dream .*)$", text, re.MULTILINE), *re.findall(r"`(dream [^`]+)`", text)]
    lines = [part.split() for line in shown for part in re.split(r"[;|&]\s*", line.split("#")[0])]
    assert [lost for words in lines if words[:1] == ["dream"] for lost in unknown(words[1:])] == []


def unknown(words: list[str]) -> list[str]:
    """What of a command line the command does not know: its name, or options."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and re.match("[a-z]", words[0]):
        if words[0] not in command.commands:
            return words[:1]
        command, words = command.commands[words[0]], words[1:]
    known = {"--help"} | {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
