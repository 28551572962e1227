"""Packing the model in use as one HTML file, in a thread, with its progress."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from betabloom.errors import BetabloomError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = ["Sharing"]

NONE = {"state": "none", "done": 0, "total": 1, "text": ""}


class Sharing:
    """The shared file that is being made, or was made last.

    Arguments:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._busy = threading.Lock()
        self._of = ""
        self._facts: dict[str, Any] = NONE

    @property
    def file(self) -> Path:
        """Where the file is, once it is there."""
        return self._folder / "shared" / "betabloom.html"

    def about(self, fingerprint: str) -> dict[str, Any]:
        """State ("none", "packing", "ready" or "failed") and progress for a model, and the size of its file."""
        return dict(self._facts if fingerprint == self._of else NONE)

    def start(self, model: str, fingerprint: str, title: str, kept: np.ndarray) -> dict[str, Any]:
        """Begin to pack a model.

        Arguments:
            model: Where it is.
            fingerprint: Which it is: a training may have put a newer one there meanwhile.
            title: What the page says above its pictures.
            kept: Codes (n, l) of pictures that are kept in it from the beginning.

        Raises:
            UsageError: Another one is being packed.
        """
        if not self._busy.acquire(blocking=False):
            raise UsageError("A file is being packed already. Wait for its end.")
        self._of = fingerprint
        self._facts = {"state": "packing", "done": 0, "total": 1, "text": "opening the model"}
        threading.Thread(target=self._pack, args=(model, fingerprint, title, kept), daemon=True).start()
        return self.about(fingerprint)

    def _pack(self, model: str, fingerprint: str, title: str, kept: np.ndarray) -> None:
        try:
            from betabloom.model.model import load
            from betabloom.reports.share import share

            self.file.parent.mkdir(parents=True, exist_ok=True)
            loaded = load(model)
            if loaded.fingerprint != fingerprint:
                raise UsageError("The model was trained further since it was opened. Open it again to share it.")
            made = share(loaded, self.file, title=title, progress=self._told, kept=kept)
            self._facts = {"state": "ready", "done": 1, "total": 1, "text": "", "bytes": made["bytes"]}
        except (BetabloomError, OSError) as error:
            self._facts = {"state": "failed", "done": 0, "total": 1, "text": str(error)}
        finally:
            self._busy.release()

    def _told(self, done: int, total: int, text: str) -> None:
        self._facts = {"state": "packing", "done": done, "total": total, "text": text}

    def content(self, fingerprint: str) -> bytes:
        """The file of a model.

        Raises:
            UsageError: There is none.
        """
        if self.about(fingerprint)["state"] != "ready":
            raise UsageError("There is no shared file yet.")
        return self.file.read_bytes()
