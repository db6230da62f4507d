"""Data of the lab as tensors in memory, and the contexts that a learner meets one after the other.

Knows files and labels; knows nothing about networks. Shapes: N examples, D input values, K output units.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dream_engine.errors import InputError

Scenario = Literal["task", "domain", "class"]
"""`task`: told which context it is. `domain`: the same labels on other inputs. `class`: must tell all classes apart (van de Ven 2022)."""

IDX_UNSIGNED_BYTE = 8


@dataclass(frozen=True)
class Examples:
    """Inputs (N, D) as float32 in 0 … 1 and labels (N,) as int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def of(self, labels: Sequence[int]) -> Examples:
        """Those that carry one of these labels, in their order."""
        chosen = torch.isin(self.y, torch.tensor(list(labels)))
        return Examples(self.x[chosen], self.y[chosen])


@dataclass(frozen=True)
class Context:
    """What is learned now, how it is tested, and which output units (K,) may be chosen for its examples."""

    name: str
    train: Examples
    test: Examples
    visible: Tensor


@dataclass(frozen=True)
class Stream:
    """The contexts of one experiment. `units` is K; `inputs` is D.

    A stream of words holds ids (N, D) as int64, 0 for nothing, below `vocabulary`; `words` says what those mean that stand for one word alone.
    """

    scenario: Scenario
    contexts: tuple[Context, ...]
    inputs: int
    units: int
    words: Mapping[int, str] | None = None
    vocabulary: int = 0

    def seen(self, count: int) -> Tensor:
        """Output units (K,) of the first `count` contexts."""
        return torch.stack([c.visible for c in self.contexts[:count]]).any(0)

    def visible(self, number: int, y: Tensor) -> Tensor:
        """Output units (K,) or (B, K) that may be chosen for examples labelled y while `number` contexts are known."""
        if self.scenario != "task":
            return self.seen(number)
        owner = torch.stack([next(c.visible for c in self.contexts if c.visible[unit]) for unit in range(self.units)])
        return owner[y]

    def tested(self, number: int, known: int) -> Tensor:
        """Output units (K,) that may be chosen in the test of context `number` while `known` contexts are known."""
        return self.seen(max(number, known)) if self.scenario == "class" else self.contexts[number - 1].visible


def split_stream(train: Examples, test: Examples, scenario: Scenario, contexts: int, deal: int = 0) -> Stream:
    """Classes dealt to `contexts` contexts of equal size; in the domain scenario labels start at 0 in each.

    Deal 0 takes the classes in their order, any other number draws an order of its own, as the published tables do for each seed: which classes
    share a label weighs more in the domain scenario than anything else that a seed decides.

    Raises:
        InputError: the classes cannot be dealt evenly, or a context would hold one class only.
    """
    classes = sorted(set(train.y.tolist()))
    if len(classes) % contexts or len(classes) // contexts < 2:
        raise InputError(f"{len(classes)} classes cannot be split into {contexts} contexts of two or more; choose a divisor")
    if deal:
        drawn = torch.randperm(len(classes), generator=torch.Generator().manual_seed(deal))
        classes = [classes[i] for i in drawn.tolist()]
    per, shared = len(classes) // contexts, scenario == "domain"
    units = per if shared else len(classes)
    unit = {label: i % per if shared else i for i, label in enumerate(classes)}
    made = []
    for start in range(0, len(classes), per):
        group = classes[start : start + per]
        visible = torch.zeros(units, dtype=torch.bool)
        visible[[unit[c] for c in group]] = True
        parts = [_relabelled(e.of(group), unit) for e in (train, test)]
        made.append(Context(f"classes {', '.join(str(c) for c in group)}", parts[0], parts[1], visible))
    return Stream(scenario, tuple(made), train.x.shape[1], units)


def _relabelled(examples: Examples, unit: Mapping[int, int]) -> Examples:
    return Examples(examples.x, torch.tensor([unit[label] for label in examples.y.tolist()]))


