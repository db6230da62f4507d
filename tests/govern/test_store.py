"""The contract of `Store`: every database that the ledger is given keeps these laws. A new one is added to the list below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dream_engine.errors import BusyError, DreamError, StorageError
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.sqlite import SqliteStore
from dream_engine.govern.store import Store
from govern_world import person
from memory_store import MemoryStore

Make = Callable[[Path], Store]
STORES: dict[str, Make] = {"sqlite": lambda folder: SqliteStore(folder / "ledger.db"), "memory": lambda folder: MemoryStore()}
ROW = (1, b"{}", "0" * 64, "1" * 64)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param](tmp_path)


def test_what_was_written_is_read(store: Store) -> None:
    """Rows, nodes, aliases, settings and checkpoints come back; what was never written is None."""
    assert (store.last_row(), store.checkpoint(), store.node((0, 0)), store.setting("x"), store.aliases()) == (None, None, None, None, {})
    with store.transaction():
        store.add_row(ROW)
        store.add_node((0, 0), b"h" * 32)
        store.set_alias("live", "d", 1)
        store.add_setting("x", "y")
        store.set_checkpoint(1, "note")
    assert list(store.rows()) == [ROW]
    assert list(store.rows(after=1)) == []
    assert (store.last_row(), store.checkpoint(), store.node((0, 0)), store.setting("x")) == (ROW, "note", b"h" * 32, "y")
    assert (store.aliases(), store.num_nodes()) == ({"live": "d"}, 1)


def test_a_transaction_is_whole_or_nothing(store: Store) -> None:
    """An exception inside undoes every write of the block, and the next block works."""

    def torn() -> None:
        with store.transaction():
            store.add_row(ROW)
            store.set_alias("live", "d", 1)
            store.add_node((0, 0), b"h" * 32)
            raise KeyError

    with pytest.raises(KeyError):
        torn()
    assert (store.last_row(), store.aliases(), store.num_nodes()) == (None, {}, 0)
    with store.transaction():
        store.add_row(ROW)
    assert store.last_row() == ROW


@pytest.mark.parametrize(
    "again",
    [lambda s: s.add_row(ROW), lambda s: s.add_node((0, 0), b"x" * 32), lambda s: s.add_setting("x", "z")],
    ids=["row", "node", "setting"],
)
def test_what_is_append_only_is_never_replaced(store: Store, again: Callable[[Store], None]) -> None:
    """Rows, nodes and settings refuse a second value; the first one stays."""
    with store.transaction():
        store.add_row(ROW)
        store.add_node((0, 0), b"h" * 32)
        store.add_setting("x", "y")
    with pytest.raises(DreamError), store.transaction():
        again(store)
    assert (store.last_row(), store.node((0, 0)), store.setting("x")) == (ROW, b"h" * 32, "y")


def test_aliases_and_checkpoints_may_move(store: Store) -> None:
    """The newest value counts; the checkpoint of the greatest size is the newest."""
    with store.transaction():
        store.add_row(ROW)
        for digest in ("a", "b"):
            store.set_alias("live", digest, 1)
        store.set_checkpoint(2, "two")
        store.set_checkpoint(1, "one")
        store.set_checkpoint(2, "two, cosigned")
    assert (store.aliases(), store.checkpoint()) == ({"live": "b"}, "two, cosigned")


def test_each_claim_is_a_new_epoch(store: Store) -> None:
    """Epochs only grow, so an engine that was replaced can tell."""
    first = store.claim()
    assert store.epoch() == first
    assert store.claim() > first


def test_a_replaced_engine_refuses_to_write(store: Store) -> None:
    """P13: whoever claimed last holds the pen; the other one's append is refused and adds nothing."""
    old, new = (Ledger(store, lambda: person("engine"), lambda: 1.0) for _ in range(2))
    old.claim()
    old.append("note", {})
    new.claim()
    with pytest.raises(BusyError, match="taken over"):
        old.append("note", {})
    new.append("note", {})
    assert new.verify().entries == 2


def test_the_settings_that_durability_rests_on_are_in_force(tmp_path: Path) -> None:
    """Read back from SQLite, not assumed: WAL, a sync at every commit, foreign keys."""
    db = SqliteStore(tmp_path / "ledger.db")._db
    assert (db.pragma("journal_mode"), db.pragma("synchronous"), db.pragma("foreign_keys")) == ("wal", 2, 1)


def test_a_failed_write_fences_the_handle(tmp_path: Path) -> None:
    """P11 in small: after the disk refused once, this handle writes no more and says so; a new one goes on."""
    store = SqliteStore(tmp_path / "ledger.db")
    with store.transaction():
        store.add_row(ROW)
    store._db.execute("PRAGMA query_only=1")
    with pytest.raises(StorageError, match="nothing was recorded"), store.transaction():
        store.add_setting("a", "b")
    store._db.execute("PRAGMA query_only=0")
    with pytest.raises(StorageError, match="start the command again"), store.transaction():
        store.add_setting("a", "b")
    store.close()
    again = SqliteStore(tmp_path / "ledger.db")
    with again.transaction():
        again.add_setting("a", "b")
    assert again.setting("a") == "b"
