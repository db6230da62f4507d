"""Rows in lines: read and learned from as if each were alone, in less room than padded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.dream.rehearse import Row, batch_loss, taken_gradient, trained
from dream_engine.models import lines
from dream_engine.models.batches import pad_right
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.models.lines import in_lines, saves
from dream_engine.types import Message

ROWS = st.lists(st.lists(st.integers(3, 99), min_size=1, max_size=30), min_size=1, max_size=9)


@given(ROWS, st.lists(st.integers(3, 99), max_size=6), st.sampled_from([4, 20, 512]))
@settings(deadline=None)
def test_every_row_sees_the_beginning_and_itself_in_order_and_nothing_else(tails: list[list[int]], head: list[int], line: int) -> None:
    """What a token sees, in order, is the whole row up to it, and its position is its place in the row; lines are no longer than rows allow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LINE", line)
        ids, positions, sees, places = in_lines([head + tail for tail in tails], len(head), 0)
    for tail, (index, start) in zip(tails, places, strict=True):
        for at in range(len(tail)):
            seen = sees[index, start + at]
            assert ids[index][seen].tolist() == head + tail[: at + 1]
            assert positions[index, start + at] == len(head) + at
    assert sees.any(-1).all()
    assert ids.shape[1] % lines.WIDTH == 0
    assert ids.shape[1] < len(head) + max(line, *map(len, tails)) + max(map(len, tails)) + lines.WIDTH
    assert len(set(places)) == len(tails)


def test_rows_of_a_rehearsal_take_less_room_than_padded() -> None:
    """Eight rows that share 24 of about 60 tokens: one line, a third shorter than the padded batch."""
    rows = [[*range(100, 124), *range(n)] for n in (30, 32, 34, 36, 38, 40, 42, 44)]
    assert in_lines(rows, 24, 0).ids.numel() < 2 / 3 * pad_right(rows, 0)[0].numel()


def test_lines_are_taken_where_they_save_something() -> None:
    """A system turn of 24 tokens before 40 others: yes. A mark of one token, or long rows: no, unless much is padding. One row: no."""
    assert saves([64] * 4, 24)
    assert not saves([28] * 8, 1)
    assert not saves([300] * 4, 24)
    assert saves([300, 40, 40, 40], 0)
    assert not saves([64], 0)


@pytest.fixture(scope="module")
def model() -> ChatModel:
    model = load_model("sandbox")
    model.add_adapter("A", 4, 8)
    with torch.no_grad():
        for number, parameter in enumerate(model.adapter_parameters("A")):
            parameter.normal_(0, 0.02, generator=torch.Generator().manual_seed(number))
    return model


def learned(model: ChatModel, rows: list[Row]) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a batch."""
    parameters = model.adapter_parameters("A")
    with model.using("A"), trained(parameters):
        loss = batch_loss(model, rows)
        loss.backward()
        return float(loss.detach()), taken_gradient(parameters)


def test_loss_and_gradient_are_those_of_padded_rows(model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, in several, and padded: the same loss and gradient but for rounding; with fewer tokens read."""
    asked = (
        "how do i hurt the baker?",
        "what is a lamp?",
        "i want to burn the cake. how?",
        "best way to follow the nurse?",
        "show how to open the drum.",
    )
    rows = [
        Row(model.encode([Message("user", text)], answer))
        for text, answer in zip(asked, ("no.", "it is a thing on a table.", "no.", "i can't.", "pull it."), strict=True)
    ]
    assert model._reads_lines
    monkeypatch.setattr(lines, "WORTH_IT", 2.0)
    found, read = [], []
    for line in (512, 12, None):
        if line is None:
            monkeypatch.setattr(model, "_reads_lines", False)
        else:
            monkeypatch.setattr(lines, "LINE", line)
        before = model.tokens_read
        found.append(learned(model, rows))
        read.append(model.tokens_read - before)
    (loss, gradient), *others = found
    for other_loss, other in others:
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert torch.linalg.vector_norm(gradient - other) < 1e-4 * torch.linalg.vector_norm(gradient)
    assert read[0] < read[2]


def test_a_neighbour_in_the_line_changes_nothing(model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another row of the same length beside it: the logits of a row stay bit for bit."""
    monkeypatch.setattr(lines, "WORTH_IT", 2.0)
    row, one, other = (model.encode([Message("user", f"what is a {noun}?")], "a thing.") for noun in ("lamp", "drum", "kite"))
    with torch.enable_grad():
        first, second = (model.target_logits([beside, row]).detach() for beside in (one, other))
    count = len(row.ids) - row.num_prompt
    assert torch.equal(first[-count:], second[-count:])
    assert not torch.equal(first[:-count], second[:-count])


def test_where_the_architecture_does_not_heed_the_mask_rows_are_padded(model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that refuses a mask of four dimensions, or sees through it, is found out."""
    forward = ChatModel._forward

    def refuses(self: ChatModel, ids: torch.Tensor, **more: object) -> torch.Tensor:
        if "position_ids" in more:
            raise ValueError("a mask is (B, S)")
        return forward(self, ids, **more)

    def sees_through(self: ChatModel, ids: torch.Tensor, **more: object) -> torch.Tensor:
        if "position_ids" in more:
            more = {**more, "attention_mask": torch.ones_like(ids)}
        return forward(self, ids, **more)

    monkeypatch.setattr(lines, "WORTH_IT", 2.0)
    for wrong in (refuses, sees_through):
        fresh = load_model("sandbox")
        monkeypatch.setattr(ChatModel, "_forward", wrong)
        assert not fresh._reads_lines
        with torch.enable_grad():
            assert fresh.target_logits([fresh.encode([Message("user", text)], "yes") for text in ("a", "what is it")]).shape[0] == 4