def permuted_stream(train: Examples, test: Examples, scenario: Scenario, contexts: int, seed: int) -> Stream:
    """Every context holds all classes, its inputs in an order of its own; the first order is the given one."""
    rng, k = torch.Generator().manual_seed(seed), int(train.y.max()) + 1
    units = k if scenario == "domain" else k * contexts
    made = []
    for number in range(contexts):
        order = torch.randperm(train.x.shape[1], generator=rng) if number else torch.arange(train.x.shape[1])
        shift = 0 if scenario == "domain" else number * k
        visible = torch.zeros(units, dtype=torch.bool)
        visible[shift : shift + k] = True
        parts = [Examples(e.x[:, order], e.y + shift) for e in (train, test)]
        made.append(Context(f"permutation {number + 1}", parts[0], parts[1], visible))
    return Stream(scenario, tuple(made), train.x.shape[1], units)


def batches(examples: Examples, size: int, rng: torch.Generator) -> Iterator[Examples]:
    """Endless batches; each pass over the examples in a fresh order."""
    while True:
        order = torch.randperm(len(examples), generator=rng)
        for start in range(0, max(1, len(examples) - size + 1), size):
            chosen = order[start : start + size]
            yield Examples(examples.x[chosen], examples.y[chosen])


def content_digest(*parts: Examples) -> str:
    """Tells data apart by what they hold, wherever they lie: a checksum of inputs and labels."""
    sums = [zlib.crc32(tensor.contiguous().numpy().tobytes()) for part in parts for tensor in (part.x, part.y)]
    return "-".join(f"{value:08x}" for value in sums)


# ---- files -------------------------------------------------------------------------------------------------------


def read_digits(seed: int) -> tuple[Examples, Examples]:
    """scikit-learn's 1,797 digits of 8 × 8 pixels, four fifths to train on."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = torch.tensor(found.data / 16.0, dtype=torch.float32), torch.tensor(found.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    cut = len(y) * 4 // 5
    return Examples(x[order[:cut]], y[order[:cut]]), Examples(x[order[cut:]], y[order[cut:]])


def read_mnist(folder: Path, pad: int = 0) -> tuple[Examples, Examples]:
    """The four IDX files of MNIST (plain or .gz) as (60000, D) and (10000, D); `pad` adds that many zeros at each edge.

    Raises:
        InputError: a file is missing, truncated or not IDX; labels and images do not match; a label is not 0–9.
    """
    return _pair(folder, "train", pad), _pair(folder, "t10k", pad)


def _pair(folder: Path, part: str, pad: int) -> Examples:
    images, labels = (read_idx(_found(folder, f"{part}-{kind}")) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise InputError(f"{folder}: {part} holds {images.shape} images and {labels.shape} labels; one label an image is needed")
    if len(labels) == 0 or labels.max() > 9:
        raise InputError(f"{folder}: {part} has {'no labels' if len(labels) == 0 else f'label {labels.max()}'}; digits are 0 to 9")
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad)))
    return Examples(torch.tensor(padded.reshape(len(labels), -1), dtype=torch.float32) / 255, torch.tensor(labels.astype(np.int64)))


def _found(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder / name}[.gz] does not exist; --data-dir must hold the four IDX files of MNIST")


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes.

    Raises:
        InputError: it is not IDX, not of unsigned bytes, or shorter or longer than its header says.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\x00\x00" or data[2] != IDX_UNSIGNED_BYTE or not 1 <= data[3] <= 4:
        raise InputError(f"{path} is not an IDX file of unsigned bytes (first bytes {data[:4].hex() or 'none'})")
    head = 4 + 4 * data[3]
    if len(data) < head:
        raise InputError(f"{path} ends within its header")
    shape = struct.unpack(f">{data[3]}I", data[4:head])
    if len(data) - head != int(np.prod(shape, dtype=np.int64)):
        raise InputError(f"{path} holds {len(data) - head} values where its header says {shape}; download it again")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
