"""P1 to P7: what an exported ledger, a checkpoint and a proof give away when they are touched, how long proofs are, what an audit costs."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import apsw
import pytest

from dream_engine.errors import DreamError, IntegrityError
from dream_engine.govern import merkle
from dream_engine.govern.ledger import GENESIS, Ledger, entry_hash
from dream_engine.govern.notes import Checkpoint, SignedCheckpoint, sign
from dream_engine.govern.sqlite import SqliteStore
from dream_engine.govern.witness import Witness
from govern_world import person
from memory_store import MemoryStore
from verifier import tool

Size = Callable[[int, int], int]


def grown(count: int, change: int = -1, origin: str = "") -> Ledger:
    """A log in memory, signed by one engine's key; entry `change` differs."""
    store = MemoryStore()
    if origin:
        store.add_setting("origin", origin)
    store.transaction = _whole  # type: ignore[method-assign]
    ledger = Ledger(store, lambda: person("dream-engine"), lambda: 1.0)
    for number in range(count):
        ledger.append("note", {"number": number if number != change else -1})
    return ledger


def _whole() -> Iterator[None]:
    from contextlib import nullcontext

    return nullcontext()  # type: ignore[return-value]


def verifies(data: bytes, pinned: bytes | None = None) -> bool:
    try:
        tool.verify(data, tool.Key(str(person("dream-engine").public)), [], tool.Note(pinned.decode()) if pinned else None)
    except tool.Wrong:
        return False
    return True


def test_p1_every_byte_of_an_export(size: Size) -> None:
    """Each byte of the file, three other values: entries, hashes and checkpoint alike."""
    data = grown(size(12, 200)).export()
    assert verifies(data)
    missed = [(at, value) for at in range(len(data)) for value in others(data[at]) if verifies(data[:at] + bytes([value]) + data[at + 1 :])]
    assert missed == []


def others(byte: int) -> tuple[int, int, int]:
    return byte ^ 1, byte ^ 0x20, (byte + 101) % 256


def test_p1_every_byte_of_a_proof(size: Size) -> None:
    """Inclusion and consistency proofs: no changed byte still leads to the root."""
    ledger = grown(size(20, 200))
    n = ledger.size
    root = ledger.root(n)
    for seq in range(1, n + 1, size(6, 3)):
        path, leaf = ledger.inclusion(seq), ledger.leaf(seq)
        assert merkle.root_from_inclusion(leaf, seq - 1, n, path) == root
        assert all(merkle.root_from_inclusion(leaf, seq - 1, n, bad) != root for bad in changed(path))
        proof, old = ledger.consistency(seq), ledger.root(seq)
        assert merkle.is_consistent(seq, n, old, root, proof)
        assert not any(merkle.is_consistent(seq, n, old, root, bad) for bad in changed(proof))


def changed(path: list[bytes]) -> Iterator[list[bytes]]:
    for step, value in enumerate(path):
        for at in range(len(value)):
            for other in others(value[at]):
                yield [*path[:step], value[:at] + bytes([other]) + value[at + 1 :], *path[step + 1 :]]
    yield path[:-1] if path else [bytes(32)]
    yield [*path, bytes(32)]


def test_p1_every_byte_of_the_file_that_a_read_uses(tmp_path: Path, size: Size) -> None:
    """In SQLite: every byte of every stored value of entries, nodes, checkpoint, aliases and origin."""
    ledger = Ledger.open(tmp_path / "ledger.db", clock=lambda: 1.0)
    for number in range(size(4, 40)):
        ledger.append("note", {"number": number}, {"live": f"{number:064d}"})
    key = ledger.verifier_key()
    ledger.close()
    db = apsw.Connection(str(tmp_path / "ledger.db"))
    for table in ("entries", "nodes", "settings"):
        db.execute(f"DROP TRIGGER {table}_keep")
    newest = "(SELECT max(size) FROM checkpoints)"
    columns = [("entries", "body", "1"), ("entries", "previous", "1"), ("entries", "hash", "1"), ("nodes", "hash", "1"),
               ("checkpoints", "note", f"size={newest}"), ("aliases", "digest", "1"), ("aliases", "name", "1"),
               ("settings", "value", "name='origin'")]  # fmt: skip
    key_of = {"settings": "name", "aliases": "name", "nodes": "number"}
    cells = [
        (table, column, row, value)
        for table, column, where in columns
        for row, value in db.execute(f"SELECT {key_of.get(table, 'rowid')}, CAST({column} AS BLOB) FROM {table} WHERE {where}")
    ]
    missed = []
    for table, column, row, value in cells:
        where = f"{key_of.get(table, 'rowid')}=?"
        kind = "BLOB" if (table, column) in (("entries", "body"), ("nodes", "hash")) else "TEXT"
        for at in range(0, len(value), size(7, 1)):
            bad = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            db.execute("SAVEPOINT s")
            try:
                db.execute(f"UPDATE {table} SET {column}=CAST(? AS {kind}) WHERE {where}", (bad, row))
                found = noticed(db, key)
            except apsw.Error:
                found = True
            db.execute("ROLLBACK TO s; RELEASE s")
            if not found:
                missed.append((table, column, row, at))
    assert len(cells) > 20
    assert missed == []


