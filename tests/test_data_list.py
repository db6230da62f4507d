"""The list of public files that the benchmarks read: complete, and true of the folder where there is one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


def module() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_data", ROOT / "benchmarks" / "data.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_every_file_names_its_origin_digest_and_licence() -> None:
    """Five fields a file, no path twice."""
    rows = module().listed()
    assert len(rows) >= 15
    assert len({row["path"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"path", "sha256", "repository", "commit", "licence"}
        assert len(row["sha256"]) == 64


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    """Nothing there: a line a file, with where to get it. One byte off: said so."""
    check = module()
    assert len(check.wrong(tmp_path)) == len(check.listed())
    first = check.listed()[0]
    (tmp_path / first["path"]).parent.mkdir(parents=True)
    (tmp_path / first["path"]).write_text("x")
    assert any("differs from" in line for line in check.wrong(tmp_path))


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data files are not beside this checkout")
def test_the_folder_here_is_as_listed() -> None:
    """Every digest."""
    assert module().wrong(DATA) == []
