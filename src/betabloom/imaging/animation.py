"""Animations: frames in, a GIF, WebP or MP4 file out, which says how it was made.

A GIF carries its record as a comment, a WebP as XMP, an MP4 as the comment of the file. Frames of four channels keep
their transparency in a WebP, are opaque or clear in a GIF, and lie on white in an MP4.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.errors import UsageError
from betabloom.imaging.alpha import over, straight
from betabloom.system.atomic import replacing_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["ANIMATIONS", "save_animation"]

ANIMATIONS = (".gif", ".webp", ".mp4")
CLEAR = 255  # the colour of a GIF that is transparent
XMP = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><betabloom>{}</betabloom></x:xmpmeta>"


def save_animation(
    frames: np.ndarray, path: str | os.PathLike[str], record: Mapping[str, Any], fps: float = 20.0
) -> None:
    """Write frames as an animation that repeats for ever (an MP4 plays once). The file appears whole or not at all.

    Arguments:
        frames: uint8 (N, H, W, C) with 1, 3 or 4 channels (see `alpha`).
        path: Ends in one of `ANIMATIONS`; MP4 needs the package imageio-ffmpeg.
        record: What is needed to make it again.
        fps: Frames in a second.

    Raises:
        UsageError: The ending is none of these, the frames or the pace are impossible, or imageio-ffmpeg is missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ANIMATIONS:
        raise UsageError(f"An animation is a {', '.join(ANIMATIONS)} file, not {path}.")
    if frames.ndim != 4 or len(frames) == 0 or frames.shape[3] not in (1, 3, 4):
        raise UsageError(f"An animation needs frames of shape (N, H, W, 1, 3 or 4), not {frames.shape}.")
    if not 0 < fps <= 100:
        raise UsageError(f"An animation must have more than 0 and at most 100 frames a second, not {fps}.")
    write = _mp4 if suffix == ".mp4" else _gif if suffix == ".gif" else _webp
    with replacing_file(path, synced=False) as part:
        frames = np.broadcast_to(frames, (*frames.shape[:3], max(3, frames.shape[3])))
        write(frames, part, json.dumps(record, sort_keys=True), fps)


def _gif(frames: np.ndarray, part: Path, text: str, fps: float) -> None:
    """One palette for all frames, so that still parts do not flicker."""
    some = over(frames[np.linspace(0, len(frames) - 1, min(len(frames), 12)).astype(int)])
    clear = frames.shape[3] == 4
    palette = Image.fromarray(some.reshape(-1, *some.shape[2:])).quantize(256 - clear, Image.Quantize.MEDIANCUT)
    first, *rest = [_indexed(frame, palette) for frame in frames]
    first.save(
        part, "GIF", save_all=True, append_images=rest, duration=max(round(1000 / fps), 10), loop=0,
        comment=text.encode(), optimize=False, **({"transparency": CLEAR, "disposal": 2} if clear else {}),
    )  # fmt: skip


def _indexed(frame: np.ndarray, palette: Image.Image) -> Image.Image:
    """A frame in the colours of a palette; what is more transparent than opaque has a colour of its own."""
    image = Image.fromarray(over(frame)).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if frame.shape[2] < 4:
        return image
    indices = Image.fromarray(np.where(frame[..., 3] < 128, CLEAR, np.asarray(image)).astype(np.uint8))
    indices.putpalette((image.getpalette() or [])[: 3 * CLEAR] + [255] * 3)
    return indices


def _webp(frames: np.ndarray, part: Path, text: str, fps: float) -> None:
    from PIL import WebPImagePlugin  # noqa: F401 - by itself: Pillow would look through all its formats first

    first, *rest = [Image.fromarray(straight(frame) if frame.shape[2] == 4 else frame) for frame in frames]
    first.save(
        part, "WEBP", save_all=True, append_images=rest, duration=max(round(1000 / fps), 1), loop=0, quality=85,
        method=2, xmp=XMP.format(html.escape(text, quote=False)).encode(),
    )  # fmt: skip


def _mp4(frames: np.ndarray, part: Path, text: str, fps: float) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UsageError(
            "An MP4 needs the package imageio-ffmpeg: pip install 'betabloom[video]'. Or choose a .gif or .webp file."
        ) from error
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2  # its colours are stored for 2×2 pixels
    options = ["-metadata", f"comment={text}", "-f", "mp4", "-crf", "18"]
    writer = imageio_ffmpeg.write_frames(
        str(part), (width, height), fps=fps, macro_block_size=2, ffmpeg_log_level="error", output_params=options
    )
    writer.send(None)
    for frame in over(frames):
        writer.send(np.ascontiguousarray(frame[:height, :width]))
    writer.close()