def noticed(db: apsw.Connection, key: object) -> bool:
    store = SqliteStore.__new__(SqliteStore)
    store._path, store._db, store._fenced = Path("x"), db, ""
    try:
        Ledger(store, lambda: person("x")).verify(key=key)  # type: ignore[arg-type]
    except (DreamError, UnicodeDecodeError, ValueError):
        return True
    return False


def test_p2_every_cut_deletion_copy_swap_and_splice(size: Size) -> None:
    """Against a pinned checkpoint, exhaustively over the log; a splice takes an entry of another log by the same key."""
    count = size(60, 1000)
    ledger = grown(count)
    data, pinned = ledger.export(), ledger.checkpoint().text.encode()
    lines, note = data.split(b"\n\n", 1)[0].split(b"\n")[1:], data.split(b"\n\n", 1)[1]
    foreign = grown(count, change=count // 2).export().split(b"\n\n", 1)[0].split(b"\n")[1:]

    def ok(rows: list[bytes]) -> bool:
        return verifies(b"\n".join([b"dream-ledger-export/1", *rows]) + b"\n\n" + note, pinned)

    assert ok(lines)
    for i in range(count):
        assert not ok(lines[:i])
        assert not ok(lines[:i] + lines[i + 1 :])
        assert not ok([*lines[: i + 1], *lines[i:]])
        assert i == 0 or not ok([*lines[: i - 1], lines[i], lines[i - 1], *lines[i + 1 :]])
        assert foreign[i] == lines[i] or not ok([*lines[:i], foreign[i], *lines[i + 1 :]])
    shorter = grown(count - 1, origin=ledger.origin)
    assert verifies(shorter.export())
    assert not verifies(shorter.export(), pinned), "an older whole log must fail against the pinned checkpoint"


def test_p3_forged_histories(tmp_path: Path, size: Size) -> None:
    """Rewritten with the right key and origin, at any place, then grown: no witness that saw the first one signs."""
    rng = random.Random(0)
    for number in range(size(20, 200)):
        honest = grown(rng.randint(2, 40))
        witness = Witness(tmp_path / str(number), person("dream-engine").public)
        witness.cosign(honest.checkpoint(), [])
        forged = grown(honest.size + rng.randint(0, 9), change=rng.randrange(honest.size), origin=honest.origin)
        with pytest.raises(IntegrityError, match="cut or rewritten"):
            witness.cosign(forged.checkpoint(), forged.consistency(honest.size))
        honest.append("note", {})
        witness.cosign(honest.checkpoint(), honest.consistency(honest.size - 1))


def test_p4_every_proof_is_short_and_holds(size: Size) -> None:
    """All (m, n) up to N against an independent, recursive oracle of RFC 6962; at most ceil(log2 n) + 1 hashes."""
    top = size(64, 300)
    leaves = [merkle.leaf_hash(bytes([i % 256, i // 256])) for i in range(top)]
    nodes: dict[merkle.Node, bytes] = {}
    for i, leaf in enumerate(leaves):
        nodes.update(merkle.appended(i, leaf, nodes.__getitem__))
    roots = [merkle.EMPTY_ROOT] + [oracle_root(leaves[:n]) for n in range(1, top + 1)]
    for n in range(1, top + 1):
        longest = math.ceil(math.log2(n)) + 1
        assert merkle.root(n, nodes.__getitem__) == roots[n]
        for m in range(1, n + 1):
            path = merkle.inclusion_proof(m - 1, n, nodes.__getitem__)
            assert path == oracle_path(m - 1, leaves[:n]) if n <= 40 else len(path) <= longest
            assert merkle.root_from_inclusion(leaves[m - 1], m - 1, n, path) == roots[n]
            proof = merkle.consistency_proof(m, n, nodes.__getitem__)
            assert max(len(path), len(proof)) <= longest
            assert merkle.is_consistent(m, n, roots[m], roots[n], proof)


def oracle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return merkle.node_hash(oracle_root(leaves[:k]), oracle_root(leaves[k:]))


def oracle_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return [*oracle_path(m, leaves[:k]), oracle_root(leaves[k:])] if m < k else [*oracle_path(m - k, leaves[k:]), oracle_root(leaves[:k])]


def test_p4_and_p6_a_large_log(tmp_path: Path, size: Size) -> None:
    """Proofs at random places of a large log; its audit in bounded memory; at full size 1 M entries within 60 s and 256 MB."""
    count = size(5_000, 1_000_000)
    path = tmp_path / "ledger.db"
    large(path, count)
    ledger = Ledger.open(path)
    rng, root = random.Random(0), ledger.root(count)
    for _ in range(size(200, 10_000)):
        m = rng.randint(1, count)
        assert merkle.root_from_inclusion(ledger.leaf(m), m - 1, count, ledger.inclusion(m)) == root
        assert merkle.is_consistent(m, count, ledger.root(m), root, ledger.consistency(m))
    ledger.close()
    code = (
        "import sys, time; from pathlib import Path; from dream_engine.govern.ledger import Ledger\n"
        "l = Ledger.open(Path(sys.argv[1])); t = time.monotonic(); n = l.verify(key=l.verifier_key()).entries\n"
        "most = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(n, time.monotonic() - t, int(most.split()[1]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    entries, seconds, megabytes = (float(word) for word in done.stdout.split())
    print(f"audit of {entries:.0f} entries: {seconds:.1f} s, {megabytes:.0f} MB")
    assert entries == count
    assert megabytes <= 256
    assert seconds <= size(60, 60)


def large(path: Path, count: int) -> None:
    """A valid log of many entries, made in one transaction."""
    ledger = Ledger.open(path, clock=lambda: 1.0)
    ledger.append("note", {"number": 0})
    store, signer = ledger._store, ledger._signer
    newest: dict[int, bytes] = {0: merkle.leaf_hash(next(store.rows())[1])}
    with store.transaction():
        previous = ledger.head
        for seq in range(2, count + 1):
            data = b'{"kind":"note","number":%d,"seq":%d,"time":"1.000"}' % (seq - 1, seq)
            value = entry_hash(previous, data)
            store.add_row((seq, data, previous, value))
            for node, subtree in list(merkle.appended(seq - 1, merkle.leaf_hash(data), lambda node: newest[node[0]])):
                store.add_node(node, subtree)
                newest[node[0]] = subtree
            previous = value
        point = Checkpoint(ledger.origin, count, ledger.root(count))
        store.set_checkpoint(count, SignedCheckpoint(point, (sign(point, signer),)).text)
    assert previous != GENESIS
    ledger.close()


def test_p5_a_durable_append_against_a_raw_one(tmp_path: Path, size: Size) -> None:
    """Rounds of appends and of write + fdatasync in turn, on the same disk; the median ratio is printed, and asserted at full size."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    ledger.append("note", {})
    ratios = []
    with (tmp_path / "raw").open("wb", buffering=0) as raw:
        for _ in range(size(2, 5)):
            count = size(20, 1000)
            begun = time.perf_counter()
            for _ in range(count):
                raw.write(b"x" * 4096)
                os.fdatasync(raw.fileno())
            middle = time.perf_counter()
            for number in range(count):
                ledger.append("note", {"number": number})
            ratios.append((middle - begun) / (time.perf_counter() - middle))
    print(f"durable append against raw write + fdatasync: {median(ratios):.2f}")
    assert median(ratios) >= (0.5 if size(0, 1) else 0.0)
