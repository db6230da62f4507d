"""Rows of unequal length side by side: which go together, how they are padded, and log-probabilities a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

ROWS_AT_ONCE = 64


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many first tokens all rows share, at most one less than the shortest row; 0 for a single row."""
    if len(rows) < 2:
        return 0
    limit = min(len(row) for row in rows) - 1
    return next((i for i in range(limit) if any(row[i] != rows[0][i] for row in rows)), limit)


def logprobs_of(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """log p of one token (N,) at each row of logits (N, V), nats."""
    parts = zip(log_softmaxes(logits), tokens.split(ROWS_AT_ONCE), strict=True)
    return torch.cat([logp.gather(-1, wanted[:, None])[:, 0] for logp, wanted in parts])


def log_softmaxes(logits: torch.Tensor) -> Iterator[torch.Tensor]:
    """Log-probabilities in fp32 of logits (N, V), `ROWS_AT_ONCE` rows at a time.

    A whole batch over the vocabulary would be a hundred megabytes, which a CPU fetches anew from the system each time.
    """
    return (torch.log_softmax(part.float(), -1) for part in logits.split(ROWS_AT_ONCE))


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of similar length, longest first, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def by_tokens(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Indices in batches of at most `tokens_per_batch` padded tokens (at least one row each)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > tokens_per_batch:
            batches.append([])
        batches[-1].append(index)
    return batches


def pad_right(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, S), padded at the end."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, S), padded at the start, as generation needs."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*[pad] * (width - len(row)), *row] for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
