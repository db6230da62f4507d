"""Text in the lab as sequences of words: a small causal transformer that answers with a label and writes texts for a label (after LAMOL, Sun 2020).

Read with `ask` before it, a text's next token is its label; the token *unsafe* is one of them. With a label before it the network writes the text.
So the model that learns is the generator of its own past. Word ids are 1 … V, 0 is padding. Written texts stay in memory and pass a screen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dream_engine.errors import InputError
from dream_engine.lab.batch import Batch
from dream_engine.lab.data import Context, Stream
from dream_engine.lab.learners import Rehearser, products
from dream_engine.lab.nets import masked
from dream_engine.lab.replay import INTACT, Spoiled
from dream_engine.policy import personal

WIDTH, HEADS, LAYERS = 128, 4, 2
WRITE_WEIGHT = 1.0
"""λ of LAMOL's loss: what writing counts beside answering. 0.25 is published for a pretrained model; this one starts from nothing."""
EACH_CONTEXT = 3000
"""Texts written of each past context before a new one is learned, the same number for each of its labels."""
WRITE_BATCH = 256


class Reader(nn.Module):
    """Texts (B, L) of word ids → scores (B, K); and labels (B,) → texts. One embedding for reading and writing."""

    def __init__(self, vocabulary: int, length: int, units: int) -> None:
        super().__init__()
        self.length, self.units, self.ask = length, units, vocabulary + 1 + units
        self.embedding = nn.Embedding(vocabulary + units + 2, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(length + 1, WIDTH))
        nn.init.normal_(self.embedding.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.first_label = vocabulary + 1

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) @ self.embedding.weight[self.first_label : self.ask].T

    def body(self, x: Tensor) -> Tensor:
        """The state (B, H) after the last word, from which the label is told."""
        states = self.states(torch.full((len(x),), self.ask), trimmed(x))
        return states[torch.arange(len(x)), (x != 0).sum(1)]

    def states(self, first: Tensor, x: Tensor) -> Tensor:
        """States (B, L + 1, H) over the first token (B,) and the words; each sees what is before it."""
        tokens = torch.cat([first.unsqueeze(1), x], 1)
        made = self.embedding(tokens) + self.places[: tokens.shape[1]]
        causal = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.layers(made, causal, is_causal=True)  # type: ignore[no-any-return]

    def next_word(self, states: Tensor) -> Tensor:
        """Scores of the words 1 … V and, at place 0, of the end."""
        return states @ self.embedding.weight[: self.first_label].T

    def write_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy a token of writing the texts x after their labels y; the padding id stands for the end, and counts once."""
        x = trimmed(x)
        ended = torch.cat([x, torch.zeros(len(x), 1, dtype=x.dtype)], 1)
        scores = self.next_word(self.states(self.first_label + y, x))
        counted = torch.arange(ended.shape[1]) <= (x != 0).sum(1, keepdim=True)
        return F.cross_entropy(scores[counted].float(), ended[counted])

    @torch.no_grad()
    def write(self, y: Tensor, rng: torch.Generator) -> Tensor:
        """One text (B, L) for each label, drawn word by word from the whole distribution.

        Only the 40 likeliest words (tried) make texts so alike that the first context is half forgotten: macro F1 0.51 instead of 0.85.
        """
        x = torch.zeros(len(y), self.length, dtype=torch.int64)
        going = torch.ones(len(y), dtype=torch.bool)
        for place in range(self.length):
            scores = self.next_word(self.states(self.first_label + y, x[:, :place])[:, -1])
            word = torch.multinomial(scores.float().softmax(1), 1, generator=rng).squeeze(1) * going
            x[:, place] = word
            going &= word != 0
            if not bool(going.any()):
                break
        return x


def trimmed(x: Tensor) -> Tensor:
    """Texts without the columns that are padding in all of them; one column stays."""
    return x[:, : max(1, int((x != 0).sum(1).max()))]


class WritingLearner(Rehearser):
    """Learns to answer and to write at once, so that the next context finds a generator; the network of LAMOL."""

    def _loss(self, now: Batch, past: Batch | None, share: float) -> Tensor:
        net = self._net
        assert isinstance(net, Reader), "only a reader writes"
        answered = super()._loss(now, past, share)
        if past is None:
            return answered + WRITE_WEIGHT * net.write_loss(now.x, now.y)
        return answered + WRITE_WEIGHT * (share * net.write_loss(now.x, now.y) + (1 - share) * net.write_loss(past.x, past.y))


@dataclass(frozen=True)
class Screened:
    """Written texts that may be rehearsed, and how many were blocked by which rule. Kept and blocked are all that were proposed."""

    x: Tensor
    y: Tensor
    blocked: Mapping[str, int]


def screened(x: Tensor, y: Tensor, taken_for: Tensor, words: Mapping[int, str]) -> Screened:
    """Blocks a text of fewer than two words, one that its own writer takes for another label, personal data, and repetitions."""
    seen: set[tuple[int, ...]] = set()
    blocked: Counter[str] = Counter()
    kept = []
    for row, (ids, label, taken) in enumerate(zip(x.tolist(), y.tolist(), taken_for.tolist(), strict=True)):
        key = tuple(i for i in ids if i)
        rule = _rule(key, label == taken, key in seen, words)
        if rule:
            blocked[rule] += 1
        else:
            seen.add(key)
            kept.append(row)
    return Screened(x[kept], y[kept], dict(blocked))


def _rule(key: Sequence[int], agrees: bool, repeated: bool, words: Mapping[int, str]) -> str | None:
    if len(key) < 2:
        return "too short"
    if not agrees:
        return "not its label"
    if repeated:
        return "duplicate"
    return "personal data" if personal.find(" ".join(words.get(i, "") for i in key)) else None


def spoilt(found: Screened, spoiled: Spoiled, vocabulary: int, rng: torch.Generator) -> Screened:
    """What is wrong on purpose with texts that passed the screen."""
    x, kept = found.x.clone(), torch.ones(len(found.y), dtype=torch.bool)
    if spoiled.noise:
        struck = (torch.rand(x.shape, generator=rng) < spoiled.noise) & (x != 0)
        x[struck] = torch.randint(1, vocabulary + 1, (int(struck.sum()),), generator=rng)
    if spoiled.without is not None:
        kept = found.y != spoiled.without
    return Screened(x[kept], found.y[kept], found.blocked)


class Writer(Protocol):
    """Writes texts (B, L) for labels (B,), and is told when a context is over."""

    def write(self, labels: Tensor, net: nn.Module, rng: torch.Generator) -> Tensor: ...

    def end(self, context: Context) -> None: ...


class Written:
    """A source of the past that writes texts of its labels before each new context, screens them, and draws from what was kept.

    What writes is the network as it was left (`Itself`, LAMOL's source) or counts of word pairs (`WordPairs`).
    """

    def __init__(self, stream: Stream, writer: Writer, rng: torch.Generator, spoiled: Spoiled = INTACT, bf16: bool = False) -> None:
        """`spoiled.noise` is the share of words that are replaced at random behind the screen's back; `without` leaves a label out."""
        if stream.words is None:
            raise InputError("this method writes texts, so it needs a stream of words; choose the transformer for text")
        self._stream, self._words, self._rng, self._number, self._spoiled, self._bf16 = stream, stream.words, rng, 1, spoiled, bf16
        self._writer = writer
        self.kept: Screened | None = None

    def begin(self, number: int, net: nn.Module) -> None:
        self._number = number
        self.kept = self._dream(net) if number > 1 else None

    @torch.no_grad()
    def _dream(self, net: nn.Module) -> Screened:
        asked = torch.cat([self._labels(c) for c in self._stream.contexts[: self._number - 1]])
        visible = self._stream.visible(self._number - 1, asked).expand(len(asked), -1)
        with products(self._bf16):
            x = torch.cat([self._writer.write(part, net, self._rng) for part in asked.split(WRITE_BATCH)])
            scores = torch.cat([net(part) for part in x.split(WRITE_BATCH)])
        found = screened(x, asked, masked(scores, visible).argmax(1), self._words)
        if not len(found.x):
            raise InputError(f"nothing of {len(x)} written texts passed the screen ({dict(found.blocked)}); give more steps a context")
        return spoilt(found, self._spoiled, self._stream.vocabulary, self._rng)

    def _labels(self, context: Context) -> Tensor:
        units = context.visible.nonzero().flatten()
        return units.repeat_interleave(max(1, EACH_CONTEXT // len(units)))

    def draw(self, count: int, now: Tensor) -> Batch | None:
        """Each past context alike, whatever was blocked of it."""
        if self.kept is None:
            return None
        past = self._stream.contexts[: self._number - 1]
        chosen = torch.cat([self._some(c, self.kept, -(-count // len(past))) for c in past])[:count]
        y = self.kept.y[chosen]
        return Batch(self.kept.x[chosen], y, self._stream.visible(self._number, y))

    def _some(self, context: Context, kept: Screened, count: int) -> Tensor:
        mine = context.visible[kept.y].nonzero().flatten()
        return mine[torch.randint(len(mine), (count,), generator=self._rng)] if len(mine) else mine

    def learn(self, now: Batch, past: Batch | None, share: float) -> None: ...

    def end(self, context: Context) -> None:
        self._writer.end(context)


class Itself:
    """LAMOL's writer: the network as it was left."""

    def write(self, labels: Tensor, net: nn.Module, rng: torch.Generator) -> Tensor:
        assert isinstance(net, Reader), "a reader writes its own past"
        return net.write(labels, rng)

    def end(self, context: Context) -> None: ...


class WordPairs:
    """The cheap baseline: for each label how often a word followed another. It keeps counts, no text. Writes at most `length` words."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._follows: dict[tuple[int, int], Counter[int]] = {}

    def end(self, context: Context) -> None:
        for ids, label in zip(context.train.x.tolist(), context.train.y.tolist(), strict=True):
            before = 0
            for word in [*(i for i in ids if i), 0][: len(ids)]:
                self._follows.setdefault((label, before), Counter())[word] += 1
                before = word

    def write(self, labels: Tensor, net: nn.Module, rng: torch.Generator) -> Tensor:
        return torch.tensor([self._one(label, rng) for label in labels.tolist()])

    def _one(self, label: int, rng: torch.Generator) -> list[int]:
        made: list[int] = []
        while len(made) < self._length:
            follows = self._follows.get((label, made[-1] if made else 0), Counter({0: 1}))
            drawn = torch.multinomial(torch.tensor(list(follows.values()), dtype=torch.float32), 1, generator=rng)
            word = list(follows)[int(drawn)]
            if word == 0:
                break
            made.append(word)
        return made + [0] * (self._length - len(made))
