"""Without torch: the same pictures as with it, the same refusals, and where it cannot, torch does it."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import betabloom
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import BetabloomError, UsageError
from betabloom.model.model import Model
from betabloom.model.without_torch import open_without_torch
from betabloom.networks.build import make_networks
from betabloom.networks.fast_numpy import is_known
from betabloom.networks.spec import FAMILIES, make_network
from betabloom.samplers.choose import fit_samplers
from betabloom.vae import fast_numpy
from betabloom.vae.build import build_vae
from betabloom.vae.likelihood import LIKELIHOODS
from betabloom.vae.posterior import POSTERIORS
from betabloom.vae.prior import PRIORS

GOLDEN = Path(__file__).parent / "golden" / "version-1"


@functools.cache
def fitted_samplers(latents):
    """All samplers, fitted to normal codes."""
    codes, held_out = (torch.randn(n, latents, generator=torch.Generator().manual_seed(n)) for n in (60, 20))
    return fit_samplers(codes, torch.full_like(codes, -2.0), held_out, flow_steps=40)


def saved(folder, half=False, **settings):
    """A model whose every weight matters, with fitted samplers, saved; its pictures are far from grey."""
    config = Config.preset("tiny", **{"height": 16, "width": 24, "latents": 5, "widths": "6,18", **settings})
    m = config.model
    torch.manual_seed(3)
    densities = (m.likelihood, m.prior, 0.3, 0.8, 4)
    vae = build_vae(config.shape, m.latents, m.family, m.widths, m.kernel, *densities, m.posterior, m.enlargers)
    with torch.no_grad():
        for name, value in vae.state_dict().items():
            if name.startswith(("decoder", "prior")) and value.ndim:
                value.normal_(0, 1.2 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.3)
    fitted = fitted_samplers(m.latents)
    assert "flow" in fitted
    pipeline = Pipeline.named("square", config.shape[1:], config.shape[0])
    return Model(vae.eval(), config, pipeline, {}, fitted, "parzen").save(folder, half)


def agree(model, lean, **how):
    one, other = (each.generate(37, seed=4, **how) for each in (model, lean))
    assert one.dtype == other.dtype == np.uint8
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    assert one.std() > 10


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("family", "kernel"), [("residual", 0), ("residual", 5), ("conv", 0), ("conv", 2), ("conv", 6), ("burgess", 0)]
)
def test_pictures_are_those_of_torch(family, kernel, half, tmp_path):
    saved(tmp_path / "m", half, family=family, kernel=kernel)
    lean, model = open_without_torch(tmp_path / "m"), betabloom.load(tmp_path / "m")
    assert (lean.fingerprint, lean.config, lean.pipeline) == (model.fingerprint, model.config, model.pipeline)
    for sampler in ("auto", "prior", *model.samplers):
        agree(model, lean, sampler=sampler)
    agree(model, lean, sampler="flow", temperature=0.8)
    agree(model, lean, temperature=0.6, start=11)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("family", "enlargers"), [("residual", "7"), ("conv", "4,9"), ("burgess", "5")])
def test_enlarged_pictures_are_those_of_torch(family, enlargers, half, tmp_path):
    saved(tmp_path / "m", half, family=family, height=32, width=48, enlargers=enlargers)
    lean, model = open_without_torch(tmp_path / "m"), betabloom.load(tmp_path / "m")
    assert lean.generate(1).shape == (1, 32, 48, 3)
    agree(model, lean)


@pytest.mark.parametrize("name", ["flowers64", "flowers128", "tiny"])
def test_the_networks_of_the_presets_are_known_without_torch(name, tmp_path):
    preset = Config.preset(name)
    m = preset.model
    same = {key: getattr(m, key) for key in ("family", "kernel")}
    widths = [max(width // 8, 2) for width in m.widths or FAMILIES[m.family].widths]
    saved(tmp_path / "m", height=32, width=64, widths=widths, **same)
    agree(betabloom.load(tmp_path / "m"), open_without_torch(tmp_path / "m"))
    with torch.device("meta"):
        vae = build_vae(preset.shape, m.latents, m.family, m.widths, m.kernel)
    known = expected_tensors(m.family, preset.shape, m.latents, m.widths, m.kernel, (), m.likelihood, m.prior, 1)
    assert known == {name: tuple(value.shape) for name, value in vae.state_dict().items()}


def expected_tensors(family, shape, latents, widths, kernel, enlargers, likelihood, prior, components):
    """Names and shapes of all tensors of a model, as they are known without torch."""
    network = make_network(family, shape, latents, widths, kernel, enlargers)
    scale = {"likelihood.log_scale": ()} if fast_numpy.LIKELIHOODS[likelihood].has_scale else {}
    of_prior = fast_numpy.PRIORS[prior].tensors(latents, components)
    return network.tensors({"mean": latents, "log_var": latents}) | scale | of_prior


@pytest.mark.parametrize(("likelihood", "prior"), [*((name, "standard") for name in LIKELIHOODS),
    *(("gaussian", prior) for prior in PRIORS if prior != "vamp")])  # fmt: skip
def test_every_likelihood_and_prior(likelihood, prior, tmp_path):
    saved(tmp_path / "m", likelihood=likelihood, prior=prior, channels=1, prior_components=4)
    agree(betabloom.load(tmp_path / "m"), open_without_torch(tmp_path / "m"), sampler="prior")


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior(posterior, tmp_path):
    saved(tmp_path / "m", posterior=posterior)
    agree(betabloom.load(tmp_path / "m"), open_without_torch(tmp_path / "m"))


def test_the_layers_are_those_of_the_networks():
    """Names, order, shapes and types of all tensors, for every family, prior and likelihood."""
    priors = fast_numpy.PRIORS
    for family, widths, prior, enlargers in itertools.product(FAMILIES, ((), (4,), (3, 5, 7)), priors, ((), (6, 4))):
        likelihood = list(LIKELIHOODS)[len(prior) % len(LIKELIHOODS)]
        shape = (3, 32, 16) if not enlargers else (3, 128, 64)
        with torch.device("meta"):
            vae = build_vae(shape, 7, family, widths, 0, likelihood, prior, prior_components=3, enlargers=enlargers)
        found = {name: tuple(value.shape) for name, value in vae.state_dict().items()}
        assert expected_tensors(family, shape, 7, widths, 0, enlargers, likelihood, prior, 3) == found


def test_nothing_in_the_numpy_tables_is_unknown_to_torch():
    assert fast_numpy.LIKELIHOODS.keys() == LIKELIHOODS.keys()
    assert fast_numpy.PRIORS.keys() == PRIORS.keys() - {"vamp"}


@pytest.mark.parametrize(
    ("family", "shape", "latents", "widths", "kernel", "enlargers"),
    [
        ("conv", (3, 30, 32), 4, (), 0, ()),
        ("conv", (2, 32, 32), 4, (), 0, ()),
        ("conv", (3, 32, 32), 0, (), 0, ()),
        ("conv", (3, 32, 32), 4, (4, 0), 0, ()),
        ("conv", (3, 32, 32), 4, (), 3, ()),
        ("residual", (3, 32, 32), 4, (), 33, ()),
        ("residual", (3, 0, 0), 4, (), 0, ()),
        ("residual", (3, 32, 32), 4, (), 0, (0,)),
        ("residual", (3, 33, 33), 4, (), 0, (8,)),
        ("residual", (3, 16, 16), 4, (), 0, (8,)),
        ("residual", (3, 16, 16), 4, (), 0, (8,) * 100),
    ],
)
def test_networks_that_are_impossible_are_refused(family, shape, latents, widths, kernel, enlargers):
    for make in (make_network, make_networks):
        with pytest.raises(UsageError):
            make(family, shape, latents, widths, kernel, enlargers)


def test_networks_that_are_unknown_are_left_to_torch():
    layers = make_network("seed", (3, 32, 32), 4).decoder_layers()
    assert not is_known(layers)
    assert is_known(make_network("conv", (3, 32, 32), 4).decoder_layers())


def test_a_model_that_is_unknown_here_is_left_to_torch(tmp_path):
    saved(tmp_path / "vamp", prior="vamp", prior_components=4)
    saved(tmp_path / "seed", family="seed", kernel=3)
    assert open_without_torch(tmp_path / "vamp") is open_without_torch(tmp_path / "seed") is None
    run(tmp_path, "generate", "vamp", "-n", "3")
    run(tmp_path, "generate", "seed", "-n", "3", "--seed", "1")


def run(folder, *words):
    """Run the command line in a process of its own; what it loaded."""
    program = "import sys\nfrom betabloom.cli.main import main\ntry: main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "scipy", "matplotlib", "yaml", "rich.progress"}
FOR_GENERATE = HEAVY | {"pydantic", "zipfile"}


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "grid.png"],
        ["-n", "3", "-o", "each"],
        ["--size", "80x60", "--sampler", "prior", "--named"],
        ["--numbers", "3,8-10"],
    ],
)
def test_a_plain_request_loads_nothing_heavy(words, tmp_path):
    assert not FOR_GENERATE & run(tmp_path, "generate", *words)
    assert not HEAVY & run(tmp_path, "info", "flowers64")


def test_a_wish_is_left_to_torch(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "m")
    assert "torch" in run(tmp_path, "generate", "m", "-n", "2", "--hue", "0.1")


def test_how_many_are_made_together_changes_no_picture(tmp_path):
    """Up to a grey level, as with torch: matrix products of other sizes may add in another order."""
    saved(tmp_path / "m")
    lean = open_without_torch(tmp_path / "m")
    many = lean.generate(40, seed=2).astype(int)
    assert np.array_equal(many, lean.generate(40, seed=2))
    assert np.array_equal(many[16:32], lean.generate(16, seed=2, start=16))  # in whole pieces: to the bit
    assert np.abs(many[5:8] - lean.generate(3, seed=2, start=5)).max() <= 1


def spoil_weights(folder, change):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(change(content))


def spoil_config(folder, change):
    facts = json.loads((folder / "config.json").read_text())
    change(facts)
    (folder / "config.json").write_text(json.dumps(facts))


SPOILED = [
    lambda folder: spoil_weights(folder, lambda content: content[:-1]),
    lambda folder: spoil_weights(folder, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    lambda folder: spoil_weights(folder, lambda content: b""),
    lambda folder: spoil_weights(folder, lambda content: b"\xff" * 100),
    lambda folder: (folder / "model.safetensors").unlink(),
    lambda folder: (folder / "sampler-parzen.safetensors").write_bytes(b"x" * 99),
    lambda folder: spoil_config(folder, lambda f: f["config"]["model"].update(latents=9)),
    lambda folder: spoil_config(folder, lambda f: f["config"]["model"].update(widths=[4096, 4096])),
    lambda folder: spoil_config(folder, lambda f: f.update(sampler="flow")),
    lambda folder: spoil_config(folder, lambda f: f["samplers"].update(parzen={"kernels": 7, "neighbours": 2})),
    lambda folder: spoil_config(folder, lambda f: f.pop("sha256")),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_what_load_refuses_is_refused_with_the_same_sentence(spoil, tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "m")
    assert open_without_torch(tmp_path / "m") is not None
    spoil(tmp_path / "m")
    sentences = []
    for read in (betabloom.load, open_without_torch):
        with pytest.raises(BetabloomError) as error:
            read(tmp_path / "m")
        sentences.append(str(error.value))
    assert sentences[0] == sentences[1]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, half, tmp_path):
    import hashlib

    from safetensors.torch import load_file, save_file

    saved(tmp_path / "m", half)
    weights = load_file(tmp_path / "m" / "model.safetensors")
    weights["encoder.mean.bias"][1] = value
    save_file(weights, tmp_path / "m" / "model.safetensors")
    digest = hashlib.sha256((tmp_path / "m" / "model.safetensors").read_bytes()).hexdigest()
    spoil_config(tmp_path / "m", lambda facts: facts["sha256"].update(model=digest))
    with pytest.raises(BetabloomError, match=r"'encoder\.mean\.bias'"):
        open_without_torch(tmp_path / "m")


def test_neighbours_that_are_not_there_are_refused(tmp_path):
    import hashlib

    from safetensors.torch import load_file, save_file

    file = tmp_path / "m" / "sampler-parzen.safetensors"
    for place in (-1, 10**6):
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        shutil.copytree(GOLDEN, tmp_path / "m")
        tensors = load_file(file)
        tensors["near"][0, 0] = place
        save_file(tensors, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        spoil_config(tmp_path / "m", lambda facts, digest=digest: facts["sha256"].update(parzen=digest))
        for read in (betabloom.load, open_without_torch):
            with pytest.raises(BetabloomError, match="neighbours that are not there"):
                read(tmp_path / "m")
