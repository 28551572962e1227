"""The frames of an animation are decoded in order, each once, and are those that decoding one alone gives."""

from __future__ import annotations

import zipfile
from pathlib import Path  # noqa: TC003  # the tests are collected with their annotations
from typing import Any

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, PngImagePlugin, WebPImagePlugin

from betabloom.data import Pipeline, open_source, prepare
from betabloom.data.pictures.decode import decode
from betabloom.errors import PictureError

FRAMES = 30
KINDS: dict[str, tuple[type[Any], str, dict[str, Any]]] = {
    "a.gif": (GifImagePlugin.GifImageFile, "_seek", {"disposal": 1}),
    "b.gif": (GifImagePlugin.GifImageFile, "_seek", {"disposal": 2}),
    "c.webp": (WebPImagePlugin.WebPImageFile, "_get_next", {"lossless": True}),
    "d.png": (PngImagePlugin.PngImageFile, "_seek", {"disposal": 1}),
}


def film(path: Path, options: dict[str, Any]) -> None:
    """Frames of which each changes a part of the one before, with holes."""
    rng = np.random.default_rng(3)
    pixels = np.concatenate([rng.integers(0, 256, (24, 20, 3)), np.full((24, 20, 1), 255)], axis=2).astype(np.uint8)
    frames = []
    for i in range(FRAMES):
        pixels = pixels.copy()
        pixels[i % 16 : i % 16 + 6, (3 * i) % 14 : (3 * i) % 14 + 5, :3] = rng.integers(0, 256, 3)
        pixels[..., 3] = 255
        pixels[(2 * i) % 20 : (2 * i) % 20 + 4, 2:9, 3] = 0
        frames.append(Image.fromarray(pixels))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=20, **options)


@pytest.mark.parametrize("name", KINDS)
def test_each_frame_is_decoded_once_in_order_and_as_it_would_be_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, method, options = KINDS[name]
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / name, options)
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as packed:
        packed.write(tmp_path / "films" / name, name)
    steps: list[int] = []
    step = getattr(kind, method)

    def counted(image: Any, *arguments: Any, **named: Any) -> Any:
        steps.append(1)
        return step(image, *arguments, **named)

    for place in (tmp_path / "films", tmp_path / "films.zip"):
        source = open_source(place, pages="all")
        alone = [np.asarray(decode(tmp_path / "films" / name, page=i)) for i in range(FRAMES)]
        with monkeypatch.context() as patched:
            patched.setattr(kind, method, counted)
            steps.clear()
            read = [np.asarray(source.read(i)) for i in range(FRAMES)]
            facts = [source.facts(i) for i in range(FRAMES)]
            assert len(steps) <= 2 * FRAMES
            steps.clear()
            store = prepare(source, Pipeline.named("square", (8, 8)), cache=tmp_path / f"{place.name}.cache", workers=2)
            assert len(steps) <= 4 * FRAMES  # each thread walks through once
        assert all(np.array_equal(a, b) for a, b in zip(read, alone, strict=True))
        assert {(each.width, each.height) for each in facts} == {(20, 24)}
        assert len(store) == FRAMES
        for i in (17, 3, 29, 0, 4):  # in any order, too
            assert np.array_equal(np.asarray(source.read(i)), alone[i])
            again = decode(tmp_path / "films" / name, page=i, alpha=True)
            assert np.array_equal(np.asarray(source.read_transparent(i)), np.asarray(again))


def test_a_frame_that_is_returned_stays_as_it_is_when_the_next_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), 10 * i, np.uint8)) for i in range(5)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    source = open_source(tmp_path, pages="all")
    kept = [source.read(i) for i in range(5)]
    assert [int(np.asarray(each)[0, 0]) for each in kept] == [0, 10, 20, 30, 40]


def test_frames_behind_a_damaged_one_are_refused_without_another_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "a.png", {"disposal": 1})
    source = open_source(tmp_path, pages="all")
    whole = PngImagePlugin.PngImageFile.load_end
    loads: list[int] = []

    def damaged(image: PngImagePlugin.PngImageFile) -> None:
        loads.append(1)
        if image.tell() >= 10:
            raise OSError("broken data stream")
        whole(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", damaged)
    for i in range(10):
        source.read(i)
    for i in range(10, FRAMES):
        with pytest.raises(PictureError, match="broken data stream"):
            source.read(i)
    assert len(loads) <= FRAMES
