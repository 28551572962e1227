"""Colours, wallpapers, films, near copies and shared files, asked for by their routes."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra 'studio' is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from betabloom.generate import drawing
from betabloom.generate.request import Request
from betabloom.imaging import colour
from betabloom.model.model import load
from betabloom.studio.sharing import Sharing


def post(ask, path, **body):
    answer = ask.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def picture_of(address: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image)


def until(ask, path, state, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ask.get(path).json()
        if found["state"] == state:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_colours_are_those_of_generate(ask, model_folder):
    found = post(ask, "/api/draw", n=2, seed=3, palette="violet,gold", colourful=True)
    request = Request(n=2, seed=3, palette="violet,gold", colourful=True).checked()
    expected = drawing.draw(load(model_folder), request)
    assert found["satisfied"] == expected.details["satisfied"]
    off = [
        np.abs(picture_of(a).astype(int) - b).mean() for a, b in zip(found["pictures"], expected.pictures, strict=True)
    ]
    assert max(off) < 1
    assert "--palette violet,gold --colourful" in found["command"]


def test_what_is_asked_for_is_what_is_drawn(ask):
    found = post(ask, "/api/draw", n=6, seed=1, palette="violet")
    pictures = np.stack([picture_of(each) for each in found["pictures"]])
    named = colour.named(colour.centre(pictures)) == colour.index_of("violet")
    assert [bool(each) for each in named] == found["satisfied"]


@pytest.mark.parametrize("palette", ["mauvish", "violet+violet", "#12", ","])
def test_colours_that_there_are_not_are_refused(ask, palette):
    answer = ask.post("/api/draw", json={"n": 1, "palette": palette})
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_wallpapers_have_the_size_that_was_asked_for_and_bring_their_codes_back(ask):
    codes = post(ask, "/api/draw", n=5)["codes"]
    for some in (codes[:1], codes):
        paper = ask.post("/api/wallpaper", json={"codes": some, "width": 192, "height": 108})
        with Image.open(io.BytesIO(paper.content)) as image:
            assert image.size == (192, 108)
            assert np.asarray(image).std() > 5
        np.testing.assert_allclose(ask.post("/api/restore", content=paper.content).json()["codes"], some, atol=1e-4)
    assert ask.post("/api/wallpaper", json={"codes": codes, "width": 10**6, "height": 9}).status_code == 422


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_a_film_passes_its_pictures_and_brings_them_back(ask, kind):
    codes = post(ask, "/api/draw", n=2)["codes"]
    film = ask.post("/api/film", json={"codes": codes, "frames": 8, "format": kind})
    assert film.headers["content-type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(film.content)) as image:
        assert (image.format, image.n_frames, image.size) == (kind, 8, (256, 256))
    np.testing.assert_allclose(ask.post("/api/restore", content=film.content).json()["codes"], codes, atol=1e-4)


def test_an_mp4_needs_its_extra_or_says_so(ask):
    codes = post(ask, "/api/draw", n=2)["codes"]
    film = ask.post("/api/film", json={"codes": codes, "frames": 8, "format": "MP4"})
    if "MP4" in ask.get("/api/model").json()["films"]:
        assert film.content[4:8] == b"ftyp"
    else:
        assert film.status_code == 422
        assert "betabloom[video]" in film.json()["error"]


@pytest.fixture
def trained_on(tmp_path):
    """A folder of pictures, as if the model had been trained on them."""
    (tmp_path / "photos").mkdir()
    for i in range(30):
        picture = np.random.default_rng(i).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((32, 32)).save(tmp_path / "photos" / f"{i:02}.png")
    return tmp_path / "photos"


def test_without_training_pictures_near_copies_cannot_be_told(ask):
    found = until(ask, "/api/known", "absent")
    assert "not on this machine" in found["sentence"]
    drawn = post(ask, "/api/draw", n=2)
    assert drawn["near_copies"] is None
    assert post(ask, "/api/nearest", codes=drawn["codes"])["nearest"] == [None, None]


def test_the_nearest_training_picture_is_shown_and_copies_are_told(ask, trained_on, monkeypatch, tmp_path):
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    until(ask, "/api/known", "absent")
    post(ask, "/api/known", source=str(trained_on))
    assert "training pictures" in until(ask, "/api/known", "found")["sentence"]
    drawn = post(ask, "/api/draw", n=3)
    assert len(drawn["near_copies"]) == 3
    nearest = post(ask, "/api/nearest", codes=drawn["codes"])["nearest"]
    assert [each["near_copy"] for each in nearest] == drawn["near_copies"]
    shown = [picture_of(each) for each in drawn["pictures"]]
    files = [np.asarray(Image.open(file)) for file in sorted(trained_on.iterdir())]
    for picture, each in zip(shown, nearest, strict=True):

        def apart(other, picture=picture):
            small = [
                np.asarray(Image.fromarray(x).resize((16, 16), Image.Resampling.BOX), float) for x in (picture, other)
            ]
            return min(np.abs(small[0] - small[1]).mean(), np.abs(small[0][:, ::-1] - small[1]).mean())

        distances = [apart(file) for file in files]
        assert apart(np.asarray(Image.open(trained_on / each["name"]))) <= 1.1 * min(distances)


def test_a_copy_of_a_training_picture_is_called_one(trained_on, model_folder, monkeypatch, tmp_path):
    from betabloom.studio.known import Known

    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    known = Known(load(model_folder), str(model_folder), lambda: None)
    known.look(str(trained_on))
    end = time.monotonic() + 60
    while known.state == "looking" and time.monotonic() < end:
        time.sleep(0.02)
    assert known.state == "found", known.sentence
    picture = known._found.pictures[known._found.rows[3]]
    (found,) = known.nearest(np.zeros((1, 8)), picture[None])
    assert found.near_copy is True
    np.testing.assert_array_equal(found.picture, picture)
    (flipped,) = known.nearest(np.zeros((1, 8)), picture[None, :, ::-1])
    assert (flipped.near_copy, flipped.mirrored, flipped.name) == (True, True, found.name)
    new = np.random.default_rng(99).integers(0, 255, picture.shape, dtype=np.uint8)
    assert known.near_copies(new[None]) == [False]


def test_a_model_that_keeps_the_codes_shows_what_it_remembers():
    import betabloom
    from betabloom.model.training_codes import training_codes
    from betabloom.studio.atelier import Atelier

    atelier = Atelier()
    codes = training_codes()[[5, 77]]
    near = atelier.known.nearest(codes, np.zeros((2, 64, 64, 3), np.uint8))
    expected = betabloom.load().decode(codes)
    assert all(each.near_copy is None and not each.name for each in near)
    assert max(np.abs(each.picture.astype(int) - other).max() for each, other in zip(near, expected, strict=True)) <= 1
    atelier.close()


def test_a_model_is_packed_as_one_file_with_what_was_kept(ask):
    codes = post(ask, "/api/draw", n=2)["codes"]
    assert ask.get("/api/share/file").status_code == 422
    assert post(ask, "/api/share", title="A <title>", codes=codes)["state"] == "packing"
    found = until(ask, "/api/share", "ready")
    file = ask.get("/api/share/file")
    assert "attachment" in file.headers["content-disposition"]
    assert len(file.content) == found["bytes"]
    assert b"A \\u003ctitle>" in file.content
    assert b'"kept":[[' in file.content


def test_a_shared_file_is_of_the_model_in_use(model_folder, tmp_path):
    sharing, codes = Sharing(tmp_path), np.zeros((0, 8), np.float32)
    sharing.start(str(model_folder), "newer", "", codes)  # what is in the folder is of another fingerprint
    end = time.monotonic() + 60
    while sharing.about("newer")["state"] == "packing" and time.monotonic() < end:
        time.sleep(0.05)
    assert sharing.about("newer")["state"] == "failed"
    assert "trained further" in sharing.about("newer")["text"]
    assert sharing.about("another")["state"] == "none"


def test_any_model_can_be_opened_by_its_place(ask, model_folder):
    answer = ask.post("/api/model", json={"name": str(model_folder)})
    assert answer.json()["name"] == str(model_folder)
    for name in ("/no/such/model", "/etc", "relative/run", "\0", "x" * 1000):
        assert ask.post("/api/model", json={"name": name}).status_code in (404, 422)


def test_what_takes_long_is_refused_when_much_of_it_is_going_on(ask, monkeypatch):
    from betabloom.studio import pictures

    codes = post(ask, "/api/draw", n=2)["codes"]
    monkeypatch.setattr(pictures, "WAITING", -pictures.HEAVY)
    refused = ask.post("/api/film", json={"codes": codes, "frames": 4})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert ask.post("/api/decode", json={"codes": codes}).status_code == 200
    monkeypatch.undo()
    assert ask.post("/api/film", json={"codes": codes, "frames": 4}).status_code == 200
