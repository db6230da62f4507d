"""Rows of a batch side by side in lines: what all of them begin with stands once at the head of a line, and no row sees its neighbours.

Requests to one model begin alike (a system turn, the template's marks) and differ in length. Padded, a third of what is computed for a batch of
rehearsal rows is that beginning over again, or nothing at all; gradients through the one beginning are the sum of what the copies would have given.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from math import ceil
from typing import NamedTuple

import torch

LINE = 512
"""Tokens of a line, head left out, beyond which another is begun. Attention grows with the square of a line, all else with its length."""
WORTH_IT = 0.85
"""Share of the padded rows' tokens up to which lines are faster: attention over a line is wider than over a row."""
WIDTH = 32
"""A line is a multiple of this long: a CPU's matrix library compiles a kernel for every new shape, some thirty a step, and keeps the last ones."""
HEAD, PADDING = -1, -2


class Lines(NamedTuple):
    """Token ids and positions (L, S), which position sees which (L, S, S), and for each row its line and where its own tokens begin there."""

    ids: torch.Tensor
    positions: torch.Tensor
    sees: torch.Tensor
    places: list[tuple[int, int]]


def saves(lengths: Sequence[int], shared: int) -> bool:
    """Whether rows of these lengths that share a beginning are read faster in lines than padded to the longest."""
    return sum(lengths) - shared * (len(lengths) - 1) < WORTH_IT * len(lengths) * max(lengths)


def in_lines(rows: Sequence[Sequence[int]], shared: int, pad: int) -> Lines:
    """These rows of token ids, of whose first `shared` tokens each line has one copy; a row is never divided."""
    begin = [0, *accumulate(len(row) - shared for row in rows)]
    count = min(len(rows), ceil(begin[-1] / LINE))
    groups = [list(group) for _, group in groupby(range(len(rows)), lambda i: (begin[i] + begin[i + 1]) * count // (2 * begin[-1]))]
    width = WIDTH * ceil((shared + max(begin[group[-1] + 1] - begin[group[0]] for group in groups)) / WIDTH)
    ids, positions, owners = (torch.full((len(groups), width), empty) for empty in (pad, 0, PADDING))
    ids[:, :shared], positions[:, :shared], owners[:, :shared] = torch.tensor(rows[0][:shared]), torch.arange(shared), HEAD
    places = [(line, shared + begin[i] - begin[group[0]]) for line, group in enumerate(groups) for i in group]
    for i, (line, start) in enumerate(places):
        own = slice(start, start + len(rows[i]) - shared)
        ids[line, own], positions[line, own], owners[line, own] = torch.tensor(rows[i][shared:]), torch.arange(shared, len(rows[i])), i
    sees = ((owners[:, :, None] == owners[:, None, :]) | (owners[:, None, :] == HEAD)).tril()
    return Lines(ids, positions, sees, places)
