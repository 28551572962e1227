"""Paths as people type them, and the folders that belong to a person, also where there is no home folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from betabloom.arguments import path_of
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["guess_path", "local_path", "shell_quoted", "user_folder"]


def local_path(text: str | os.PathLike[str]) -> Path:
    """The path that is meant: `~` is a home folder, and a `file://` address stands for the path in it.

    Raises:
        UsageError: There is no such home folder, or the address is one of another machine.
    """
    name = str(path_of(text, "The place of pictures")) if not isinstance(text, str) else text
    if name.lower().startswith("file:"):
        return _of_address(name)
    try:
        return Path(name).expanduser()
    except RuntimeError:
        if os.path.lexists(name):
            return Path(name)
        home = name.replace("\\", "/").partition("/")[0]
        raise UsageError(
            f"There is no home folder {home} here, so there is no {name}. Write the path in full."
        ) from None


def guess_path(missing: str | os.PathLike[str]) -> str:
    """The end of a sentence about a path that does not exist: " Did you mean 'photos'?", or nothing."""
    import difflib

    path = Path(missing)
    try:
        near = difflib.get_close_matches(path.name, os.listdir(path.parent), 1, 0.6)  # noqa: PTH208  (names are wanted)
    except OSError:
        return ""
    return f" Did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def _of_address(address: str) -> Path:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{address} is on another machine, {parts.netloc}. Copy it here first.")
    rest = address.partition(":")[2]  # also what `urlsplit` takes for a query: # and ? may be in the names of files
    return Path(url2pathname(rest.removeprefix("//").removeprefix("localhost") if rest.startswith("//") else rest))


def user_folder(kind: str, variable: str) -> Path:
    """The folder that this system has for a kind of file of a person's.

    Where a person has no home folder, as in a container that runs under a number, it is one in the folder for temporary
    files that nobody else may write to.

    Arguments:
        kind: "cache" or "data".
        variable: The variable of the environment that names another one, for the message.

    Raises:
        UsageError: There is none.
    """
    import platformdirs

    usual: Callable[..., str] = platformdirs.user_cache_dir if kind == "cache" else platformdirs.user_data_dir
    try:
        return Path(usual("betabloom", appauthor=False))
    except RuntimeError:
        return _own_temporary(variable) / kind


def _own_temporary(variable: str) -> Path:
    import tempfile

    person = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"betabloom-{person}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        status = None
    if status is None or folder.is_symlink() or status.st_uid != person or status.st_mode & 0o022:
        raise UsageError(f"There is no home folder here. Set {variable} to a folder that betabloom may write to.")
    return folder


def shell_quoted(path: Path) -> str:
    """A path as a shell and a command take it, whatever it begins with."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
