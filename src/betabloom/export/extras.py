"""What exporting needs beyond what betabloom installs: asked for in one sentence where it is missing."""

from __future__ import annotations

import importlib.util

from betabloom.errors import UsageError

__all__ = ["needed"]


def needed(*modules: str, extra: str) -> None:
    """Refuse to go on where modules are not installed.

    Arguments:
        modules: Their names.
        extra: The extra of betabloom that installs them.

    Raises:
        UsageError: One is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"This needs {' and '.join(missing)}. Type: pip install 'betabloom[{extra}]'")
