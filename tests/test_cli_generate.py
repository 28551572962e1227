"""`betabloom generate` on request: what a picture carries makes it again, hits are counted, names, large pictures."""

from __future__ import annotations

import json
import shlex
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from betabloom.cli import main
from betabloom.generate import colours
from betabloom.imaging import colour, names
from betabloom.imaging.output import read_record


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    """Run the command line in a folder with a model that learned from sixty drawn flowers, and a picture."""
    shutil.copytree(tiny_model, tmp_path / "model")
    Image.new("RGB", (40, 30), (150, 60, 160)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)

    def command(line, code=0):
        monkeypatch.setattr(sys, "argv", ["betabloom", *shlex.split(line)])
        ended = 0
        try:
            main.main()
        except SystemExit as end:
            ended = end.code or 0
        out, err = capsys.readouterr()
        assert ended == code, err
        return out if code == 0 else err

    return command


REQUESTS = [
    "--palette violet,gold",
    "--palette red+green --avoid cyan",
    "--hue 0.8 --seed 5",
    "--like a.png --temperature 0.9",
    "--colourful --sampler prior",
    "--avoid green,brown --named",
    "--size 120x80 --palette blue",
    "--tile --size 64 --named",
    "--named --columns 3",
    "--precision bf16 --seed 3",
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_is_written_in_a_picture_makes_it_again_byte_for_byte(run, request_, tmp_path):
    run(f"generate model -n 5 {request_} -o one.png")
    (tmp_path / "a.png").unlink()  # a picture to be like need not be there any more
    again = json.loads(run("info one.png --json"))["again"]
    run(f"{again.removeprefix('betabloom ')} -o two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_one_file_of_many_is_made_again_byte_for_byte(run, tmp_path):
    run("generate model -n 5 --start 3 --palette violet,gold,red --named -o each")
    for file in (tmp_path / "each").iterdir():
        run(json.loads(run(f"info '{file}' --json"))["again"].removeprefix("betabloom "))
        (again,) = (tmp_path / "again").iterdir()
        assert again.read_bytes() == file.read_bytes()
        again.unlink()


def test_hits_are_those_that_are_measured_in_the_files(run, tmp_path):
    facts = json.loads(run("generate model -n 12 --seed 0 --palette red,blue --json -o each"))
    pictures = np.stack([np.asarray(Image.open(tmp_path / file)) for file in facts["made"]])
    centres = [colour.NAMED[i].name for i in colour.named(colour.centre(pictures))]
    hits = [name == wanted for name, wanted in zip(centres, ["red", "blue"] * 6, strict=True)]
    assert facts["satisfied"] == hits
    assert (facts["hits"], facts["hit_rate"], facts["wished"]) == (sum(hits), sum(hits) / 12, "red or blue")
    assert [read_record(tmp_path / file)["satisfied"] for file in facts["made"]] == hits
    line = run("generate model -n 12 --seed 0 --palette red,blue -o grid.png")
    assert line == f"12 new pictures, {sum(hits)} of them red or blue (seed 0): grid.png\n"


def test_like_takes_the_colours_of_centre_and_surroundings(run, tmp_path):
    run("generate model -n 2 --like a.png -o like.png")
    assert read_record(tmp_path / "like.png")["like"] == "#963ca0,#963ca0"
    assert colours.like("#963ca0,#963ca0").satisfied(np.full((1, 8, 8, 3), (150, 60, 160), np.uint8)).all()


def test_names_are_of_the_colours(run, tmp_path):
    facts = json.loads(run("generate model -n 6 --named --json -o named"))
    assert facts["made"][0] == f"named/{facts['name'][0].replace(', ', '-').replace(' ', '-')}.png"
    for file, name in zip(facts["made"], facts["name"], strict=True):
        assert names.picture_name(np.asarray(Image.open(tmp_path / file))) == read_record(file)["name"] == name


def test_large_pictures_have_the_size_that_was_asked_for(run, tmp_path):
    for options, size in (("--size 192x108", (192, 108)), ("--tile", (512, 512)), ("--size 50 -n 1", (50, 50))):
        run(f"generate model -n 8 {options} -o large.png --force")
        with Image.open(tmp_path / "large.png") as image:
            assert image.size == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--palette octarine", "Unknown colour 'octarine'. Choose from: black, white"),
        ("--palette red --hue 0.5", "Choose one of them"),
        ("--hue 2", "between 0 and 1"),
        ("--like nowhere.jpg", "no picture file nowhere.jpg"),
        ("--like a.png -o a.png --force", "what the result is made from"),
        ("--like '#12'", "#8040a0,#203010"),
        ("--size huge", "WIDTHxHEIGHT"),
        ("--size 99999x99999", "--size 1920x1080"),
        ("--size 640x480 -o folder", ".png"),
        ("--palette red --sampler magic", "auto, prior, gaussian"),
    ],
)
def test_wrong_use_says_what_to_type(run, options, message, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert message in run(f"generate model -n 2 {options}", code=2)
    assert sorted(tmp_path.iterdir()) == before


def test_less_precise_pictures_are_the_same_but_for_some_levels_and_not_for_colours_on_request(run, tmp_path):
    for name, option in (("one", ""), ("two", "--precision bf16")):
        run(f"generate model --seed 0 -n 9 {option} -o {name}.png")
    one, two = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("one", "two"))
    assert 0 < np.abs(one - two).max() <= 4
    assert "Leave out --precision" in run("generate model -n 2 --precision bf16 --hue 0.3", code=2)
    assert "Unknown precision 'fp8'" in run("generate model -n 2 --precision fp8", code=2)
