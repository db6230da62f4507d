"""The second device of the tests against a real one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from second_device import GPU, SecondDevice, there

Move = Callable[[torch.Tensor], torch.Tensor]
DEVICES = [
    pytest.param(there, id="tests'"),
    pytest.param(
        lambda x: x.to(GPU), id="real", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: the tests' device alone")
    ),
]


@pytest.mark.parametrize("move", DEVICES)
def test_tensors_meet_on_one_device_only(move: Move) -> None:
    """A sum across devices is refused, also into a part of a tensor; one on the same device, a plain number and a copy are not."""
    here, gpu = torch.ones(3), move(torch.ones(3))
    for wrong in (lambda: gpu + here, lambda: gpu[:2].add_(here[:2]), lambda: torch.where(gpu > 0, here, gpu)):
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    with SecondDevice():
        made = torch.tensor([1.0, 2.0, 3.0], device=gpu.device)
    assert (gpu + made).tolist() == [2, 3, 4]
    assert (gpu + torch.tensor(1.0)).tolist() == [2, 2, 2]
    assert gpu[here > 0].tolist() == [1, 1, 1]
    gpu[0] = here[0]
    assert gpu.tolist() == [1, 1, 1]
    assert gpu.device.type == "cuda"
