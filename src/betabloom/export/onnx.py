"""A model as ONNX files: encoder, decoder, and a generator with the sampler in its graph.

They are written from the description of the network (`betabloom.networks.spec`), node by node. Each is run with ONNX
Runtime before it is kept, with one picture and with several, and compared with the model.

| file | goes in | comes out |
|---|---|---|
| `generator.onnx` | `noise` float32 (n, l), `choice` float64 (n,) | `pictures`, `codes` |
| `decoder.onnx` | `codes` float32 (n, l) | `pictures` uint8 (n, H, W, C) |
| `encoder.onnx` | `pictures` uint8 (n, H, W, C) | `mean`, `log_var` float32 (n, l) |
| `decoder-int8.onnx` | `codes` float32 (n, l) | `pictures` uint8 (n, H, W, C) |
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import BetabloomError
from betabloom.export.extras import needed
from betabloom.export.networks import network_of
from betabloom.export.parity import CHECKED, levels, measured
from betabloom.model.directory import sampler_name
from betabloom.vae.posterior import POSTERIORS as HEADS
from betabloom.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.export.graph import Graph, Port
    from betabloom.model.model import Model
    from betabloom.networks.spec import Network
    from betabloom.vae.prior import Prior

__all__ = ["INT8_LEVELS", "run", "write_onnx"]

INT8_LEVELS = 2.0  # by which those of a decoder in 8 bits may differ in the mean
NOISE = (
    "Picture i of seed s: rng = numpy.random.default_rng([s, i]); choice = rng.random(); "
    "noise = rng.standard_normal(latents). Multiply noise by a temperature if you like."
)


def write_onnx(model: Model, folder: Path, sampler: str = "auto", int8: bool = False) -> dict[str, Any]:
    """Write the files into a folder, and return facts about them, `parity` among them.

    Arguments:
        model: A trained model.
        folder: An existing folder.
        sampler: What `generator.onnx` draws from: see `Model.generate`.
        int8: Whether to write `decoder-int8.onnx` too, a quarter as large.

    Raises:
        UsageError: The network has layers that are not known here, or ONNX is not installed.
        BetabloomError: What a file computes is too far from what the model computes.
    """
    needed("onnx", "onnxruntime", extra="onnx")
    from betabloom.export.graph import OPSET
    from betabloom.export.layers import LAYERS

    network = network_of(model.config, LAYERS)
    weights = {name: value.float().cpu().numpy() for name, value in model.vae.state_dict().items()}
    name = sampler_name(sampler, model.sampler, model.samplers)
    facts = _metadata(model) | {"sampler": name}
    made = {
        "generator": _generator(model, network, weights, name, facts),
        "decoder": _decoder(model.config, network, weights, facts),
        "encoder": _encoder(model.config, network, weights, facts),
    }
    if int8:
        made["decoder-int8"] = _decoder(model.config, network, weights, facts, int8=True)
    for stem, written in made.items():
        (folder / f"{stem}.onnx").write_bytes(written.SerializeToString())
    parity = measured(model, name, lambda stem, feeds: run(folder / f"{stem}.onnx", feeds))
    if int8:
        parity |= _int8_parity(model, folder)
    return {"sampler": name, "opset": OPSET, "parity": parity}


def _metadata(model: Model) -> dict[str, str]:
    """What a file says of itself; all values are text."""
    data, m = model.config.data, model.config.model
    return {
        "betabloom": __version__,
        "fingerprint": model.fingerprint,
        "source": str(model.training.get("source", "")),
        "source_note": data.source_note,
        "licence": data.licence,
        "width": str(data.width),
        "height": str(data.height),
        "channels": {1: "L", 3: "RGB", 4: "RGBA"}[data.channels],
        "pictures": "uint8, 0 is black and 255 white, (n, height, width, channels); of RGBA colours are premultiplied",
        "latents": str(m.latents),
        "family": m.family,
        "likelihood": m.likelihood,
        "posterior": m.posterior,
        "pipeline": json.dumps(model.pipeline.to_dict()),
        "noise": NOISE,
    }


def _picture_port(config: Config) -> Port:
    return ("pictures", "uint8", ("n", config.data.height, config.data.width, config.data.channels))


def _code_port(name: str, config: Config) -> Port:
    return (name, "float32", ("n", config.model.latents))


def _drawn(graph: Graph, config: Config, network: Network, weights: Mapping[str, np.ndarray], codes: str) -> str:
    """Pictures that codes stand for."""
    from betabloom.export.layers import LIKELIHOODS, apply, to_pictures

    eta = apply(graph, network.decoder_layers(), weights, codes)
    scale = float(np.exp(weights.get("likelihood.log_scale", np.float32(0))))
    return to_pictures(graph, LIKELIHOODS[config.model.likelihood](graph, eta, scale))


def _decoder(
    config: Config, network: Network, weights: Mapping[str, np.ndarray], facts: Mapping[str, str], int8: bool = False
) -> Any:
    from betabloom.export.graph import Graph

    graph = Graph(int8)
    pictures = _drawn(graph, config, network, weights, "codes")
    return graph.model("decoder", [_code_port("codes", config)], {pictures: _picture_port(config)}, facts)


def _generator(
    model: Model, network: Network, weights: Mapping[str, np.ndarray], sampler: str, facts: Mapping[str, str]
) -> Any:
    from betabloom.export.codes import PRIORS, SAMPLERS
    from betabloom.export.graph import Graph

    config, graph = model.config, Graph()
    write = PRIORS[config.model.prior] if sampler == "prior" else SAMPLERS[sampler]
    codes = write(graph, _tensors(model.density(sampler)), "noise", "choice")
    pictures = _drawn(graph, config, network, weights, codes)
    inputs = [_code_port("noise", config), ("choice", "float64", ("n",))]
    outputs = {pictures: _picture_port(config), codes: _code_port("codes", config)}
    return graph.model("generator", inputs, outputs, facts)


def _tensors(density: Prior) -> dict[str, np.ndarray]:
    """What a density consists of; of a prior with components these, wherever they come from."""
    import torch

    components = getattr(density, "components", None)
    if callable(components):
        with torch.inference_mode():
            found = dict(zip(("log_weight", "mean", "log_var"), components(), strict=True))
    else:
        found = density.state_dict()
    return {name: value.cpu().numpy() for name, value in found.items()}


def _encoder(config: Config, network: Network, weights: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> Any:
    from betabloom.export.graph import Graph
    from betabloom.export.layers import POSTERIORS, apply, from_pictures

    graph, m = Graph(), config.model
    outputs = HEADS[m.posterior].heads(m.latents)
    every = network.encoder_layers(outputs)
    body, last = every[: -len(outputs)], every[-len(outputs) :]
    x = apply(graph, body, weights, from_pictures(graph, "pictures", len(network.enlargers)))
    features = graph.add("Flatten", x)
    heads = [apply(graph, [head], weights, features) for head in last]
    log_var = POSTERIORS[m.posterior](graph, heads, m.latents)
    ports = {heads[0]: _code_port("mean", config), log_var: _code_port("log_var", config)}
    return graph.model("encoder", [_picture_port(config)], ports, facts)


def run(file: Path, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What a file makes of arrays with ONNX Runtime, first of one of each, then of the rest together."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {k: v[rows] for k, v in feeds.items()}) for rows in (slice(1), slice(1, None))]
    return [np.concatenate(pair) for pair in zip(*parts, strict=True)]


def _int8_parity(model: Model, folder: Path) -> dict[str, float]:
    """How far pictures of the decoder in 8 bits are from the model's, in grey levels."""
    codes = model.draw(CHECKED, 0)
    (drawn,) = run(folder / "decoder-int8.onnx", {"codes": codes})
    expected = model.decode(codes)
    off = np.abs(drawn.astype(int) - expected)
    if not off.mean() <= INT8_LEVELS:
        raise BetabloomError(
            f"With weights of 8 bits pictures are {off.mean():.1f} grey levels off in the mean, more than "
            f"{INT8_LEVELS:g}: nothing was written. Export without --int8."
        )
    return {"int8_mean_levels": round(float(off.mean()), 3), "int8_levels": levels(drawn, expected)}
