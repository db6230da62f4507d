"""The documents, held to the code that they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
