"""Contexts, and IDX files that are not what they say."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from dream_engine.errors import InputError
from dream_engine.lab.data import Examples, Scenario, batches, permuted_stream, read_digits, read_idx, read_mnist, split_stream


def idx(*shape: int, data: bytes | None = None) -> bytes:
    size = 1
    for n in shape:
        size *= n
    return b"\x00\x00\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + (bytes(size) if data is None else data)


def mnist(folder: Path, labels: bytes = bytes(range(10))) -> Path:
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(10, 2, 2))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(len(labels), data=labels)))
    return folder


def test_mnist_is_read_plain_or_packed(tmp_path: Path) -> None:
    """Ten images of four pixels, padded by one on each side."""
    train, _ = read_mnist(mnist(tmp_path), pad=1)
    assert train.x.shape == (10, 16)
    assert train.y.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "not an IDX"), (b"GIF89a", "not an IDX"), (idx(3, 2)[:-1], "header says"), (idx(3, 2) + b"x", "header says"),
     (idx(3, 2)[:7], "within its header"), (b"\x00\x00\x0d\x01" + bytes(8), "unsigned bytes")],
)  # fmt: skip
def test_a_broken_idx_file_is_said_to_be(tmp_path: Path, content: bytes, word: str) -> None:
    """Empty, foreign, cut, too long, of another type: one message each, with the path."""
    path = tmp_path / "x-idx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=word):
        read_idx(path)


def test_missing_files_labels_and_shapes_are_said(tmp_path: Path) -> None:
    """No file, a cut gzip, labels of another number, a label 10."""
    with pytest.raises(InputError, match="does not exist"):
        read_mnist(tmp_path)
    with pytest.raises(InputError, match="one label an image"):
        read_mnist(mnist(tmp_path, bytes(9)))
    with pytest.raises(InputError, match="label 10"):
        read_mnist(mnist(tmp_path, bytes([10] * 10)))
    whole = mnist(tmp_path) / "train-labels-idx1-ubyte.gz"
    whole.write_bytes(whole.read_bytes()[:12])
    with pytest.raises(InputError, match="cannot be read"):
        read_mnist(tmp_path)


def test_scenarios_differ_in_what_may_be_chosen() -> None:
    """Ten digits in five contexts: class sees all so far, task its own two, domain two shared units."""
    train, test = read_digits(0)
    streams = {s: split_stream(train, test, s, 5) for s in ("class", "task", "domain")}  # type: ignore[arg-type]
    y = streams["class"].contexts[2].train.y
    assert streams["class"].visible(3, y).nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert streams["task"].visible(3, y)[0].nonzero().flatten().tolist() == [4, 5]
    assert streams["domain"].units == 2
    assert set(streams["domain"].contexts[4].train.y.tolist()) == {0, 1}


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_a_deal_moves_classes_and_keeps_examples(scenario: Scenario) -> None:
    """Every example stays, each context holds two classes under two units of its own (domain: shared ones); a deal is the same twice."""
    train, test = read_digits(0)
    given, dealt, again = (split_stream(train, test, scenario, 5, deal) for deal in (0, 3, 3))
    assert sum(len(c.train) for c in dealt.contexts) == len(train)
    assert [c.name for c in dealt.contexts] == [c.name for c in again.contexts] != [c.name for c in given.contexts]
    assert sorted(digit for c in dealt.contexts for digit in c.name[8:].split(", ")) == [str(d) for d in range(10)]
    for context in dealt.contexts:
        digits, units = [int(digit) for digit in context.name[8:].split(", ")], context.visible.nonzero().flatten().tolist()
        for digit, unit in zip(digits, units, strict=True):
            assert torch.equal(context.train.x[context.train.y == unit], train.of([digit]).x)


@pytest.mark.parametrize("contexts", [3, 10])
def test_classes_that_cannot_be_dealt_are_refused(contexts: int) -> None:
    """Ten classes into three contexts, or one class a context."""
    with pytest.raises(InputError, match="cannot be split"):
        split_stream(*read_digits(0), "class", contexts)


def test_a_permutation_moves_pixels_and_keeps_them() -> None:
    """The first order is the given one; another holds the same values."""
    stream = permuted_stream(*read_digits(0), "domain", 3, seed=0)
    first, second = (c.train.x[0] for c in stream.contexts[:2])
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, second.sort().values)


def test_batches_deal_every_example_once_a_pass() -> None:
    """Twelve examples, batches of four: three batches hold all."""
    source = batches(Examples(torch.arange(12.0).unsqueeze(1), torch.arange(12)), 4, torch.Generator().manual_seed(0))
    assert sorted(torch.cat([next(source).y for _ in range(3)]).tolist()) == list(range(12))
