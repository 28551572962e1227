"""Pictures from Python: NumPy arrays and torch tensors."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.data.pictures.decode import PictureFacts, upright
from betabloom.data.pictures.depth import HAIR, Window
from betabloom.data.pictures.reading import Reading
from betabloom.data.sources.source import Source
from betabloom.errors import SourceError, UsageError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self, Unpack

    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["Arrays"]

_CHANNELS = (1, 3, 4)
_LAYOUT = "(N, H, W, C), (N, C, H, W) or (N, H, W), with C = 1, 3 or 4"
_PICTURES = ("images", "pictures", "imgs", "x", "data", "arr_0")
_LABELS = ("labels", "label", "y", "targets")


class Arrays(Source):
    """Pictures in one array.

    Arguments:
        array: A NumPy array or torch tensor of shape (N, H, W, C), (N, C, H, W) or (N, H, W) with 1, 3 or 4 channels
            (the fourth is alpha), or one picture of shape (H, W, C); uint8, bool, or floating point from 0 to
            1, other numbers with `levels`. It is not copied, and should not change afterwards.
        labels: N class indices, or N names of classes.
        names: N different names; "0", "1", … if left out.
        layout: "NHWC" or "NCHW", needed only where the shape fits both.
        name: What a person calls it.
        options: How values and transparency are read; see `Reading`. `levels` "auto" looks at the whole array.

    Raises:
        UsageError: The array has another shape or type, or values out of range, or lengths differ.
    """

    def __init__(
        self,
        array: Any,
        labels: Any = None,
        *,
        names: Sequence[str] | None = None,
        layout: str | None = None,
        name: str = "array",
        **options: Unpack[ReadingOptions],
    ) -> None:
        self.name, self.reading = name, Reading(**options)
        self.splits = {}
        self._pictures = _channels_last(_numpy(array, "array"), layout)
        self._window, self.notes = _window(self._pictures, self.reading)
        count = len(self._pictures)
        self.names = [str(i) for i in range(count)] if names is None else list(names)
        if len(self.names) != count or len(set(self.names)) != count:
            raise UsageError(f"'names' should be {count} different names, one for each picture")
        if labels is not None:
            self.label_names, self.labels = _classes(_numpy(labels, "labels"), count)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Unpack[ReadingOptions]) -> Self:
        """Open a .npy file, or an .npz file with an array "images" (and "labels").

        Raises:
            SourceError: It cannot be read; arrays of Python objects are refused, as loading one could run code.
        """
        path = local_path(path)
        try:
            content = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(content, np.ndarray):
                return cls(content, name=path.stem, **options)
            with content:
                chosen = next((key for key in _PICTURES if key in content), None)
                if chosen is None:
                    held = ", ".join(content) or "nothing"
                    raise SourceError(f"'{path}' has no array 'images', only {held}: call that of the pictures so")
                labels = next((key for key in _LABELS if key in content), None)
                for key in filter(None, (chosen, labels)):
                    _check_member(path, key)
                made = cls(content[chosen], None if labels is None else content[labels], name=path.stem, **options)
                others = sorted(set(content) - {chosen, labels})
                if others:
                    made.notes = [*made.notes, f"Of '{path.name}', '{chosen}' is used, and not: {', '.join(others)}"]
                return made
        except SourceError:
            raise
        except UsageError as error:
            raise SourceError(f"'{path}': {error}") from error
        except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise SourceError(f"'{path}' holds no usable pictures: {error}") from error

    def read(self, index: int) -> Image.Image:
        """Return picture `index`; see `Source.read`."""
        return upright(self._image(index), self.reading)

    def read_transparent(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Return picture `index` with its transparency; see `Source.read_transparent`."""
        return upright(self._image(index), self.reading, alpha=True)

    def _image(self, index: int) -> Image.Image:
        picture = self._pictures[index]
        if self._window is not None:
            levels = self._window(picture[..., :3])
            picture = np.concatenate([levels, _alpha(picture[..., 3:])], axis=-1) if picture.shape[2] == 4 else levels
        return Image.fromarray(np.ascontiguousarray(picture if picture.shape[2] > 1 else picture[..., 0]))

    def facts(self, index: int) -> PictureFacts:
        """Return the size that all pictures have."""
        height, width = self._pictures.shape[1:3]
        return PictureFacts(width, height)

    def fingerprint(self) -> str:
        """Digest the pixels and names: about a second for each gigabyte."""
        facts = (self._pictures.shape, self._pictures.dtype.str, list(self.names), self._window, self.reading)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=32)
        for picture in self._pictures:
            digest.update(np.ascontiguousarray(picture).data)
        if self.labels is not None:
            digest.update(self.labels.tobytes() + repr(self.label_names).encode())
        return digest.hexdigest()


