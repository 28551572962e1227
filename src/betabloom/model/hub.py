"""Models on the Hugging Face Hub: found by name, and kept in the Hub's own cache.

Only files of a model directory are taken, at one commit; none of them can run code, and loading compares the weights
with the hashes in config.json. A model that was taken once is found offline. The Hub's client (the extra `hub`) keeps
tokens; betabloom neither reads, prints nor stores them.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from betabloom.errors import BetabloomError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HubModel", "as_hub_error", "download", "is_hub_name", "split_name"]

PREFIX = "hf:"
NAME = re.compile(r"(hf:)?(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
EXTRA = "pip install 'betabloom[hub]'"
WANTED = (
    "config.json", "README.md", "samples.png", "model.safetensors", "enlargers.safetensors", "sampler-*.safetensors",
)  # fmt: skip
_OFFLINE = "The Hugging Face Hub cannot be reached, and {repository} is not in its cache on this machine."
UNREACHABLE = {
    "LocalEntryNotFoundError": _OFFLINE,
    "OfflineModeIsEnabled": _OFFLINE,
    "ConnectError": _OFFLINE,
    "ConnectionError": _OFFLINE,
    "TimeoutException": _OFFLINE,
    "Timeout": _OFFLINE,
}
SENTENCES = {
    "GatedRepoError": "{repository} on the Hugging Face Hub asks for consent: give it on its page there, and log in "
    "with: hf auth login",
    "RevisionNotFoundError": "{repository} on the Hugging Face Hub has no such revision.",
    "RepositoryNotFoundError": "There is no {repository}, neither here nor on the Hugging Face Hub; or it is private: "
    "log in with: hf auth login",
    "LocalTokenNotFoundError": "You are not logged in to the Hugging Face Hub. Type: hf auth login",
    **UNREACHABLE,
}
"""What is said of the exceptions of the Hub's client, which differ from version to version, by their names."""


@dataclass(frozen=True)
class HubModel:
    """A model of the Hub on this disk.

    Attributes:
        folder: The model directory, in the Hub's cache.
        repository: Its name, as "user/model".
        commit: The commit that it was taken from, 40 hexadecimal digits.
    """

    folder: Path
    repository: str
    commit: str


def is_hub_name(text: str) -> bool:
    """Whether "user/model" or "user/model@revision" is meant: "hf:" says so, or nothing else can be."""
    found = NAME.fullmatch(text)
    if not found or Path(text).exists():
        return False
    user = found["repository"].split("/")[0]
    return text.startswith(PREFIX) or (not Path(user).exists() and _is_installed())


def _is_installed() -> bool:
    import importlib.util

    return importlib.util.find_spec("huggingface_hub") is not None


def split_name(text: str) -> tuple[str, str | None]:
    """Repository and revision of a name.

    Raises:
        UsageError: It is no such name, or the Hub's client is not installed.
    """
    found = NAME.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise UsageError(f"{text!r} is no name of the Hub. Names look like user/model, or user/model@revision.")
    if not _is_installed():
        raise UsageError(f"To use models of the Hugging Face Hub, type: {EXTRA}")
    return found["repository"], found["revision"]


def download(name: str) -> HubModel:
    """Take a model from the Hub, or from the Hub's cache where the Hub cannot be reached.

    Arguments:
        name: "user/model", "user/model@revision", with or without "hf:" before it. A revision is a branch, a tag or a
            commit.

    Raises:
        UsageError: There is no such model.
        BetabloomError: The Hub cannot be reached, and the model is not in the cache.
    """
    repository, revision = split_name(name)
    from huggingface_hub import snapshot_download

    with as_hub_error(repository):
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(WANTED)))
    if not (folder / "config.json").is_file():
        raise UsageError(f"{repository} on the Hugging Face Hub is not a betabloom model: it has no config.json.")
    return HubModel(folder, repository, folder.name)


@contextlib.contextmanager
def as_hub_error(repository: str) -> Iterator[None]:
    """Turn what the Hub's client raises into a sentence; no token is in it."""
    try:
        yield
    except BetabloomError:
        raise
    except Exception as error:
        for kind in type(error).__mro__:
            if kind.__name__ in SENTENCES:
                refused = BetabloomError if kind.__name__ in UNREACHABLE else UsageError
                raise refused(SENTENCES[kind.__name__].format(repository=repository)) from error
        first = str(error).strip().split("\n")[0][:300].rstrip(".")
        raise BetabloomError(
            f"The Hugging Face Hub failed on {repository}: {first or type(error).__name__}."
        ) from error
