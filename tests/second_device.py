"""A second device for machines that have one only: its tensors say that they lie on a GPU, and refuse to meet those that do not.

CI has no GPU. That a tensor made for a computation names the device it is for can be tested all the same: `there` hands out tensors of that device,
and what is made with it inside `SecondDevice` lies there too. As on a GPU, numbers without a dimension and masks may come from anywhere, and values
may be copied in; `tests/test_second_device.py` holds it to a real GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda")
COPY_OR_CHOOSE = (torch.Tensor.__setitem__, torch.Tensor.__getitem__)


class Elsewhere(torch.Tensor):
    """A tensor on the second device."""

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return GPU
        met = [] if func in COPY_OR_CHOOSE else tree_leaves((args, kwargs or {}))
        if any(isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere) and x.dim() for x in met):
            raise RuntimeError(f"{func.__name__}: expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs or {})


class SecondDevice(TorchFunctionMode):
    """Inside it, what is made with `device=GPU` lies there."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if named.get("device") != GPU:
            return func(*args, **named)
        return there(func(*args, **(named | {"device": "cpu"})))


def there(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers on the second device."""
    return tensor.as_subclass(Elsewhere)
