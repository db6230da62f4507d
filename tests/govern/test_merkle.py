"""The tree against the recursive definition of RFC 6962, and proofs that hold for what is true and for nothing else."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.govern.merkle import (
    EMPTY_ROOT,
    Node,
    appended,
    consistency_proof,
    creation_number,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    root,
    root_from_inclusion,
)  # fmt: skip

LEAVES = [f"entry {i}".encode() for i in range(310)]


class Tree:
    """Nodes in memory, grown leaf by leaf as the ledger does."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.nodes: dict[Node, bytes] = {}
        for size, data in enumerate(leaves):
            self.nodes.update(appended(size, leaf_hash(data), self.nodes.__getitem__))

    def read(self, node: Node) -> bytes:
        return self.nodes[node]


TREE = Tree(LEAVES)


def definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + definition(leaves[:k]) + definition(leaves[k:])).digest()


def test_roots_equal_the_definition() -> None:
    """Every size up to 300."""
    assert root(0, TREE.read) == EMPTY_ROOT == definition([])
    for size in range(1, 301):
        assert root(size, TREE.read) == definition(LEAVES[:size])


def test_known_roots() -> None:
    """The certificate-transparency test vectors (leaves of the reference implementation, sizes 1 to 8)."""
    leaves = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    tree = Tree(leaves)
    assert root(1, tree.read).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root(8, tree.read).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 65, 127, 300])
def test_inclusion_holds_for_every_leaf_and_is_short(size: int) -> None:
    """P4: at most ceil(log2 n) + 1 hashes; another leaf, index or size does not verify."""
    top = root(size, TREE.read)
    for index in range(size):
        proof = inclusion_proof(index, size, TREE.read)
        assert len(proof) <= math.ceil(math.log2(size)) + 1
        leaf = leaf_hash(LEAVES[index])
        assert root_from_inclusion(leaf, index, size, proof) == top
        assert root_from_inclusion(leaf_hash(b"other"), index, size, proof) != top
        assert root_from_inclusion(leaf, index, size, [*proof, leaf]) != top
        assert size == 1 or root_from_inclusion(leaf, (index + 1) % size, size, proof) != top


@settings(max_examples=600, deadline=None)
@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 20), st.integers(0, 255))
def test_consistency_holds_for_prefixes_only(old: int, more: int, at: int, flip: int) -> None:
    """P4: any two sizes verify; a changed hash, a changed root or a cut proof does not."""
    new = min(300, old + more)
    proof = consistency_proof(old, new, TREE.read)
    first, second = root(old, TREE.read), root(new, TREE.read)
    assert len(proof) <= math.ceil(math.log2(new)) + 1 if new > 1 else not proof
    assert is_consistent(old, new, first, second, proof)
    assert not is_consistent(old, new, leaf_hash(b"x"), second, proof)
    assert not is_consistent(old, new, first, leaf_hash(b"x"), proof)
    assert not is_consistent(old, new, first, second, [*proof, first])
    if proof and flip:
        changed = list(proof)
        changed[at % len(proof)] = bytes([changed[at % len(proof)][0] ^ flip]) + changed[at % len(proof)][1:]
        assert not is_consistent(old, new, first, second, changed)
        assert not is_consistent(old, new, first, second, proof[:-1])


def test_nonsense_is_refused() -> None:
    """No leaf beyond the end, no consistency with an empty or a larger tree."""
    for bad in (-1, 5):
        with pytest.raises(ValueError, match="not in a tree"):
            inclusion_proof(bad, 5, TREE.read)
    for old, new in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="0 < old"):
            consistency_proof(old, new, TREE.read)
    assert root_from_inclusion(leaf_hash(b""), 3, 3, []) is None
    assert not is_consistent(0, 3, EMPTY_ROOT, root(3, TREE.read), [])


@given(st.integers(1, 600))
def test_creation_numbers_count_the_nodes_in_the_order_in_which_they_come(size: int) -> None:
    """0, 1, 2, … without a gap, however many leaves: a node's place in a file can be computed."""
    nodes: dict[Node, bytes] = {}
    made: list[Node] = []
    for leaf in range(size):
        for node, value in appended(leaf, leaf_hash(b"x"), nodes.__getitem__):
            nodes[node] = value
            made.append(node)
    assert [creation_number(node) for node in made] == list(range(len(made)))
