"""The page "Using a model as a tool": its commands run with a small model, and so does its Python."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from betabloom import data
from betabloom.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "use.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.M)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model):
    """A folder with what the page names, and a small run."""
    folder = tmp_path_factory.mktemp("use")
    shutil.copytree(tiny_model, folder / "run")
    drawn = data.Drawn(22, seed=5, size=32)
    (folder / "photos").mkdir()
    for i in range(22):
        drawn.read(i).save(folder / "photos" / f"{i}.png")
    for name, i in (("a.jpg", 0), ("b.jpg", 1)):
        drawn.read(i).save(folder / name)
    mask = np.zeros((16, 16), np.uint8)
    mask[3:9, 5:11] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[1:4]))
def test_every_command_runs(place, monkeypatch, capsys, words):
    monkeypatch.chdir(place)
    if "codes.parquet" in words:
        pytest.importorskip("pyarrow")
    few = ["--steps", "10"] if words[1] in ("inpaint", "denoise") else []
    words = [{"60": "5"}.get(word, word) for word in words]
    main.run([words[1], "run", *words[2:], *few, "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert Path(facts["made"]).is_file()
    if words[1] == "similar":
        assert facts["pictures"][0]["name"] == "0.png"  # the picture itself, as a JPEG
    if words[1] == "anomaly":
        assert all(0 < each["p"] <= 1 for each in facts["pictures"])


def test_the_python_runs(monkeypatch, capsys, place):
    monkeypatch.chdir(place)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.M)
    exec(compile(code.replace("load()", f"load({str(place / 'run')!r})"), "use.md", "exec"), {})
    assert capsys.readouterr().out == "(2, 16, 16, 3)\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inpaint", "run", "a.jpg"], "either --box"),
        (["inpaint", "run", "a.jpg", "--box", "1,2,3"], "LEFT,TOP,RIGHT,BOTTOM"),
        (["inpaint", "run", "a.jpg", "--box", "0,0,99,9"], "not inside a picture of 16x16"),
        (["inpaint", "run", "a.jpg", "--mask", "a.jpg"], "The mask has 32x32 pixels, and the picture 16x16"),
        (["inpaint", "run", "a.jpg", "--box", "0,0,16,16"], "covers everything"),
        (["inpaint", "run", "a.jpg", "b.jpg", "--box", "1,1,3,3"], "takes one picture file, not 2"),
        (["denoise", "run", "nowhere.jpg"], "no picture nowhere.jpg"),
        (["denoise", "run", "a.jpg", "--noise", "0"], "'noise' is a standard deviation"),
        (["anomaly", "run", "a.jpg"], "--normal SOURCE"),
        (["similar", "run", "a.jpg"], "--among SOURCE"),
        (["compress", "run"], "Give picture files"),
        (["compress", "run", "photos", "--fineness", "0", "-o", "none.bbc"], "positive fineness"),
        (["compress", "run", "photos", "--fineness", "1e30", "-o", "none.bbc"], "at most 1000"),
        (["decompress", "run", "nowhere.bbc"], "There is no file nowhere.bbc"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_wrong_use_is_one_sentence_and_writes_nothing(place, monkeypatch, words, said):
    from betabloom.errors import UsageError

    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    with pytest.raises(UsageError, match=re.escape(said)):
        main.run(words)
    assert sorted(place.rglob("*")) == before
