"""Wrong arguments from Python: whatever is passed, what goes wrong is a `BetabloomError` that says what to pass."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import betabloom
from betabloom import data, export
from betabloom.arguments import number, path_of, whole_number
from betabloom.config import Config
from betabloom.errors import UsageError
from betabloom.model.model import Model
from betabloom.reports.run_page import report_html
from betabloom.reports.share import share
from betabloom.vae.build import make_vae

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
PIPELINE = data.Pipeline.named("square", (16, 16))
NOT_PICTURES = {
    "nothing": None, "number": 3, "bool": True, "no such file": "nowhere", "no such path": Path("nowhere"),
    "bytes": b"abc",
    "no pictures": np.zeros((0, 16, 16, 3), np.uint8), "an empty list": [], "a list of nothing": [None], "a dict": {},
    "NaN": np.full((2, 16, 16, 3), np.nan), "infinite": np.full((2, 16, 16, 3), np.inf), "objects": np.array([{}, {}]),
    "two channels": PICTURES[..., :2], "five axes": PICTURES[None], "one axis": np.zeros(5), "no axis": np.array(3.0),
    "large numbers": PICTURES.astype(np.int64) * 300,
    "complex": PICTURES.astype(complex), "texts": np.array(["a", "b"]),
    "an open file": io.BytesIO(b"x"), "a set": {1, 2},
}  # fmt: skip
NOT_NUMBERS = [None, "3", [1], float("nan"), float("inf"), -1, 2.5, True, 10**20]


@pytest.fixture(scope="module")
def model() -> Model:
    config = Config.preset("tiny", height=16, width=16, latents=4)
    return Model(make_vae(config).eval(), config, PIPELINE, {})


def complaint(call: object, *arguments: object) -> str:
    """The sentence that a call ends in; "" if it works."""
    assert callable(call)
    try:
        call(*arguments)
    except betabloom.BetabloomError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", NOT_PICTURES)
def test_what_has_no_pictures_is_refused_by_all(model, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path))
    monkeypatch.setenv("BETABLOOM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    value = NOT_PICTURES[kind]
    calls = [
        model.prepare, model.encode, model.reconstruct, lambda v: model.vary(v, n=1), betabloom.grid,
        lambda v: betabloom.pairs(v, v), data.Arrays, PIPELINE, data.Folder, data.Table, data.Archive,
        lambda v: data.prepare_few(v, PIPELINE), betabloom.resume,
    ]  # fmt: skip
    calls += [betabloom.prepare, data.open_source, data.open_pictures, data.inspect] if value is not None else []
    for call in calls:
        assert complaint(call, value), call


def test_what_has_pictures_works_in_all_forms(model, tmp_path, monkeypatch):
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    image = Image.fromarray(PICTURES[0])
    for one in (image, [image], tmp_path / "a.png", [str(tmp_path / "a.png")], PICTURES[:1], [PICTURES[0]]):
        assert np.array_equal(model.prepare(one), PICTURES[:1])
        assert np.array_equal(data.prepare_few(one, PIPELINE), PICTURES[:1])
    assert len(data.prepare(tmp_path, PIPELINE)) == data.inspect(str(tmp_path)).usable == 1


def test_codes_are_numbers_of_one_shape(model):
    good = np.zeros((2, 4))
    for codes in (good, good.tolist(), good.astype(int)):
        assert model.decode(codes).shape == (2, 16, 16, 3)
    wrong = [None, 3, "x", [], good[:0], good * np.nan, good[0], good[:, :3], [[1, 2], [3]], ["a"], np.array([{}])]
    for codes in wrong:
        assert "codes" in complaint(model.decode, codes).lower()


def test_numbers_are_checked_where_they_come_in(model):
    for value in NOT_NUMBERS:
        assert complaint(lambda v: model.generate(n=v), value)
        assert complaint(lambda v: betabloom.grid(PICTURES, columns=v), value)
        if value is not None:  # a new seed each time
            assert complaint(lambda v: model.generate(1, seed=v), value)
    for value in (None, "3", [1], float("nan"), float("inf"), -1, 0, True):
        assert complaint(lambda v: model.generate(1, temperature=v), value)
        assert complaint(lambda v: betabloom.grid(PICTURES, scale=v), value)


def test_what_is_passed_is_named():
    assert whole_number(np.int64(3), "'n'") == 3
    assert number(np.float32(0.5), "'x'") == 0.5
    assert path_of("a", "It") == Path("a")
    with pytest.raises(UsageError, match=r"'n' should be a whole number, not 2\.5"):
        whole_number(2.5, "'n'")
    with pytest.raises(UsageError, match="'x' should be a positive number, not 0"):
        number(0, "'x'", above=True)
    with pytest.raises(UsageError, match="It should be a path, not ndarray"):
        path_of(PICTURES, "It")


@pytest.mark.parametrize("odd", [None, -1, float("nan"), [], b"x", object()], ids=lambda odd: type(odd).__name__)
def test_what_is_exported_shared_or_pushed_and_where_to_is_asked_for_in_a_sentence(odd, model, tmp_path):
    for write in (export.to_onnx, export.to_torch, export.to_mlflow, share):
        with pytest.raises(UsageError, match=r"'model' should be a betabloom\.Model"):
            write(odd, tmp_path / "out")
        with pytest.raises(UsageError, match="should be a path"):
            write(model, odd)
    with pytest.raises(UsageError, match=r"'model' should be a betabloom\.Model"):
        export.push(odd, "user/model")
    with pytest.raises(UsageError, match="no name of the Hub"):
        export.push(model, odd)
    with pytest.raises(UsageError, match="no name of the Hub"):
        export.pull(odd, tmp_path)
    with pytest.raises(UsageError, match="should be a path"):
        report_html(odd)
    assert not list(tmp_path.iterdir())
