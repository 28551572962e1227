"""Commands of exploring: bad input ends in one sentence and code 2, and nothing is written."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from betabloom import data
from betabloom.cli import main
from betabloom.model.code_tables import holds_codes
from betabloom.model.codes import Codes, save_codes


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("commands")
    shutil.copytree(tiny_model, folder / "run")
    (folder / "empty").mkdir()
    (folder / "one-class" / "a").mkdir(parents=True)
    drawn = data.Drawn(4, seed=5, size=32)
    for i in range(4):
        drawn.read(i).save(folder / "one-class" / "a" / f"{i}.png")
    drawn.read(0).convert("L").resize((50, 20)).save(folder / "grey.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    zeros = np.zeros((2, 6), np.float32)
    save_codes(Codes(zeros, zeros, ["x", "y"], "0" * 16), folder / "others.npz")
    return folder


def run(place, monkeypatch, capsys, *words):
    """Exit code and stderr of a command."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["betabloom", *words])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    return stopped.value.code or 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["morph", "run", "seed:1"], "at least 2 pictures, not 1"),
        (["morph", "run"], "At least one picture file"),
        (["morph", "run", "seed:1", "seed:2", "--way", "crooked"], "slerp or linear"),
        (["morph", "run", "seed:1", "seed:2", "-o", "m.avi"], "-o m.webp, not m.avi"),
        (["morph", "run", "seed:1", "nowhere.jpg"], "There is no file nowhere.jpg"),
        (["morph", "run", "seed:1", "gray.png"], "Did you mean 'grey.png'?"),
        (["morph", "run", "seed:1", "seed:-2"], "seed:-2 is no seed: write seed:7"),
        (["morph", "run", "seed:1", "seed:2", "--fps", "0"], "frames a second"),
        (["traverse", "run", "--reach", "1e30"], "numbers beyond"),
        (["mix", "run", "seed:1"], "Two pictures can be mixed, not 1"),
        (["mix", "run", "seed:1", "seed:2", "--share", "2"], "'share' must lie"),
        (["traverse", "run", "seed:1", "seed:2"], "starts from one picture, not from 2"),
        (["traverse", "run", "--latents", "5-6"], "dimensions 0 to 5, not 5-6"),
        (["traverse", "run", "others.npz"], "written by model 0000000000000000"),
        (["more-like", "run"], "At least one picture file"),
        (["more-like", "run", "seed:1", "--not", "seed:1"], "nothing tells them apart"),
        (["directions", "run", "--kind", "magic"], "--kind is one of all, pca"),
        (["directions", "run", "--kind", "attribute"], "needs --labels"),
        (["directions", "run", "--kind", "attribute", "--labels", "one-class"], "one class|no labels"),
        (["map", "run", "empty"], "empty"),
        (["map", "run", "seed:1", "seed:2"], "at least 3 pictures, not 2"),
        (["map", "run", "--method", "atlas"], "pca, tsne, umap"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_wrong_use_is_one_sentence(place, monkeypatch, capsys, words, said):
    before = sorted(place.rglob("*"))
    code, err = run(place, monkeypatch, capsys, *words)
    assert code == 2
    assert err.startswith("betabloom: ")
    assert len(err.strip().splitlines()) == 1
    assert any(part in err for part in said.split("|")), err
    assert sorted(place.rglob("*")) == before


def test_a_broken_picture_is_named(place, monkeypatch, capsys):
    code, err = run(place, monkeypatch, capsys, "morph", "run", "broken.jpg", "seed:1")
    assert code == 1
    assert "broken.jpg" in err


def test_a_picture_of_another_size_and_mode_is_prepared(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    main.run(["morph", "run", "grey.png", "seed:1", "--frames", "3", "-o", "grey.webp"])
    assert (place / "grey.webp").is_file()


def test_the_input_is_never_overwritten_and_results_get_new_names(place, monkeypatch, capsys):
    before = (place / "grey.png").read_bytes()
    code, err = run(place, monkeypatch, capsys, "more-like", "run", "grey.png", "-o", "grey.png", "--force")
    assert (code, "made from" in err) == (2, True)
    assert (place / "grey.png").read_bytes() == before
    monkeypatch.chdir(place)
    for _ in range(2):
        main.run(["more-like", "run", "seed:1", "-n", "2"])
    assert (place / "more-like.png").is_file()
    assert (place / "more-like-2.png").is_file()


def test_tables_of_codes_are_points_and_tables_of_pictures_are_not(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for name in ("codes.csv", "codes.npz"):
        main.run(["embed", "run", "one-class", "-o", name])
    capsys.readouterr()
    found = []
    for among in ("codes.csv", "codes.npz", "one-class"):
        main.run(["similar", "run", "one-class/a/2.png", "--among", among, "-o", f"{among}.png", "--json"])
        found.append([each["cosine"] for each in json.loads(capsys.readouterr().out)["pictures"]])
    assert found[0] == pytest.approx(found[2], abs=1e-3)
    assert found[1] == found[2]
    (place / "table.csv").write_text("file\none-class/a/0.png\n")
    (place / "short.csv").write_text("name,z0,z1\na,0,1\n")
    assert run(place, monkeypatch, capsys, "morph", "run", "short.csv", "seed:1") == (
        2, "betabloom: short.csv has codes of 2 numbers, and this model of 6.\n",
    )  # fmt: skip
    assert not holds_codes("table.csv")
