"""What a person may want to know or do about the pictures that were found, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.data.inspection.report import Report

__all__ = ["FEW", "advice_on"]

FEW = 1000  # pictures, below which a start from a model is better
_BATCH = 32  # pictures of a step, usually
_KNOWN = 64  # side of the pictures of the bundled model; training from it can double that again and again
_DARK = 64  # level; pictures of which none has a brighter pixel
_RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


def advice_on(report: Report, sides: np.ndarray, size: tuple[int, int], started: bool = False) -> list[str]:
    """Return sentences, the most important first.

    Arguments:
        report: What was found.
        sides: (width, height) of the usable pictures, int64, shape (N, 2).
        size: (height, width) of the pictures to train on.
        started: Whether the training starts from a model, or finds out whether that is better.
    """
    if not len(sides) and report.unreadable:
        return ["None of these pictures can be used; see the reasons above."]
    sentences = [*_on_levels(report), *_on_sizes(sides, size), *_on_copies(report)]
    if len(sides):
        sentences.append(_on_few(report.total, size, started) if report.total < FEW else _on_many(report.total))
    return [*sentences, *_on_files(report)]


def _on_few(total: int, size: tuple[int, int], started: bool) -> str:
    expect = "xpect their colours and rough shapes; fine detail takes thousands of pictures."
    few = f"{'A single picture is' if total == 1 else f'{total:,} pictures are'} few"
    if started:
        return f"{few}: e{expect}"
    height, width = size
    times = height // _KNOWN
    fits = height == width == _KNOWN * times and times & (times - 1) == 0
    start = "--from flowers64" if fits else f"--from flowers64 --size {_KNOWN}"
    return (
        f"{few}: a model trained on so few alone draws blurred pictures or memorises them. For "
        f"photos, start from a model: `{start} --budget 20m`. E{expect}"
    )


def _on_many(total: int) -> str:
    epochs = TrainConfig().epochs
    return (
        f"Training takes the time that it is given, as `--budget 1h`. Without that it passes {epochs:g} times over the "
        f"pictures, which is some {round(epochs * total / _BATCH, -2):,.0f} steps; the bar says how long they take."
    )


def _on_levels(report: Report) -> Iterator[str]:
    if report.levels is None or report.levels[1] >= _DARK:
        return
    bits = [remark for remark in report.remarks if " bits per channel" in remark]
    guess = f"0,{257 * report.levels[1] + 256}" if bits else f"0,{max(1, report.levels[1])}"
    for full in (4095, 1023, 16383):  # 12, 10 and 14 bits, where the brightest value lies just below
        if bits and full / 4 < 257 * (report.levels[1] - 0.5) <= full:
            guess = f"0,{full}"
    what = "they may have fewer bits than their files" if bits else "they may be masks or sprites"
    yield (
        f"All pictures are nearly black: the brightest level is {report.levels[1]} of 255. If "
        f"that is not intended, {what}: use `--levels {guess}` or `--levels auto`."
    )


def _on_sizes(sides: np.ndarray, size: tuple[int, int]) -> Iterator[str]:
    height, width = size
    if not len(sides):
        return
    small = int(((sides[:, 0] < width) | (sides[:, 1] < height)).sum())
    if small == len(sides):
        what = f"smaller than {width} × {height} px and will be enlarged"
        yield f"All pictures are {what}. A smaller `--size` suits them."
    elif small and height == width:
        out = f"Use `--min-size {width}` to leave them out"
        yield f"{small:,} of {len(sides):,} are smaller than {width} px and will be enlarged. {out}."
    elif small:
        yield f"{small:,} of {len(sides):,} are smaller than {width} × {height} px and will be enlarged."
    aspect = sides[:, 0] / sides[:, 1] * height / width
    cut = int((np.maximum(aspect, 1 / aspect) > 1.5).sum())
    if cut > len(sides) / 10:
        hint = "Use `--pipeline pad` to keep them whole"
        yield f"{cut:,} of {len(sides):,} lose more than a third of their area when cropped. {hint}."


def _on_copies(report: Report) -> Iterator[str]:
    again = sum(len(group) - 1 for group in (*report.exact, *report.near))
    if again:
        what = "picture is a copy of another and counts"
        if again > 1:
            what = "pictures are copies of others and count"
        near = " A near copy of a training picture makes validation look too good." if report.near else ""
        yield f"{again:,} {what} more than once in training.{near}"


def _on_files(report: Report) -> Iterator[str]:
    reasons = [entry["reason"] for entry in report.unreadable]
    if any("HEIC" in reason for reason in reasons):
        yield "HEIC photos can be read after: pip install 'betabloom[heic]'"
    if any("web page" in reason for reason in reasons):
        yield "Some files are web pages, probably error pages of a failed download. Download them again."
    raw = sum(report.left_alone.get(ending, 0) for ending in _RAW)
    if raw:
        yield f"{raw:,} raw photos are not read: export them as JPEG first."
    packed = sum(report.left_alone.get(ending, 0) for ending in _ARCHIVES)
    if packed:
        yield f"{packed:,} archives are not opened: name one as the source to use its pictures."
