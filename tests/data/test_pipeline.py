"""A pipeline gives the size it promises for every picture, and is what it was when it comes back from JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from betabloom.data import Pipeline
from betabloom.data.pictures import ops
from betabloom.errors import PictureError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("square", "justcrop", "enhance")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (136, 136), (33, 96), (1, 1)])
@pytest.mark.parametrize("channels", [3, 1])
def test_the_size_is_as_promised_for_every_picture(name: str, size: tuple[int, int], channels: int) -> None:
    pipeline = Pipeline.named(name, size, channels)
    assert (pipeline.height, pipeline.width, pipeline.channels) == (*size, channels)
    for shape, mode in (((1, 1), "RGB"), ((300, 8), "L"), ((50, 70), "RGBA"), ((90, 40), "CMYK"), ((64, 64), "P")):
        result = pipeline(Image.new(mode, shape))
        assert result.shape == (*size, channels)
        assert result.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_through_json(name: str) -> None:
    pipeline = Pipeline.named(name, (64, 48), 1)
    assert Pipeline.from_dict(json.loads(json.dumps(pipeline.to_dict()))) == pipeline


def test_the_reference_sizes_at_136() -> None:
    sizes = [s["height"] for s in Pipeline.named("enhance", (136, 136)).steps if "height" in s]
    assert sizes == [384, 320, 256, 136]
    assert {s["sigma"] for s in Pipeline.named("enhance", (136, 136)).steps if s["op"] == "blur"} == {2.0}
    assert [s["height"] for s in Pipeline.named("justcrop", (136, 136)).steps] == [256, 136]


def test_justcrop_is_resize_then_centre_crop(make_picture: Any) -> None:
    image = make_picture(1, (400, 300))
    expected = image.resize((341, 256), Image.Resampling.BICUBIC).crop((102, 60, 238, 196))
    np.testing.assert_array_equal(Pipeline.named("justcrop", (136, 136))(image), np.asarray(expected))


def test_enhance_is_the_composition_of_its_operations(make_picture: Any) -> None:
    image = make_picture(2, (400, 300))
    x = np.asarray(ops.crop(image.resize((512, 384), Image.Resampling.BICUBIC), 320, 320), dtype=np.float32) / 255
    x = ops.blur(x, 2)
    x = np.clip(1.1 * x**1.6, 0, 1) * 0.7
    luma = x @ np.array([0.299, 0.587, 0.114])
    x = np.clip(1.5 * x - 0.5 * luma[..., None], 0, 1)
    x = (x - x.min((0, 1))) / (x.max((0, 1)) - x.min((0, 1)))
    x = ops.blur(ops.sharpness(x.astype(np.float32), 4), 2)
    small = Image.fromarray(np.rint(x * 255).astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
    difference = Pipeline.named("enhance", (136, 136))(image).astype(int) - np.asarray(ops.crop(small, 136, 136))
    assert np.abs(difference).max() <= 1


def test_a_chain_of_ones_own_with_padding() -> None:
    steps = [{"op": "resize", "height": 8, "width": 8, "fit": "inside"}, {"op": "pad", "height": 8, "width": 8}]
    result = Pipeline.from_dict({"name": "padded", "steps": steps})(Image.new("RGB", (20, 10), "black"))
    assert result[:2].min() == 255
    assert result[2:6].max() == 0


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"op": "resise"}], "'op' should be one of resize"),
        ([{"op": "gamma", "gamma": 1, "gian": 2}], "'gamma' has no 'gian'"),
        ([{"op": "crop", "height": 8}], "'crop' needs 'width'"),
        ([{"op": "crop", "height": 8, "width": 0}], "step 1 of pipeline 'mine': 'width' of 'crop' should be a whole"),
        ([{"op": "resize", "height": 8, "width": 8, "fit": "snug"}], "one of cover"),
        ([{"op": "resize", "height": 8, "width": 8, "fit": "inside"}], "does not fix the size"),
        ([], "does not fix the size"),
        ([{"op": "blur", "sigma": "wide"}], "'sigma' of 'blur' should be a number"),
        ([{"op": "pad", "height": 8, "width": 8, "colour": "white"}], "three whole numbers"),
    ],
)
def test_a_wrong_step_is_named(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pipeline.from_dict({"name": "mine", "steps": steps})


@pytest.mark.parametrize("size", [(0, 8), (8,), (8.5, 8), "64", (True, 8)])
def test_a_wrong_size_is_named(size: Any) -> None:
    with pytest.raises(UsageError, match="'size' should be"):
        Pipeline.named("square", size)


def test_a_picture_smaller_than_its_crop_is_a_picture_error() -> None:
    pipeline = Pipeline("mine", ({"op": "crop", "height": 8, "width": 8},))
    with pytest.raises(PictureError, match="smaller"):
        pipeline(Image.new("RGB", (4, 4)))


def test_decoding_at_reduced_scale_is_close_to_full_decoding(tmp_path: Path, make_picture: Any) -> None:
    make_picture(3, (227, 151)).save(tmp_path / "a.jpg", quality=95)
    pipeline = Pipeline.named("square", (48, 48))
    assert pipeline.enough == (64, 64)
    whole = pipeline(Image.open(tmp_path / "a.jpg")).astype(int)
    assert np.abs(pipeline.load(tmp_path / "a.jpg") - whole).mean() < 1


def test_reduced_photos_differ_by_less_than_two_grey_levels(flower_photos_path: Path) -> None:
    pipeline = Pipeline.named("square", (64, 64))
    differences = []
    for path in sorted((flower_photos_path / "rose").glob("*.jpg"))[:40]:
        with Image.open(path) as image:
            reference = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
        differences.append(np.abs(pipeline.load(path) - reference).mean())
    assert np.mean(differences) < 2
