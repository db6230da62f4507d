"""The Merkle tree of RFC 6962 (§2.1): roots, inclusion proofs and consistency proofs over the ledger's entries.

A tree of n leaves is kept as its full subtrees only: node (level, index) covers the leaves [index · 2^level, (index + 1) · 2^level).
Appending touches one node a level at most; a root or a proof reads O(log n) of them. Everything here is pure: whoever stores the
nodes hands in a function that reads one. Hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

Node = tuple[int, int]
"""(level, index) of a full subtree."""
Read = Callable[[Node], bytes]
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def appended(size: int, leaf: bytes, read: Read) -> Iterator[tuple[Node, bytes]]:
    """The full subtrees that a tree of `size` leaves gains with one more leaf, smallest first."""
    level, index, value = 0, size, leaf
    yield (0, size), value
    while index & 1:
        value = node_hash(read((level, index - 1)), value)
        level, index = level + 1, index >> 1
        yield (level, index), value


def creation_number(node: Node) -> int:
    """How many full subtrees were there before this one, when leaves are appended one by one: 2n − (ones in n) + level for its last leaf n.

    Stored under this number, new nodes always go to the end.
    """
    level, index = node
    last = ((index + 1) << level) - 1
    return 2 * last - last.bit_count() + level


def root(size: int, read: Read) -> bytes:
    """The root hash of the first `size` leaves."""
    return _range_hash(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: Read) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1), leaf side first.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_range_hash(middle, end, read))
            end = middle
        else:
            path.append(_range_hash(begin, middle, read))
            begin = middle
    return path[::-1]


def consistency_proof(old: int, new: int, read: Read) -> list[bytes]:
    """That the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962 §2.1.2); empty when they are the same.

    Raises:
        ValueError: not 0 < old ≤ new.
    """
    if not 0 < old <= new:
        raise ValueError(f"a consistency proof needs 0 < old <= new, got {old} and {new}")
    path: list[bytes] = []
    begin, end, whole = 0, new, True
    while end - begin > 0 and old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append(_range_hash(middle, end, read))
            end = middle
        else:
            path.append(_range_hash(begin, middle, read))
            begin, whole = middle, False
    return ([] if whole else [_range_hash(begin, end, read)]) + path[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that `proof` leads to from `leaf`, or None when the proof has the wrong length (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return None
    position, last, value = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if position & 1 or position == last:
            value = node_hash(step, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, step)
        position, last = position >> 1, last >> 1
    return value if last == 0 else None


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the old tree is the beginning of the new one (RFC 9162 §2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    seen_old = seen_new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            seen_old, seen_new = node_hash(step, seen_old), node_hash(step, seen_new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            seen_new = node_hash(seen_new, step)
        position, last = position >> 1, last >> 1
    return last == 0 and seen_old == old_root and seen_new == new_root


def _range_hash(begin: int, end: int, read: Read) -> bytes:
    """The hash of leaves [begin, end), where `begin` is a multiple of the largest full subtree below."""
    parts: list[bytes] = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        parts.append(read((level, begin >> level)))
        begin += 1 << level
    value = parts.pop()
    while parts:
        value = node_hash(parts.pop(), value)
    return value


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
