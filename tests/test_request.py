"""Requests for pictures: what contradicts itself is refused before anything is loaded; classes; image files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import betabloom
from betabloom.errors import BetabloomError, UsageError
from betabloom.generate import drawing, writing
from betabloom.generate.classes import density_of_class
from betabloom.generate.request import Request, open_model
from betabloom.imaging.output import read_record, save_image
from betabloom.imaging.sheets import grid
from betabloom.vae import inference


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(n=0), "'n'"),
        (Request(seed=-1), "seed"),
        (Request(start=-1), "start"),
        (Request(temperature=0), "temperature"),
        (Request(numbers="5-1"), "0-5,8"),
        (Request(numbers="1" * 5000), "0-5,8"),
        (Request(numbers="0-5", novel=True), "--novel cannot choose"),
        (Request(hue=0.5, palette="red"), "Choose one of them"),
        (Request(size=(1, 1)), "wallpaper"),
        (Request(scale=0), "scale"),
        (Request(precision="fp8"), "Unknown precision"),
        (Request(precision="bf16", colourful=True), "fp32"),
    ],
)
def test_what_is_not_valid_is_refused(request_, message):
    with pytest.raises(UsageError, match=message):
        request_.checked()


def test_a_seed_that_nobody_chose_is_new_each_time_and_recorded():
    seeds = {Request().checked().seed for _ in range(5)}
    assert len(seeds) > 1
    request = Request(device="auto").checked()
    assert request.record()["seed"] == request.seed
    assert request.record()["device"] != "auto"


@pytest.mark.parametrize("request_", [Request(n=9_000_000), Request(numbers="0-999999"), Request(n=2000, scale=20)])
def test_a_sheet_that_is_too_large_is_refused_before_it_is_drawn(request_):
    with pytest.raises(BetabloomError, match="-o folder/"):
        writing.check_sheet(request_, (3, 64, 64))


def test_python_draws_what_the_command_line_draws(tmp_path):
    request = Request(n=5, seed=3, numbers="2,7-8").checked()
    model = open_model(None, request)
    drawn = drawing.draw(model, request)
    assert drawn.numbers == [2, 7, 8]
    alone = model.generate(1, 3, start=7)[0].astype(int)
    assert np.abs(drawn.pictures[1] - alone).max() <= 1  # two are added up in another order than one
    writing.write_sheet(model, request, tmp_path / "a.png", {"model_path": "flowers64"})
    record = read_record(tmp_path / "a.png")
    assert (record["numbers"], record["device"], record["precision"]) == ("2,7-8", "cpu", "fp32")
    assert writing.command_to_repeat(record).startswith("betabloom generate flowers64 --numbers 2,7-8 --seed 3")


def two_colours():
    """A model and pictures of two classes, red and blue, that it tells apart."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((60, 16, 16, 3), np.uint8)
    labels = np.arange(60) % 2
    pictures[np.arange(60), :, :, 2 * labels] = rng.integers(150, 255, (60, 1, 1))
    store = betabloom.data.Store.from_array(pictures, labels=labels)
    settings = {"widths": "8,16", "latents": 4, "steps": 150, "device": "cpu", "precision": "fp32", "validations": 1}
    return betabloom.fit(store, "tiny", **settings), store


def test_pictures_of_a_class_are_of_that_class():
    model, store = two_colours()
    for label in (0, 1):
        density = density_of_class(model, store, str(label))
        drawn = inference.generate(model.vae, 20, density=density).mean((1, 2))
        assert (drawn[:, 2 * label] > drawn[:, 2 - 2 * label]).mean() > 0.9
    with pytest.raises(UsageError, match=r"no class 'rose'.*The classes are: 0, 1"):
        density_of_class(model, store, "rose")
    plain = betabloom.data.Store.from_array(np.asarray(store.pictures))
    with pytest.raises(UsageError, match="have no labels"):
        density_of_class(model, plain, "0")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_every_format_carries_its_record(suffix, tmp_path):
    image = grid(np.full((4, 8, 8, 3), 90, np.uint8))
    record = {"verb": "generate", "seed": 7, "note": "é", "name": ["rose"] * 3}
    save_image(image, tmp_path / f"a{suffix}", record)
    assert read_record(tmp_path / f"a{suffix}") == record
    with Image.open(tmp_path / f"a{suffix}") as read:
        assert np.abs(np.asarray(read.convert("RGB")).astype(int) - np.asarray(image)).max() <= 24
    save_image(image, tmp_path / f"b{suffix}", record | {"satisfied": [True] * 50_000})
    assert read_record(tmp_path / f"b{suffix}")["seed"] == 7


def test_transparent_pictures_stay_transparent_and_lie_on_white_as_jpeg(tmp_path):
    clear = np.zeros((1, 8, 8, 4), np.uint8)
    image = grid(clear)
    assert image.mode == "RGBA"
    assert not np.asarray(image).any()
    save_image(image, tmp_path / "a.jpg", {})
    with Image.open(tmp_path / "a.jpg") as read:
        assert np.asarray(read).min() > 250


def test_a_sheet_for_print_is_larger_and_looks_the_same():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    small, large = grid(pictures), grid(pictures, scale=3)
    assert large.size == tuple(3 * side for side in small.size)
    back = np.asarray(large.resize(small.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(back - np.asarray(small)).mean() < 20
    assert np.array_equal(np.asarray(grid(pictures / 255)), np.asarray(small))
    with pytest.raises(UsageError, match="floats from 0 to 1"):
        grid(pictures.astype(float))