def _check_member(path: Path, key: str) -> None:
    """Refuse an array that unpacks to more than this machine's memory, or whose header announces more than is there."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(key if key in archive.namelist() else f"{key}.npy")
        if info.file_size > _memory():
            raise SourceError(
                f"'{path}': the array '{key}' unpacks to {info.file_size / 1e9:,.1f} GB, more than the memory of this "
                "machine: save it with numpy.save as .npy, which is read in place"
            )
        with archive.open(info) as file:
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            header = read.get(np.lib.format.read_magic(file))
            shape, _, dtype = (((), False, np.dtype("u1"))) if header is None else header(file)
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise SourceError(f"'{path}': the array '{key}' is damaged: it announces more than it holds")


def _memory() -> int:
    """Return how many bytes of memory this machine has, or 64 GiB where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 64 << 30


def _numpy(array: Any, name: str) -> np.ndarray:
    """Return an array of a torch tensor, without importing torch, or of what NumPy understands."""
    if hasattr(array, "detach") and hasattr(array, "cpu"):
        array = array.detach().cpu().numpy()
    try:
        result = np.asarray(array)
    except (ValueError, TypeError) as error:
        raise UsageError(f"'{name}' should be one array, with pictures of one size: {error}") from error
    if result.dtype.kind == "c":
        raise UsageError(f"'{name}' should be real numbers, not {result.dtype}")
    if result.dtype.hasobject:
        raise UsageError(f"'{name}' should be numbers, not Python objects (are its pictures of different sizes?)")
    return result


def _channels_last(array: np.ndarray, layout: str | None) -> np.ndarray:
    """Return a view of shape (N, H, W, C)."""
    if array.ndim == 3 and array.shape[2] in _CHANNELS and array.shape[1] > _CHANNELS[-1]:
        array = array[None]  # one picture
    if array.ndim == 3:
        if array.shape[0] in _CHANNELS[1:]:
            raise UsageError(
                f"an array of shape {array.shape} can be read in two ways: pass array[None] for one picture of "
                f"{array.shape[0]} channels, or array[..., None] for {array.shape[0]} grey pictures"
            )
        array = array[..., None]
        layout = "NHWC"
    if array.ndim != 4 or 0 in array.shape:
        raise UsageError(f"'array' should have the shape {_LAYOUT}, not {array.shape}")
    last, first = (array.shape[axis] in _CHANNELS[:2] for axis in (3, 1))
    if not last and not first:  # then four may be meant
        last, first = (array.shape[axis] == _CHANNELS[-1] for axis in (3, 1))
    if layout is None and last and first:
        raise UsageError(f"an array of shape {array.shape} can be read in two ways: add layout='NHWC' or layout='NCHW'")
    layout = layout or ("NHWC" if last else "NCHW")
    if layout not in ("NHWC", "NCHW"):
        raise UsageError(f"'layout' should be 'NHWC' or 'NCHW', not {layout!r}")
    if array.shape[3 if layout == "NHWC" else 1] not in _CHANNELS:
        raise UsageError(f"'array' should have the shape {_LAYOUT}, not {array.shape}")
    return array if layout == "NHWC" else array.transpose(0, 2, 3, 1)


def _window(array: np.ndarray, reading: Reading) -> tuple[Window | None, list[str]]:
    """Return what maps the values of an array to 0..255, None where they are these; and what of that is a guess."""
    if reading.window is not None:
        return Window(*reading.window), []
    if array.dtype == np.bool_:
        return Window(0, 1), []
    if array.dtype == np.uint8 and not reading.levels and not _all_below(array, 2):
        return None, []
    low, high = float(array.min()), float(array.max())
    if reading.levels == "auto" and np.isfinite((low, high)).all():
        return Window(low, high), []
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        note = "its values are 0 and 1, read as black and white (`--levels 0,255` reads them as they are)"
        return (Window(0, 1), [note]) if high == 1 else (Window(0, 255), [])
    if array.dtype.kind == "f" and low >= -HAIR and high <= 1 + HAIR:  # not where there is a NaN
        return Window(0, 1), []
    found = f"{array.dtype} from {low:g} to {high:g}"
    hint = f", or give levels='{low:g},{high:g}' to read these as black and white" if low < high else ""
    if low >= -1 - HAIR and high <= 1 + HAIR:
        hint = f": (x + 1) / 2 brings −1..1 there{hint}"
    elif low >= 0 and high <= 255 * (1 + HAIR):
        hint = f": divide by 255{hint}"
    raise UsageError(f"'array' should be uint8, or floating point from 0 to 1, not {found}{hint}")


def _all_below(array: np.ndarray, limit: int) -> bool:
    return all(picture.max() < limit for picture in array)


def _alpha(values: np.ndarray) -> np.ndarray:
    """Return alpha as uint8: its range is that of its type."""
    full = 1 if values.dtype.kind in "fb" else 255 if values.dtype == np.uint8 else np.iinfo(values.dtype).max
    return Window(0, full)(values)


def _classes(labels: np.ndarray, count: int) -> tuple[list[str] | None, np.ndarray]:
    if labels.shape != (count,):
        raise UsageError(f"'labels' should be {count} class indices, one for each picture, not of shape {labels.shape}")
    if labels.dtype.kind in "US":
        names, index = np.unique(labels.astype(str), return_inverse=True)
        return names.tolist(), index.astype(np.int64)
    if labels.dtype.kind not in "iub" or labels.min() < 0:
        raise UsageError("'labels' should be whole numbers, 0 or more, or names")
    return None, labels.astype(np.int64)
