"""A person's row can be erased without breaking the log, and afterwards nothing shows that it was there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern.commitments import FILE, committed, erase, read, root
from govern_world import World

ROWS = {f"row-{i}": f"what person {i} wrote".encode() for i in range(5)}


def test_an_erased_row_can_no_longer_be_shown_and_everything_else_can(tmp_path: Path) -> None:
    """The root in the ledger holds before and after; the salt is gone from the disk; the other rows still open."""
    world = World(tmp_path, ["ada"])
    folder = tmp_path / "runs" / "002-b"
    before = committed(folder, ROWS)
    world.ledger.append("begin", {"run": "002-b", "live": None, "inputs": {"wake": before}})
    salt = read(folder)["row-3"].salt
    assert all(read(folder)[id].opens(content) for id, content in ROWS.items())
    entry = erase(world.ledger, tmp_path / "runs", "row-3", "ada", "the person asked")
    after = read(folder)
    assert root(after) == before == committed(folder, ROWS)
    assert not after["row-3"].opens(ROWS["row-3"])
    assert all(after[id].opens(content) for id, content in ROWS.items() if id != "row-3")
    assert entry.body["runs"] == ["002-b"]
    assert world.ledger.verify().entries == world.ledger.size
    world.ledger.close()
    assert salt
    assert not any(salt.encode() in p.read_bytes() or ROWS["row-3"] in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_two_nights_commit_differently_to_the_same_rows_and_one_night_always_alike(tmp_path: Path) -> None:
    """Salts are drawn once a night: equal rows cannot be recognised from night to night."""
    first = committed(tmp_path / "a", ROWS)
    assert committed(tmp_path / "a", ROWS) == first
    assert committed(tmp_path / "b", ROWS) != first


def test_other_rows_in_the_folder_are_noticed(tmp_path: Path) -> None:
    """A run folder goes on with its own rows only."""
    committed(tmp_path, ROWS)
    with pytest.raises(IntegrityError, match="other rows"):
        committed(tmp_path, ROWS | {"row-1": b"changed"})
    with pytest.raises(IntegrityError, match="other rows"):
        committed(tmp_path, ROWS | {"row-9": b"new"})
    assert (tmp_path / FILE).is_file()


def test_what_nobody_learned_from_cannot_be_erased(tmp_path: Path) -> None:
    """A wrong id, a missing reason: said, and nothing recorded."""
    world = World(tmp_path, ["ada"])
    committed(tmp_path / "runs" / "a", ROWS)
    for row, reason in (("row-77", "asked"), ("row-1", " ")):
        with pytest.raises(InputError):
            erase(world.ledger, tmp_path / "runs", row, "ada", reason)
    assert not list(world.ledger.entries("erase"))
