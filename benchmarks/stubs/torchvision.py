"""Names that disent and torchmetrics import from torchvision and that training never uses.

torchvision itself does not load beside the CPU build of torch.

`make bench-peers` puts this folder on the path of `.venv-peers`, and of nothing else.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class Missing:
    """Stands for whatever is asked for: it can be imported and inherited from, not made."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("torchvision is only a stub in .venv-peers (benchmarks/stubs).")


def _anything(name: str) -> type[Missing]:
    if name.startswith("__"):
        raise AttributeError(name)
    return Missing


def _module(name: str) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}")
    module.__getattr__ = _anything  # type: ignore[method-assign]
    sys.modules[module.__name__] = module
    return module


datasets, models, transforms = _module("datasets"), _module("models"), _module("transforms")
transforms.functional = _module("transforms.functional")
