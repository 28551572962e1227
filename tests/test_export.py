"""What is exported computes what the model computes, says what it is, and never replaces what is a person's."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from betabloom import export
from betabloom.cli import main
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import BetabloomError, UsageError
from betabloom.export import codes, layers, parity
from betabloom.model.model import Model, load
from betabloom.networks.spec import FAMILIES
from betabloom.samplers.choose import fit_samplers
from betabloom.samplers.table import SAMPLERS
from betabloom.vae.build import make_vae
from betabloom.vae.likelihood import LIKELIHOODS
from betabloom.vae.posterior import POSTERIORS
from betabloom.vae.prior import PRIORS

onnx = pytest.importorskip("onnx", reason="the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx")


def made(samplers: bool = False, **settings) -> Model:
    """A model whose every weight matters; its pictures are far from grey."""
    usual = {"height": 16, "width": 32, "latents": 5, "widths": "6,8", "prior_components": 3}
    config = Config.preset("tiny", **{**usual, **settings})
    torch.manual_seed(3)
    vae = make_vae(config).eval()
    with torch.no_grad():
        for name, value in vae.state_dict().items():
            if name.startswith(("encoder", "decoder", "prior")) and value.ndim:
                value.normal_(0, 1.2 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.3)
    seen = torch.randn(60, config.model.latents)
    fitted = fit_samplers(seen, torch.full_like(seen, -2.0), seen[:20], flow_steps=4) if samplers else {}
    pipeline = Pipeline.named("square", config.shape[1:], config.shape[0])
    facts = {"source": "drawn flowers"}
    return Model(vae.requires_grad_(False), config, pipeline, facts, fitted, "parzen" if samplers else "prior", "f00d")


KINDS = [
    {"family": "seed", "likelihood": "bernoulli"},
    {"family": "burgess", "likelihood": "gaussian", "prior": "normal", "posterior": "full", "channels": 1},
    {"family": "conv", "likelihood": "discretised-logistic", "prior": "mixture", "posterior": "low-rank",
     "channels": 4},
    {"family": "residual", "likelihood": "continuous-bernoulli", "prior": "vamp"},
    {"family": "residual", "likelihood": "laplace-learned", "prior": "normal-learned", "posterior": "point",
     "enlargers": "4"},
]  # fmt: skip


@pytest.mark.parametrize("settings", KINDS, ids=lambda each: each["family"])
def test_onnx_computes_what_the_model_computes(settings, tmp_path):
    model = made(**settings)
    record = export.to_onnx(model, tmp_path / "out", int8=True)
    measured = record["parity"]
    assert measured["generator_levels"] <= 1
    assert measured["decoder_levels"] <= 1
    assert max(measured[name] for name in ("codes", "encoder_mean", "encoder_log_var")) < 1e-4
    assert measured["int8_mean_levels"] <= 2
    assert model.generate(32).std() > 10  # the comparison above says something
    assert json.loads((tmp_path / "out" / "export.json").read_text("utf-8")) == record


def test_every_kind_of_part_can_be_written():
    assert {each["family"] for each in KINDS} == set(FAMILIES)
    assert set(layers.LIKELIHOODS) == set(LIKELIHOODS)
    assert set(layers.POSTERIORS) == set(POSTERIORS) == {each.get("posterior", "normal") for each in KINDS}
    assert set(codes.PRIORS) == set(PRIORS) == {each.get("prior", "standard") for each in KINDS}
    assert set(codes.SAMPLERS) == set(SAMPLERS)


@pytest.fixture(scope="module")
def model() -> Model:
    return made(samplers=True, family="conv")


def test_every_sampler_is_in_the_graph(model, tmp_path):
    assert {"gaussian", "parzen", "flow"} <= set(model.samplers)
    for sampler in model.samplers:
        record = export.to_onnx(model, tmp_path / "out", sampler)
        assert record["sampler"] == sampler
        assert record["parity"]["codes"] < 1e-5
        assert record["parity"]["generator_levels"] <= 1


NUMPY_ONLY = """
import sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
latents = int(session.get_modelmeta().custom_metadata_map["latents"])
streams = [np.random.default_rng([7, i]) for i in range(5)]
choice = np.array([rng.random() for rng in streams])
noise = np.stack([rng.standard_normal(latents) for rng in streams]).astype(np.float32)
pictures, codes = session.run(None, {"noise": noise, "choice": choice})
np.save(sys.argv[2], pictures)
assert not {"torch", "betabloom"} & set(sys.modules)
"""


def test_a_seed_names_the_same_pictures_with_numpy_and_onnx_runtime_alone(model, tmp_path):
    export.to_onnx(model, tmp_path / "out")
    words = [sys.executable, "-c", NUMPY_ONLY, tmp_path / "out" / "generator.onnx", tmp_path / "made.npy"]
    subprocess.run(words, check=True)
    assert parity.levels(np.load(tmp_path / "made.npy"), model.generate(5, seed=7)) <= 1


def test_a_file_says_what_it_is(model, tmp_path):
    export.to_onnx(model, tmp_path / "out")
    read = onnx.load(tmp_path / "out" / "decoder.onnx")
    about = {each.key: each.value for each in read.metadata_props}
    assert about["fingerprint"] == "f00d"
    assert (about["width"], about["height"], about["channels"], about["latents"]) == ("32", "16", "RGB", "5")
    assert json.loads(about["pipeline"]) == model.pipeline.to_dict()
    assert {"licence", "source", "pictures", "noise", "betabloom"} <= set(about)
    assert [(each.domain, each.version) for each in read.opset_import] == [("", 20)]
    assert read.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_eight_bits_take_a_quarter_of_the_space(tmp_path):
    export.to_onnx(made(family="burgess", height=32), tmp_path / "out", int8=True)
    whole, small = ((tmp_path / "out" / f"{name}.onnx").stat().st_size for name in ("decoder", "decoder-int8"))
    assert small < 0.3 * whole


def test_what_computes_something_else_is_refused_and_not_kept(model, tmp_path, monkeypatch):
    wrong = dict(layers.LIKELIHOODS)
    wrong[model.config.model.likelihood] = lambda graph, eta, scale: graph.add("Tanh", eta)
    monkeypatch.setattr(layers, "LIKELIHOODS", wrong)
    with pytest.raises(BetabloomError, match=r"does not compute what the model computes \(generator_levels"):
        export.to_onnx(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_infinities_and_nan_are_compared_as_they_should():
    assert parity.apart(np.array([-np.inf, 1]), np.array([-np.inf, 1])) == 0
    with pytest.raises(BetabloomError, match="encoder_log_var"):
        parity.measured(made(posterior="point"), "prior", _nan_for_log_var)


def _nan_for_log_var(stem: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    model = made(posterior="point")
    if stem == "generator":
        return [model.generate(32), model.draw(32)]
    if stem == "decoder":
        return [model.decode(feeds["codes"])]
    mean, log_var = model.encode(feeds["pictures"])
    return [mean, np.full_like(log_var, np.nan)]


@pytest.mark.slow
@pytest.mark.parametrize("settings", KINDS, ids=lambda each: each["family"])
def test_torch_programs_compute_what_the_model_computes(settings, tmp_path):
    measured = export.to_torch(made(**settings), tmp_path / "out")["parity"]
    assert max(measured["generator_levels"], measured["decoder_levels"]) <= 1


@pytest.mark.slow
def test_every_sampler_is_in_the_torch_program(model, tmp_path):
    for sampler in model.samplers:
        assert export.to_torch(model, tmp_path / "out", sampler)["parity"]["codes"] < 1e-5


@pytest.mark.slow
def test_torch_programs_load_and_take_any_number(model, tmp_path):
    record = export.to_torch(model, tmp_path / "out")
    assert record["parity"]["generator_levels"] <= 1
    program = torch.export.load(tmp_path / "out" / "decoder.pt2").module()
    for n in (1, 2, 9):
        drawn = program(torch.from_numpy(model.draw(n)))
        assert parity.levels(drawn.numpy(), model.generate(n)) <= 1


def test_only_an_export_is_replaced(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export.to_onnx(model, tmp_path / "out")
    export.to_onnx(model, tmp_path / "out", "prior")  # of its own kind
    assert json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))["sampler"] == "prior"
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        export.to_onnx(model, tmp_path / "out")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="it is not an export"):
        export.to_onnx(model, tmp_path / "photos")
    with pytest.raises(UsageError, match="exists already"):
        main.run(["export", "-o", "out"])


def test_the_command_writes_and_says_how_exact_it_is(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model.save("mine")
    main.run(["export", "mine", "--int8"])
    assert "within " in (said := capsys.readouterr().out)
    assert "8 bits" in said
    assert "mine-onnx" in said
    main.run(["export", "mine", "--sampler", "flow", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["made"] == "mine-onnx-2"
    assert facts["sampler"] == "flow"
    assert set(facts["files"]) == {"generator.onnx", "decoder.onnx", "encoder.onnx"}
    assert facts["fingerprint"] == load("mine").fingerprint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "tflite"], "--to takes onnx, torch"),
        (["--to", "torch", "--int8"], "--int8 goes with --to onnx"),
        (["--sampler", "nothing"], "no sampler 'nothing'"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_wrong_use_is_one_sentence_and_writes_nothing(model, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    model.save("mine")
    with pytest.raises(UsageError, match=said):
        main.run(["export", "mine", *words])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
