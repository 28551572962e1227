"""Share a model as one HTML file: its decoder runs in the browser, offline, with nothing installed.

The file holds the decoder's weights in whole numbers of a few bits (one scale a row), codes that the model's sampler
drew, and directions to move them along. The number of bits is the smallest whose pictures differ from those of the
model by at most `LEVELS` grey levels, for every code that the file holds.
"""

from __future__ import annotations

import base64
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.arguments import path_of
from betabloom.errors import BetabloomError, UsageError
from betabloom.latent.stored_directions import stored_directions
from betabloom.model.model import check_model
from betabloom.networks.fast_numpy import decoder, is_known
from betabloom.networks.spec import make_network
from betabloom.system.atomic import write_text
from betabloom.system.cores import cores
from betabloom.vae import inference
from betabloom.vae.fast_numpy import LIKELIHOODS, pictures_of
from betabloom.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from betabloom.config import ModelConfig
    from betabloom.model.model import Model
    from betabloom.networks.spec import Layer
    from betabloom.system.console import Progress

__all__ = ["LEVELS", "Packed", "packed", "share"]

LEVELS = 2  # grey levels by which a picture in the browser may differ from the model's
BITS = range(10, 16)  # that are tried: with fewer, some pictures are always too far off
TRIED = 48  # codes that a number of bits is tried on, before it is on all
PAGE = Path(__file__).parent / "share_page"


@dataclass
class Packed:
    """Weights as whole numbers, one after another, and what says where each layer's are.

    Attributes:
        bits: Of each number, sign included.
        numbers: All rows of all layers, int16.
        layers: For the page: see `makeDecoder` in share_page/decoder.js.
        weights: What the numbers stand for, by the names of the model file.
    """

    bits: int
    numbers: list[np.ndarray] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    count: int = 0

    def add(self, name: str, rows: np.ndarray, restored: tuple[int, ...], axes: tuple[int, ...]) -> dict[str, Any]:
        """Keep a matrix (rows, run), and the weight that it was made of by `restored` and `axes`."""
        whole = 2 ** (self.bits - 1) - 1
        scales = _rounded(np.abs(rows).max(1) / whole)
        scales[scales == 0] = 1
        numbers = np.rint(rows / scales[:, None]).astype(np.int16)
        self.weights[name] = (numbers * scales[:, None]).reshape(restored).transpose(axes)
        place = {"from": self.count, "rows": len(rows), "run": rows.shape[1], "scales": _texts(scales)}
        self.numbers.append(numbers.ravel())
        self.count += numbers.size
        return place


def packed(layers: Sequence[tuple[str, Layer]], weights: Mapping[str, np.ndarray], bits: int) -> Packed:
    """Weights of a decoder in whole numbers of so many bits, with one scale for what leads to one output.

    Arguments:
        layers: From `betabloom.networks.spec.Network.decoder_layers`.
        weights: By the names of the model file.
        bits: 2 to 16.
    """
    result = Packed(bits)
    result.layers = [_layer(result, name, layer, weights) for name, layer in layers]
    return result


