"""Pictures from Python: NumPy arrays and torch tensors."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.data.pictures.decode import PictureFacts
from betabloom.data.sources.source import Source
from betabloom.errors import SourceError, UsageError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from typing_extensions import Self

__all__ = ["Arrays"]

_LAYOUT = "(N, H, W, C), (N, C, H, W) or (N, H, W), with C = 1 or 3"
_PICTURES = ("images", "pictures", "imgs", "x", "data", "arr_0")
_LABELS = ("labels", "label", "y", "targets")


class Arrays(Source):
    """Pictures that lie in one array.

    Arguments:
        array: A NumPy array or torch tensor of shape (N, H, W, C), (N, C, H, W) or (N, H, W) with 1 or 3 channels;
            uint8, bool, or floating point from 0 to 1. uint8 is not copied, and should not change afterwards.
        labels: N class indices, or N names of classes.
        names: N different names; "0", "1", … if left out.
        layout: "NHWC" or "NCHW", needed only where the shape fits both.
        name: What a person calls it.

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
    ) -> None:
        self.name = name
        self.splits = {}
        self._pictures = _bytes(_channels_last(_numpy(array, "array"), layout))
        count = len(self._pictures)
        self.names = [str(i) for i in range(count)] if names is None else list(names)
        if len(self.names) != count or len(set(self.names)) != count:
            raise UsageError(f"'names' should be {count} different names, one for each picture")
        if labels is not None:
            self.label_names, self.labels = _classes(_numpy(labels, "labels"), count)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Open a .npy file, or an .npz file with an array "images" (and "labels").

        Raises:
            SourceError: It cannot be read; arrays of Python objects are refused, as loading one could run code.
        """
        path = local_path(path)
        try:
            content = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(content, np.ndarray):
                return cls(content, name=path.stem)
            with content:
                chosen = next((key for key in _PICTURES if key in content), None)
                if chosen is None:
                    raise SourceError(f"'{path}' has no array 'images', only {', '.join(content) or 'nothing'}")
                labels = next((key for key in _LABELS if key in content), None)
                return cls(content[chosen], None if labels is None else content[labels], name=path.stem)
        except SourceError:
            raise
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise SourceError(f"'{path}' holds no usable pictures: {error}") from error

    def read(self, index: int) -> Image.Image:
        """Return picture `index`; see `Source.read`."""
        picture = self._pictures[index]
        return Image.fromarray(np.ascontiguousarray(picture if picture.shape[2] == 3 else picture[..., 0]))

    def facts(self, index: int) -> PictureFacts:
        """Return the size that all pictures have."""
        height, width = self._pictures.shape[1:3]
        return PictureFacts(width, height)

    def fingerprint(self) -> str:
        """Digest the pixels and names: about a second for each gigabyte."""
        digest = hashlib.blake2b(repr((self._pictures.shape, list(self.names))).encode(), digest_size=32)
        for picture in self._pictures:
            digest.update(np.ascontiguousarray(picture).data)
        if self.labels is not None:
            digest.update(self.labels.tobytes() + repr(self.label_names).encode())
        return digest.hexdigest()


def _numpy(array: Any, name: str) -> np.ndarray:
    """Return an array of a torch tensor, without importing torch, or of what NumPy understands."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    result = np.asarray(array)
    if result.dtype.hasobject:
        raise UsageError(f"'{name}' should be numbers, not Python objects (are its pictures of different sizes?)")
    return result


def _channels_last(array: np.ndarray, layout: str | None) -> np.ndarray:
    """Return a view of shape (N, H, W, C)."""
    if array.ndim == 3:
        array, layout = array[..., None], "NHWC"
    if array.ndim != 4 or 0 in array.shape:
        raise UsageError(f"'array' should have the shape {_LAYOUT}, not {array.shape}")
    last, first = array.shape[3] in (1, 3), array.shape[1] in (1, 3)
    if layout is None and last and first:
        raise UsageError(f"an array of shape {array.shape} can be read in two ways: add layout='NHWC' or layout='NCHW'")
    layout = layout or ("NHWC" if last else "NCHW")
    if layout not in ("NHWC", "NCHW"):
        raise UsageError(f"'layout' should be 'NHWC' or 'NCHW', not {layout!r}")
    if not (last if layout == "NHWC" else first):
        raise UsageError(f"'array' should have the shape {_LAYOUT}, not {array.shape}")
    return array if layout == "NHWC" else array.transpose(0, 2, 3, 1)


def _bytes(array: np.ndarray) -> np.ndarray:
    """Return uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind != "f" or not (low >= 0 and high <= 1):  # also where there is a NaN
        hint = ": (x + 1) / 2 brings −1..1 there" if low < 0 else ": divide by 255" if 1 < high <= 255 else ""
        found = f"{array.dtype} from {low:g} to {high:g}"
        raise UsageError(f"'array' should be uint8, or floating point from 0 to 1, not {found}{hint}")
    result = np.empty(array.shape, dtype=np.uint8)
    for picture, target in zip(array, result, strict=True):
        target[...] = np.rint(picture.astype(np.float32) * 255)
    return result


def _classes(labels: np.ndarray, count: int) -> tuple[list[str] | None, np.ndarray]:
    if labels.shape != (count,):
        raise UsageError(f"'labels' should be {count} class indices, one for each picture, not of shape {labels.shape}")
    if labels.dtype.kind in "US":
        names, index = np.unique(labels.astype(str), return_inverse=True)
        return names.tolist(), index.astype(np.int64)
    if labels.dtype.kind not in "iub" or labels.min() < 0:
        raise UsageError("'labels' should be whole numbers, 0 or more, or names")
    return None, labels.astype(np.int64)
