"""What can go wrong, as a tree.

    BetabloomError            anything this library raises on purpose; the command line exits with 1
    ├── UsageError            the request is not valid: a setting, path or option is wrong; exits with 2
    │   └── SourceError       there are no usable pictures where the request points
    ├── PictureError          one picture cannot be read; it is skipped and named, never fatal by itself
    ├── FetchError            a download failed or its checksum is wrong
    ├── FileError             the system does not let a file be written or read: a full disk, no permission
    └── FormatError           a model file, checkpoint or code file is damaged, foreign or of a newer version

`UsageError` is also a `ValueError`, and `FileError` an `OSError`, so that library users can catch what they expect.
Every message says what is wrong, with which file or setting, and what to type.
"""

import errno

__all__ = [
    "STOPPED",
    "BetabloomError",
    "FetchError",
    "FileError",
    "FormatError",
    "PictureError",
    "SourceError",
    "UsageError",
]

STOPPED = 130  # exit code of what a Ctrl-C or another request stopped, as shells have it
_FULL = {errno.ENOSPC: "The disk is full", getattr(errno, "EDQUOT", -1): "Your quota on this disk is used up"}


class BetabloomError(Exception):
    """Anything betabloom raises on purpose.

    Attributes:
        exit_code: With what the command line ends.
    """

    exit_code = 1


class UsageError(BetabloomError, ValueError):
    """The request is not valid: a setting, path or option is wrong."""

    exit_code = 2


class SourceError(UsageError):
    """There are no usable pictures where the request points."""


class PictureError(BetabloomError):
    """One picture cannot be read. It is skipped and named."""


class FetchError(BetabloomError):
    """A download failed, or the file does not have the expected checksum."""


class FileError(BetabloomError, OSError):
    """The system does not let a file or folder be written or read. It has `errno` and `filename` as any `OSError`."""

    @classmethod
    def of(cls, error: OSError, place: str | None = None) -> "FileError":
        """The same error; `place` is the name that a person gave, where the error has another one or none."""
        return cls(error.errno, error.strerror or str(error), place or error.filename)

    def __str__(self) -> str:
        """One sentence, with the name."""
        if full := _FULL.get(self.errno or 0):
            what = f": {self.filename} cannot be written" if self.filename else ""
            return f"{full}{what}. Make room, then type the same again."
        return f"{self.strerror}: {self.filename}" if self.filename else f"{self.strerror}."


class FormatError(BetabloomError):
    """A model file, checkpoint or code file is damaged, foreign or of a newer version."""
