"""The transformer that answers and writes: what it may see, what its loss counts, what of its own writing is rehearsed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dream_engine.errors import InputError
from dream_engine.lab.data import Context, Examples, Stream, read_digits, split_stream
from dream_engine.lab.language import Reader, WordPairs, screened
from dream_engine.lab.learners import class_mean_f1
from dream_engine.lab.methods import METHODS, WRITERS, Plan, method
from dream_engine.lab.run import learn


@pytest.fixture
def reader() -> Reader:
    torch.manual_seed(0)
    return Reader(vocabulary=12, length=6, units=3).eval()


def toy(count: int = 60) -> Stream:
    """Two contexts of two labels; the label is in the first word, the rest is noise."""
    rng, contexts = torch.Generator().manual_seed(0), []
    for first in (0, 2):
        y = first + torch.arange(count) % 2
        x = torch.randint(1, 5, (count, 5), generator=rng)
        x[:, 0] = 5 + y
        x[::3, 4] = 0
        contexts.append(Context(f"c{first}", Examples(x, y), Examples(x, y), torch.arange(4) // 2 == first // 2))
    return Stream("class", tuple(contexts), 5, 4, {i: f"word{i}" for i in range(1, 13)}, 12)


def test_what_comes_after_a_text_changes_nothing(reader: Reader) -> None:
    """Padding is never read: the same words in a longer row get the same scores."""
    short, long = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 5, 0, 0, 0]])
    torch.testing.assert_close(reader(short), reader(long))


def test_a_state_sees_what_is_before_it_only(reader: Reader) -> None:
    """Another last word leaves the states before it as they were."""
    first = torch.tensor([reader.ask])
    one, other = reader.states(first, torch.tensor([[3, 4, 5]])), reader.states(first, torch.tensor([[3, 4, 9]]))
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3], other[:, 3])


def test_the_writing_loss_counts_every_word_and_the_end_once(reader: Reader) -> None:
    """Two words and the end: the mean of three cross-entropies, padding left out; a text as long as the row ends as well."""
    x, y = torch.tensor([[3, 4, 0, 0, 0, 0]]), torch.tensor([1])
    log_p = torch.log_softmax(reader.next_word(reader.states(reader.first_label + y, x))[0], 1)
    expected = -(log_p[0, 3] + log_p[1, 4] + log_p[2, 0]) / 3
    assert float(reader.write_loss(x, y)) == pytest.approx(float(expected), rel=1e-5)
    assert math.isfinite(float(reader.write_loss(torch.tensor([[1, 2, 3, 4, 5, 6]]), y)))


def test_writing_is_seeded_and_ends_for_good(reader: Reader) -> None:
    """Same seed, same texts; after the end comes nothing; ids are words."""
    asked = torch.tensor([0, 1, 2, 0, 1, 2])
    texts = [reader.write(asked, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert (texts[0] == texts[1]).all()
    assert int(texts[0].max()) <= 12
    for row in texts[0].tolist():
        assert 0 not in row[: sum(i != 0 for i in row)]


def test_the_screen_blocks_by_rule_and_loses_nothing() -> None:
    """Short, another label, repeated, personal data: kept + blocked = proposed."""
    words = {1: "hello", 2: "there", 3: "ada@example.org"}
    x = torch.tensor([[1, 2], [1, 2], [1, 0], [2, 1], [1, 3]])
    found = screened(x, torch.tensor([0, 0, 0, 0, 0]), torch.tensor([0, 0, 0, 1, 0]), words)
    assert found.x.tolist() == [[1, 2]]
    assert found.blocked == {"duplicate": 1, "too short": 1, "not its label": 1, "personal data": 1}
    assert len(found.x) + sum(found.blocked.values()) == len(x)


def test_pairs_of_words_write_only_what_was_seen() -> None:
    """Every pair in a written text stood in a text of that label."""
    stream = toy()
    source, rng = WordPairs(stream.inputs), torch.Generator().manual_seed(0)
    source.end(stream.contexts[0])
    seen = {(int(y), *pair) for row, y in zip(stream.contexts[0].train.x.tolist(), stream.contexts[0].train.y, strict=True) for pair in pairs(row)}
    labels = torch.tensor([0, 1] * 20)
    for row, label in zip(source.write(labels, torch.nn.Identity(), rng).tolist(), labels.tolist(), strict=True):
        assert {(label, *pair) for pair in pairs(row)} <= seen


def pairs(row: list[int]) -> set[tuple[int, int]]:
    kept = [i for i in row if i]
    return set(itertools.pairwise(kept))


@pytest.mark.parametrize("name", ["lamol", "n-gram"])
def test_a_written_past_keeps_what_none_forgets(name: str) -> None:
    """With nothing stored the first context survives the second; without a past it does not."""
    ends = {n: learn(toy(), n, Plan(iterations=120, batch=32), 0, score=class_mean_f1)[0].matrix[-1] for n in ("none", name)}
    assert ends["none"][0] < 0.2
    assert ends[name][0] > 0.8
    assert ends[name][1] > 0.8


READERS = {"none", "joint", "er", "er-reservoir", "er-newest", "er-1%", "er-5%", "lwf", "si"}


@pytest.mark.parametrize("name", sorted(set(METHODS) - READERS - WRITERS))
def test_methods_of_numbers_refuse_words(name: str) -> None:
    """A generator of pixels cannot write texts, and the message says what can."""
    with pytest.raises(InputError, match="lamol or n-gram"):
        method(name)(toy(), Plan(), 0)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_writers_refuse_numbers(name: str) -> None:
    """And the other way round."""
    with pytest.raises(InputError, match="transformer"):
        method(name)(split_stream(*read_digits(0), "class", 5), Plan(), 0)
