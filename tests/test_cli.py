"""The command line: one grammar, one line on stdout, exit codes that mean something."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from betabloom.imaging.output import read_record
from betabloom.model.model import load
from betabloom.model.training_pictures import training_pictures

TINY = [
    "--preset", "tiny", "--size", "16", "--steps", "12", "--set", "widths=8,16", "--set", "latents=6",
    "--set", "validations=1", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(betabloom, tmp_path_factory):
    """A folder with ten pictures and a run trained on them."""
    folder = tmp_path_factory.mktemp("cli")
    patch = pytest.MonkeyPatch()
    for name in ("BETABLOOM_CACHE", "BETABLOOM_DATA"):
        patch.setenv(name, str(folder / name.lower()))
    (folder / "photos").mkdir()
    for i in range(10):
        coarse = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 30), Image.Resampling.BICUBIC).save(folder / "photos" / f"{i}.jpg")
    (folder / "photos" / "broken.jpg").write_text("<html>not found</html>")
    out, err = betabloom("train", "photos", *TINY, "-o", "run", cwd=folder)
    assert out.count("\n") == 1
    assert "run/model" in out
    assert "left out: broken.jpg (not a picture but a web page" in err
    assert (folder / "run" / "skipped.txt").read_text().startswith("broken.jpg\tnot a picture but a web page")
    assert "photos: 11 pictures" in err  # the report of what was found
    yield folder
    patch.undo()


def test_same_seed_same_model_same_bytes(betabloom, place):
    for name in ("a.png", "b.png"):
        out, _ = betabloom("generate", "run", "-n", 9, "--seed", 7, "-o", name, cwd=place)
        assert out == f"9 new pictures (seed 7): {name}\n"
    assert (place / "a.png").read_bytes() == (place / "b.png").read_bytes()
    betabloom("generate", "run", "-n", 9, "--seed", 8, "-o", "c.png", cwd=place)
    assert (place / "a.png").read_bytes() != (place / "c.png").read_bytes()


def test_a_picture_can_be_made_again_from_what_is_written_in_it(betabloom, place):
    betabloom("generate", "run", "-n", 5, "--seed", 3, "--start", 4, "--temperature", 0.8, "-o", "each", cwd=place)
    record = read_record(place / "each" / "000006.png")
    again = [record["model_path"], "-n", record["n"], "--seed", record["seed"], "--start", record["start"]]
    again += ["--temperature", record["temperature"], "--sampler", record["sampler"]]
    betabloom("generate", *again, "-o", "again", cwd=place)
    assert (record["n"], record["start"]) == (1, 6)
    one, other = (np.asarray(Image.open(place / f / "000006.png")).astype(int) for f in ("each", "again"))
    assert np.abs(one - other).max() <= 1  # other company in the batch may round a level away
    out, _ = betabloom("info", "each/000006.png", cwd=place)
    assert "betabloom generate run -n 1 --seed 3 --start 6 --temperature 0.8 --sampler auto -o again/" in out


def test_codes_bring_the_same_pictures_back_whenever(betabloom, place):
    betabloom("encode", "run", "photos", "-o", "codes.npz", cwd=place)
    betabloom("decode", "run", "codes.npz", "-o", "decoded", cwd=place)
    betabloom("reconstruct", "run", "photos", "-o", "r.png", cwd=place)
    sheet = np.asarray(Image.open(place / "r.png"))
    first = np.asarray(Image.open(sorted((place / "decoded").iterdir())[0]))
    assert np.array_equal(sheet[20:36, 2:18], first)  # the reconstruction lies below its original
    assert len(list((place / "decoded").iterdir())) == 10
    with np.load(place / "codes.npz", allow_pickle=False) as codes:
        assert codes["mean"].shape == codes["log_var"].shape == (10, 6)
        assert codes["names"].tolist()[0] == "0.jpg"


def test_vary_shows_the_original_first(betabloom, place):
    out, _ = betabloom("vary", "run", "photos/1.jpg", "-n", 7, "--seed", 0, "-o", "v.png", "--json", cwd=place)
    assert json.loads(out) == {"made": ["v.png"], "n": 7, "seed": 0}
    assert read_record(place / "v.png")["pictures"] == ["photos/1.jpg"]


def test_json_is_the_same_as_data(betabloom, place):
    out, _ = betabloom("generate", "run", "-n", 2, "-o", "j.png", "--json", cwd=place)
    assert json.loads(out)["made"] == ["j.png"]
    out, _ = betabloom("info", "run", "--json", cwd=place)
    facts = json.loads(out)
    assert (facts["source"], facts["latents"], facts["size"]) == ("photos", 6, "16x16x3")


def test_what_exists_is_never_overwritten_without_force(betabloom, place):
    (place / "mine.png").write_text("precious")
    _, err = betabloom("generate", "run", "-o", "mine.png", cwd=place, code=2)
    assert "--force" in err
    assert (place / "mine.png").read_text() == "precious"
    betabloom("generate", "run", "-n", 1, "-o", "mine.png", "--force", cwd=place)
    _, err = betabloom("train", "photos", *TINY, "-o", "run", cwd=place, code=2)
    assert "--resume run" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nowhere"], "nowhere"),
        (["train", "drawn", "--preset", "huge"], "flowers64, flowers128, tiny, seed"),
        (["train", "drawn", "--size", "100"], "The nearest that work: 96x96"),
        (["train", "drawn", "--set", "beta"], "KEY=VALUE"),
        (["train", "photos", "--set", "regulariser=magic", "-o", "magic"], "elbo, capacity, free-bits"),
        (["train", "drawn", "--budget", "soon"], "90s, 20m or 1h30m"),
        (["train", "--resume", "photos"], "no config.yaml"),
        (["train", "drawn", "--resume", "run"], "keeps its settings"),
        (["generate", "nowhere"], "betabloom train"),
        (["generate", "photos"], "not a model directory"),
        (["info", "photos"], "betabloom inspect photos"),
        (["train", "drawn", "--steps", "0", "--epochs", "0"], "nothing to train"),
        (["train", "--resume", "nowhere"], "There is no run nowhere"),
        (["generate", "run", "--sampler", "magic"], "auto, prior, gaussian"),
        (["generate", "run", "-o", "no/such/a.png"], "no folder no/such"),
        (["generate", "run", "--device", "abacus"], "--device cpu"),
        (["generate", "run", "-n", "0"], "-n"),
        (["fetch", "imagenet"], "fetch flowers102"),
        (["reconstruct", "run", "nowhere"], "nowhere"),
        (["vary", "run", "photos"], "photos is a folder. Name one picture in it"),
        (["decode", "run", "nowhere.npz"], "no file nowhere.npz"),
        (["info", "nowhere.png"], "no file or folder nowhere.png"),
        (["generate", "run", "--temperature", "inf"], "--temperature must be a finite number"),
        (["vary", "run", "photos/1.jpg", "--amount", "inf"], "--amount must be a finite number"),
        (["generate", "run", "-o", "a.gif"], "-o a.png, not a.gif"),
        (["generate", "run", "-o", "run", "--force"], "run is a run or a model"),
        (["encode", "run", "photos", "-o", "codes.gif"], "not codes.gif"),
        (["generate", "run", "-n", "100000000000000"], "should be a whole number from 1 to"),
        (["generate", "run", "--device", "meta"], "--device cpu"),
        (["train", "drawn", "--set", "beta_schedule=magic"], "constant, linear"),
        (["train", "drawn", "--set", "prior_mean=inf"], "'prior_mean' must lie between"),
        (["train", "--resume", "run", "--preset", "seed"], "keeps its settings"),
        (["train", "--resume", "photos/1.jpg"], "not a run directory"),
    ],
)
def test_wrong_use_exits_with_2_and_says_what_to_type(betabloom, words, message, place):
    before = sorted(place.iterdir())
    out, err = betabloom(*words, cwd=place, code=2)
    assert message in err
    assert out == ""
    assert sorted(place.iterdir()) == before  # nothing half-written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["decode", "run", "photos/1.jpg"], "not a code file"),
        (["info", "photos/1.jpg"], "not a picture made by betabloom"),
        (["vary", "run", "photos/broken.jpg"], "broken.jpg"),
    ],
)
def test_failures_exit_with_1(betabloom, words, message, place):
    _, err = betabloom(*words, cwd=place, code=1)
    assert message in err


def test_train_alone_without_a_copy_and_offline_says_what_to_type(betabloom, tmp_path, monkeypatch):
    monkeypatch.setenv("BETABLOOM_DATA", str(tmp_path / "data"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    _, err = betabloom("train", cwd=tmp_path, code=2)
    assert "betabloom train drawn" in err
    assert "FOLDER" in err
    assert not (tmp_path / "runs").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_result_never_replaces_what_it_is_made_from(betabloom, place):
    before = (place / "photos" / "2.jpg").read_bytes()
    Image.open(place / "photos" / "2.jpg").save(place / "mine2.png")
    mine = (place / "mine2.png").read_bytes()
    for words in (["vary", "run", "mine2.png"], ["reconstruct", "run", "mine2.png"]):
        _, err = betabloom(*words, "-o", "mine2.png", "--force", cwd=place, code=2)
        assert "what the result is made from" in err
    assert (place / "mine2.png").read_bytes() == mine
    assert (place / "photos" / "2.jpg").read_bytes() == before


def test_pictures_of_one_name_in_several_folders_stay_apart(betabloom, place):
    for name in ("a/1.jpg", "b/1.jpg", "b/1.png", "ü.jpg"):
        (place / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(place / "photos" / "3.jpg").save(place / "same" / name)
    betabloom("encode", "run", "same", "-o", "same.npz", cwd=place)
    out, _ = betabloom("decode", "run", "same.npz", "-o", "apart", "--json", cwd=place)
    assert sorted(path.name for path in (place / "apart").iterdir()) == ["a-1.png", "b-1-2.png", "b-1.png", "ü.png"]
    assert len(set(json.loads(out)["made"])) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_that_are_no_text_are_names_all_the_same(betabloom, place):
    folder = place / "odd"
    folder.mkdir()
    name = b"odd/\xff\xfe\n.png"
    Image.open(place / "photos" / "3.jpg").save(place / "odd.png")
    (place / "odd.png").rename(place / os.fsdecode(name))
    out, _ = betabloom("vary", "run", os.fsdecode(name), "-n", 1, "-o", "odd-vary.png", cwd=place)
    assert out.count("\n") == 1
    betabloom("info", "odd-vary.png", cwd=place)
    betabloom("encode", "run", "odd", "-o", "odd.npz", cwd=place)
    betabloom("decode", "run", "odd.npz", "-o", "odd-decoded", cwd=place)
    assert len(list((place / "odd-decoded").iterdir())) == 1


def test_a_damaged_run_says_so_and_a_damaged_log_does_not_matter(betabloom, place):
    shutil.copytree(place / "run", place / "hurt")
    lines = (place / "hurt" / "metrics.jsonl").read_text()
    for damage in (lines[:150], "garbage\n" + lines, '[]\n{"a": 1}\n'):
        (place / "hurt" / "metrics.jsonl").write_text(damage)
        _, err = betabloom("train", "--resume", "hurt", cwd=place)
        assert "metrics.jsonl is damaged" in err
    for file in (place / "hurt" / "checkpoints").glob("*/state.safetensors"):
        file.write_text("x")
    _, err = betabloom("train", "--resume", "hurt", cwd=place, code=1)
    assert "No checkpoint in hurt/checkpoints can be read" in err
    assert "remove that folder and type: betabloom train --resume hurt\n" in err
    shutil.rmtree(place / "hurt" / "checkpoints")
    _, err = betabloom("train", "--resume", "hurt", cwd=place)
    assert "starts from the beginning" in err
    (place / "hurt" / "config.yaml").write_bytes(b"\xff\xfe\0")
    _, err = betabloom("train", "--resume", "hurt", cwd=place, code=2)
    assert "config.yaml is damaged" in err
    (place / "hurt" / "model" / "config.json").write_text('{"format": "betabloom-model", "format_version": 1}')
    _, err = betabloom("info", "hurt", cwd=place, code=1)
    assert "does not describe a model" in err


def test_pictures_that_went_away_are_missed_by_name(betabloom, place):
    (place / "photos").rename(place / "elsewhere")
    _, err = betabloom("train", "--resume", "run", cwd=place, code=2)
    assert "not where they were" in err
    assert "type again: betabloom train --resume run" in err
    (place / "elsewhere").rename(place / "photos")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_a_name_with_a_line_break_is_one_line(betabloom, place):
    out, _ = betabloom("generate", "run", "-n", 1, "--seed", 0, "-o", "a\nb\x1b[31m.png", cwd=place)
    assert out == "1 new picture (seed 0): a\\nb\\x1b[31m.png\n"
    (place / "a\nb\x1b[31m.png").unlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no folder that takes no files")
def test_what_cannot_be_written_is_named_as_it_was_typed(betabloom, place):
    _, err = betabloom("generate", "run", "-n", 1, "-o", "/proc/new.png", cwd=place, code=1)
    assert "/proc/new.png" in err
    assert ".part" not in err
    _, err = betabloom("encode", "run", "photos", "-o", "/proc/new.npz", cwd=place, code=1)
    assert "/proc/new.npz" in err


def test_a_second_run_keeps_out_of_a_folder_that_is_trained_in(betabloom, place):
    from betabloom.system.locks import locked

    with locked(place / "run" / ".lock"):
        _, err = betabloom("train", "--resume", "run", cwd=place, code=2)
    assert "Another process is training in run" in err


def test_resume_goes_on_and_names_are_kept(betabloom, place):
    before = (place / "run" / "metrics.jsonl").read_text()
    betabloom("train", "--resume", "run", cwd=place)
    assert (place / "run" / "metrics.jsonl").read_text() == before  # it had ended


def test_a_model_is_enlarged_by_photos_that_are_large_enough(betabloom, place):
    _, err = betabloom("enlarge", "run", "--steps", "1", "-o", "larger", cwd=place, code=2)
    assert "To draw 32x32, give photos of at least that size as SOURCE" in err
    assert not (place / "larger").exists()
    (place / "large").mkdir()
    for i in range(40):
        coarse = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        side = 64 if i else 31
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(place / "large" / f"{i}.png")
    out, _ = betabloom("enlarge", "run", "large", "--steps", "1", "-o", "larger", "--json", cwd=place)
    facts = json.loads(out)
    assert (facts["size"], facts["steps"], facts["photos"]) == ("32x32", 1, 39)
    with Image.open(place / "larger" / "samples.png") as sheet:
        assert sheet.width == 8 * 34 + 2
    card = (place / "larger" / "README.md").read_text()
    assert "32×32 pixels" in card
    assert "1 steps on 39 photos" in card
    _, err = betabloom("enlarge", "run", "large", "--steps", "1", "-o", "larger", cwd=place, code=2)
    assert "--force" in err
    small, large = (load(place / name) for name in ("run", "larger"))
    for one, other in zip(held_out(small, place / "large"), held_out(large, place / "large"), strict=True):
        assert one == other


def held_out(model, source):
    """Names of the pictures that the model learned from, or would have, and of those that it would not."""
    store = training_pictures(model, str(source))
    return [{store.names[row] for row in rows} for rows in store.split("auto", 0.4)]


def test_version_and_help(betabloom):
    out, _ = betabloom("--version", cwd=Path.cwd())
    assert out.startswith("betabloom 0.")
    command = [sys.executable, "-m", "betabloom", "--version"]  # without a fork
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == out
    out, _ = betabloom("--help", cwd=Path.cwd())
    for verb in ("fetch", "train", "runs", "report", "generate", "reconstruct", "vary", "encode", "decode", "info"):
        assert f"  {verb} " in out
