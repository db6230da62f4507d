"""Dream Engine: an offline replay cycle that keeps a chat model safe while it learns. Start at `cycle.run_cycle`.

Five names make a notebook: `load_config`, `Workspace`, `run_cycle`, `gate_adapter`, `export_adapter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dream_engine.config import load_config
    from dream_engine.cycle import gate_adapter, run_cycle
    from dream_engine.export import export_adapter
    from dream_engine.workspace import Workspace

__all__ = ["Workspace", "export_adapter", "gate_adapter", "load_config", "run_cycle"]
_HOMES = {"load_config": "config", "Workspace": "workspace", "run_cycle": "cycle", "gate_adapter": "cycle", "export_adapter": "export"}


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first asked for, so that `import dream_engine` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dream_engine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dream_engine.{_HOMES[name]}"), name)
