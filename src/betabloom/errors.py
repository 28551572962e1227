"""What can go wrong, as a tree.

    BetabloomError            anything this library raises on purpose; the command line exits with 1
    ├── UsageError            the request is not valid: a setting, path or option is wrong; exits with 2
    │   └── SourceError       there are no usable pictures where the request points
    ├── PictureError          one picture cannot be read; it is skipped and named, never fatal by itself
    ├── FetchError            a download failed or its checksum is wrong
    └── FormatError           a model file, checkpoint or code file is damaged, foreign or of a newer version

`UsageError` is also a `ValueError`, so that library users can catch what they expect.
Every message says what is wrong, with which file or setting, and what to type.
"""

__all__ = ["BetabloomError", "FetchError", "FormatError", "PictureError", "SourceError", "UsageError"]


class BetabloomError(Exception):
    """Anything betabloom raises on purpose."""


class UsageError(BetabloomError, ValueError):
    """The request is not valid: a setting, path or option is wrong."""


class SourceError(UsageError):
    """There are no usable pictures where the request points."""


class PictureError(BetabloomError):
    """One picture cannot be read. It is skipped and named."""


class FetchError(BetabloomError):
    """A download failed, or the file does not have the expected checksum."""


class FormatError(BetabloomError):
    """A model file, checkpoint or code file is damaged, foreign or of a newer version."""
