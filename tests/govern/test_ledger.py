"""The ledger keeps what it was given, and notices every change to it."""

from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern.ledger import GENESIS, Ledger


def filled(path: Path, count: int = 5) -> Ledger:
    ledger = Ledger.open(path / "ledger.db", clock=lambda: 1.0)
    for number in range(count):
        ledger.append("note", {"number": number, "share": 0.1})
    return ledger


def tamper(path: Path, statement: str) -> None:
    """Edits the file behind the ledger's back, triggers removed."""
    db = apsw.Connection(str(path / "ledger.db"))
    for table in ("entries", "nodes"):
        db.execute(f"DROP TRIGGER {table}_keep; DROP TRIGGER {table}_stay")
    db.execute(statement)
    db.close()


def test_an_untouched_ledger_verifies(tmp_path: Path) -> None:
    """The control without which the others prove nothing."""
    assert filled(tmp_path).verify().entries == 5


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), '3', '4') AS BLOB) WHERE seq = 4", "DELETE FROM entries WHERE seq = 2",
        "UPDATE entries SET seq = seq + 10 WHERE seq = 5", "UPDATE entries SET hash = upper(hash) WHERE seq = 3",
        "UPDATE entries SET previous = hash WHERE seq = 2", "INSERT INTO aliases VALUES ('live', 'x', 1)",
        "DELETE FROM entries WHERE seq = 5", "DELETE FROM checkpoints WHERE size = 5", "UPDATE nodes SET hash = x'00' WHERE number = 2",
        "UPDATE checkpoints SET note = replace(note, 'dream', 'other') WHERE size = 5",
    ],
)  # fmt: skip
def test_every_edit_is_noticed(tmp_path: Path, edit: str) -> None:
    """Changed, deleted, moved, relinked entries and a forged alias."""
    filled(tmp_path).close()
    tamper(tmp_path, edit)
    with pytest.raises(IntegrityError):
        Ledger.open(tmp_path / "ledger.db").verify()


def test_a_cut_end_needs_the_pinned_head(tmp_path: Path) -> None:
    """A truncation with its checkpoint and tree is a shorter honest log; only the remembered head sees it."""
    ledger = filled(tmp_path)
    head = ledger.head
    ledger.close()
    tamper(tmp_path, "DELETE FROM entries WHERE seq = 5; DELETE FROM checkpoints WHERE size = 5; DELETE FROM nodes WHERE number = 7")
    cut = Ledger.open(tmp_path / "ledger.db")
    assert cut.verify().entries == 4
    with pytest.raises(IntegrityError, match="pinned head"):
        cut.verify(head)


def test_append_only_even_for_sql(tmp_path: Path) -> None:
    """The store itself refuses to update or delete."""
    filled(tmp_path).close()
    db = apsw.Connection(str(tmp_path / "ledger.db"))
    for statement in ("UPDATE entries SET body = x'00'", "DELETE FROM entries"):
        with pytest.raises(apsw.ConstraintError):
            db.execute(statement)


def test_nan_is_refused_and_nothing_is_added(tmp_path: Path) -> None:
    """A number that is none never reaches the log."""
    ledger = filled(tmp_path)
    with pytest.raises(InputError, match="null with a reason"):
        ledger.append("note", {"x": float("nan")})
    assert ledger.verify().entries == 5


def test_metrics_are_decimal_strings(tmp_path: Path) -> None:
    """0.1 is stored as \"0.1\", exactly the bytes that were hashed."""
    entry = next(iter(filled(tmp_path).entries()))
    assert entry.body["share"] == "0.1"
    assert entry.previous == GENESIS


@pytest.mark.parametrize("content", [b"not a database at all, just text " * 40, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_foreign_or_damaged_file_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    """Clear message, same bytes afterwards."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_another_programs_database_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    """application_id and user_version are looked at first."""
    other = apsw.Connection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(IntegrityError, match="another program"):
        Ledger.open(tmp_path / "other.db")
    filled(tmp_path).close()
    tamper(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(IntegrityError, match="update dream-engine"):
        Ledger.open(tmp_path / "ledger.db")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=4), max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, object]]) -> None:
    """Property: whatever JSON goes in comes out, in order, and verifies."""
    ledger = Ledger.open(tmp_path_factory.mktemp("l") / "ledger.db")
    for body in bodies:
        ledger.append("note", {"body": body})
    assert [e.body["body"] for e in ledger.entries()] == json.loads(json.dumps(bodies))
    assert ledger.verify().entries == len(bodies)
