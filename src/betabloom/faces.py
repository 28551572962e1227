"""What a folder shows: its public names, each imported from its module on first use, so that a face costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["face"]


def face(
    package: str, homes: Mapping[str, str], rooms: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Arguments:
        package: Its `__name__`.
        homes: By module, relative to the package, the public names that are defined there, with spaces between.
        rooms: The modules and folders that are public themselves.
    """
    found = {name: home for home, names in homes.items() for name in names.split()}
    own = rooms.split()

    def get(name: str) -> Any:
        if name in own:
            return importlib.import_module(f"{package}.{name}")
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{found[name]}"), name)

    return get, lambda: sorted((*found, *own))