def _layer(result: Packed, name: str, layer: Layer, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the page is told of a layer; its weights are added to `result`."""
    facts = {"kind": layer.kind, "before": layer.inputs, "after": layer.outputs, "kernel": layer.kernel}
    if layer.kind == "view":
        return {**facts, "shape": list(layer.shape)}
    if layer.kind in ("residual", "enlarger"):
        facts["parts"] = [_layer(result, part, each, weights) for part, each in layer.parts(name)]
        return facts
    return _weighted(result, name, facts, weights) if f"{name}.weight" in weights else facts


def _weighted(result: Packed, name: str, facts: dict[str, Any], weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same with weight and bias: rows are outputs, as the page's kernels read them."""
    weight, bias = np.asarray(weights[f"{name}.weight"], np.float32), _rounded(weights[f"{name}.bias"])
    order = {"linear": (0, 1), "conv": (0, 2, 3, 1), "transposed": (2, 3, 1, 0)}[facts["kind"]]
    turned = weight.transpose(order)
    rows = turned.reshape(-1, turned.shape[-1]) if facts["kind"] == "transposed" else turned.reshape(len(turned), -1)
    back = tuple(int(axis) for axis in np.argsort(order))
    result.weights[f"{name}.bias"] = bias
    place = result.add(f"{name}.weight", rows, turned.shape, back)
    return {**facts, "weight": place, "bias": _texts(bias)}


def _rounded(values: np.ndarray) -> np.ndarray:
    """Numbers of six digits, which take half the room as text."""
    return np.array([float(f"{x:.6g}") for x in values], np.float32)


def _texts(values: np.ndarray) -> list[float]:
    return [float(f"{x:.6g}") for x in values]


def share(
    model: Model,
    path: str | os.PathLike[str],
    codes: int = 400,
    seed: int = 0,
    title: str = "",
    progress: Progress | None = None,
    kept: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write one HTML file that draws, varies, steers and morphs pictures of a model, in a browser, without a network.

    Arguments:
        model: A trained model.
        path: The file; one that exists is replaced.
        codes: How many codes of the model's sampler the file holds, at least 16; its pictures are made from these.
        seed: Of those codes.
        title: What the page says above its pictures; the model's source if empty.
        progress: Called as progress(done, total, text) while the weights are packed.
        kept: Codes (n, l) of pictures that are kept in the page from the beginning.

    Returns:
        Facts: `bits` of a weight, `levels` (the largest difference from the model's pictures in grey levels), `bytes`.

    Raises:
        UsageError: Too few codes, or a network that cannot be written as layers.
        BetabloomError: Not even 15 bits draw pictures within `LEVELS` grey levels.
    """
    if codes < 16:
        raise UsageError(f"'codes' must be at least 16, not {codes}.")
    check_model(model)
    place = path_of(path, "'path'")
    m = model.config.model
    network = make_network(m.family, model.config.shape, m.latents, m.widths, m.kernel, m.enlargers, m.head)
    layers = network.decoder_layers()
    if not is_known(layers) or m.likelihood not in LIKELIHOODS:
        raise UsageError(f"The decoder of the family {m.family!r} cannot be shared as a page.")
    weights = {name: value.float().cpu().numpy() for name, value in model.vae.state_dict().items()}
    drawn = np.asarray(inference.draw(model.vae, codes, seed, density=model.density()))
    numbers, scale = _whole(drawn, 16)
    drawn = numbers * scale  # as the page unpacks them
    finish = pictures_of(LIKELIHOODS[m.likelihood], float(weights.get("likelihood.log_scale", 0)))
    exact = _pictures(decoder(layers, weights, finish), drawn, progress, "whole weights")

    def drawn_with(found: Mapping[str, np.ndarray], count: int, text: str) -> np.ndarray:
        return _pictures(decoder(layers, found, finish), drawn[:count], progress, text)

    result, levels = _chosen(layers, weights, drawn_with, exact)
    facts = {
        "title": title or str(model.training.get("source", "")),
        "fingerprint": model.fingerprint,
        "betabloom": __version__,
        "network": _network(result, m, model.config.shape, weights),
        "codes": {"count": codes, "scale": [float(s) for s in scale]},
        "directions": _directions(model),
        "kept": [] if kept is None else [_texts(code) for code in kept],
    }
    page = _page(facts, np.concatenate(result.numbers), numbers)
    write_text(place, page)
    return {"bits": result.bits, "levels": levels, "bytes": len(page.encode()), "codes": codes, "seed": seed}


def _network(
    result: Packed, m: ModelConfig, shape: tuple[int, int, int], weights: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What the page is told of the decoder."""
    scale = float(np.exp(weights.get("likelihood.log_scale", 0.0)))
    about = {"layers": result.layers, "latents": m.latents, "shape": list(shape)}
    return {**about, "likelihood": m.likelihood, "scale": scale}


def _chosen(
    layers: Sequence[tuple[str, Layer]],
    weights: Mapping[str, np.ndarray],
    drawn_with: Callable[[Mapping[str, np.ndarray], int, str], np.ndarray],
    exact: np.ndarray,
) -> tuple[Packed, int]:
    """The weights in as few bits as draw the same within `LEVELS`, less one for the order in which a browser adds."""
    for bits in BITS:
        result = packed(layers, weights, bits)
        for count in (TRIED, len(exact)):
            levels = int(np.abs(drawn_with(result.weights, count, f"{bits} bits").astype(int) - exact[:count]).max())
            if levels >= LEVELS:
                break
        else:
            return result, levels
    raise BetabloomError(f"Weights of {bits} bits draw pictures that are {levels} grey levels off: more than {LEVELS}.")


def _pictures(
    decode: Callable[[np.ndarray], np.ndarray], codes: np.ndarray, progress: Progress | None, text: str
) -> np.ndarray:
    """Decode a few at a time, on every core: NumPy lets go of the interpreter while it computes."""
    made = []
    with ThreadPoolExecutor(cores()) as pool:
        for few in pool.map(decode, [codes[i : i + 8] for i in range(0, len(codes), 8)]):
            made.append(few)
            if progress:
                progress(min(8 * len(made), len(codes)), len(codes), text)
    return np.concatenate(made)


def _whole(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns as whole numbers of so many bits, and the scale of each."""
    scale = (np.abs(values).max(0) / (2 ** (bits - 1) - 1)).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int16), scale


def _directions(model: Model) -> list[dict[str, Any]]:
    """What the sliders move, named by what it changes."""
    found = stored_directions(model)
    return [{"name": each.name, "step": [round(float(x), 5) for x in each.vector]} for each in found]


def _planes(numbers: np.ndarray) -> str:
    """Whole numbers of 16 bits as text: all low bytes, then all high ones, packed."""
    pairs = np.ascontiguousarray(numbers.ravel(), "<i2").view(np.uint8)
    return base64.b64encode(zlib.compress(np.concatenate([pairs[::2], pairs[1::2]]).tobytes(), 9)).decode()


def _page(facts: Mapping[str, Any], weights: np.ndarray, codes: np.ndarray) -> str:
    """The page with all that it needs inside."""
    wasm = base64.b64encode((PAGE / "decoder.wasm").read_bytes()).decode()
    text = json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c")
    inside = {
        "STYLE": (PAGE / "style.css").read_text(encoding="utf-8"),
        "FACTS": text,
        "WASM": wasm,
        "WEIGHTS": _planes(weights),
        "CODES": _planes(codes),
        "DECODER": (PAGE / "decoder.js").read_text(encoding="utf-8"),
        "SLIDER": (PAGE / "slider.js").read_text(encoding="utf-8"),
        "APP": (PAGE / "app.js").read_text(encoding="utf-8"),
    }
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    for name, content in inside.items():
        page = page.replace(f"@@{name}@@", content, 1)
    return page
