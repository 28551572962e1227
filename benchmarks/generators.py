"""One side of a comparison of generators, in a process of its own; prints JSON as its last line.

    python benchmarks/generators.py save FOLDER            pythae: a VAE about as large as the bundled model
    python benchmarks/generators.py draw FOLDER OUT.png    pythae: load it, sample 64 pictures, write one sheet
    python benchmarks/generators.py speed SIDE NETWORK BATCHES

SIDE is `torch`, `bf16` (`Model.generate`, plainly and with that precision), `numpy` (`NumpyModel.generate`) or `pythae`
(`NormalSampler.sample`); NETWORK is
`burgess` (for pythae the same layers, as a decoder of one's own) or `celeba` (pythae's; ours as in `peers`). Counted is
`time.process_time()`, user and system of all threads, for BATCHES of 64 pictures from noise to what the call returns:
uint8 pictures of ours, floats of pythae. Weights are those of new networks.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH, LATENTS = 64, 64


def decoder_of(layers: Sequence[Any]) -> Any:
    """A decoder as pythae wants it: a `BaseDecoder` that returns a `ModelOutput`."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder
    from torch import nn

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            BaseDecoder.__init__(self)
            self.layers = nn.Sequential(*layers)

        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=self.layers(z))

    return Decoder()


def encoder_of(layers: Sequence[Any], features: int, latents: int) -> Any:
    """The same of an encoder."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseEncoder
    from torch import nn

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            BaseEncoder.__init__(self)
            self.layers = nn.Sequential(*layers)
            self.mean, self.log_var = nn.Linear(features, latents), nn.Linear(features, latents)

        def forward(self, x: Any) -> Any:
            h = self.layers(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    return Encoder()


def new_vae(latents: int, encoder: Any = None, decoder: Any = None) -> Any:
    from pythae.models import VAE, VAEConfig

    return VAE(VAEConfig(input_dim=(3, 64, 64), latent_dim=latents), encoder=encoder, decoder=decoder)


def save(folder: str) -> dict[str, Any]:
    """Strided convolutions down and transposed ones up, 32 to 256 channels, 256 latents."""
    from torch import nn

    widths, latents = (3, 32, 64, 128, 256), 256
    down: list[Any] = []
    up: list[Any] = []
    for before, after in itertools.pairwise(widths):
        down += [nn.Conv2d(before, after, 4, 2, 1), nn.SiLU()]
        up = [nn.SiLU(), nn.ConvTranspose2d(after, before, 4, 2, 1), *up]
    up = [nn.Linear(latents, 4096), nn.Unflatten(1, (256, 4, 4)), *up, nn.Sigmoid()]
    model = new_vae(latents, encoder_of([*down, nn.Flatten()], 4096, latents), decoder_of(up))
    model.save(str(Path(folder) / "pythae"))
    return {"parameters": sum(p.numel() for p in model.parameters()), "pythae": version_of("pythae")}


def draw(folder: str, out: str) -> dict[str, Any]:
    import numpy as np
    from PIL import Image
    from pythae.models import AutoModel
    from pythae.samplers import NormalSampler

    model = AutoModel.load_from_folder(str(Path(folder) / "pythae"))
    drawn = NormalSampler(model).sample(num_samples=64, batch_size=64)
    levels = (255 * drawn.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).numpy()
    sheet = levels.reshape(8, 8, 64, 64, 3).swapaxes(1, 2).reshape(512, 512, 3)
    Image.fromarray(np.ascontiguousarray(sheet)).save(out)
    return {"made": out}


def speed(side: str, network: str, batches: str) -> dict[str, Any]:
    count = BATCH * int(batches)
    generate = {"torch": ours, "bf16": ours_in_bf16, "numpy": ours_in_numpy, "pythae": pythae}[side](network)
    generate(2 * BATCH)
    start = time.process_time()
    generate(count)
    spent = time.process_time() - start
    return {"pictures": count, "seconds": spent, "per CPU-second": count / spent}


def ours_in_bf16(network: str) -> Callable[[int], object]:
    return ours(network, "bf16")


def ours(network: str, precision: str = "fp32") -> Callable[[int], object]:
    import torch

    from betabloom.vae import inference
    from betabloom.vae.build import build_vae, channels_last

    torch.set_num_threads(1)
    if network == "celeba":
        import peers  # noqa: F401  (adds pythae's network to ours)
    family = {"burgess": "burgess", "celeba": "pythae-celeba"}[network]
    likelihood = {"burgess": "bernoulli", "celeba": "gaussian"}[network]
    vae = channels_last(build_vae((3, 64, 64), LATENTS, family, likelihood=likelihood).requires_grad_(False).eval())
    return lambda n: inference.generate(vae, n, precision=precision)


def ours_in_numpy(network: str) -> Callable[[int], object]:
    from betabloom.config import Config
    from betabloom.data import Pipeline
    from betabloom.model.model import Model
    from betabloom.model.without_torch import open_without_torch
    from betabloom.vae.build import make_vae

    assert network == "burgess"
    config = Config.preset("flowers64", family="burgess", latents=LATENTS, likelihood="bernoulli")
    with tempfile.TemporaryDirectory() as place:
        pipeline = Pipeline.named("square", (64, 64))
        Model(make_vae(config).eval(), config, pipeline, {}).save(Path(place) / "model")
        lean = open_without_torch(Path(place) / "model")
    assert lean is not None
    return lambda n: lean.generate(n, sampler="prior")


def pythae(network: str) -> Callable[[int], object]:
    import torch
    from pythae.models import VAEConfig
    from pythae.models.nn.benchmarks.celeba import Decoder_Conv_AE_CELEBA, Encoder_Conv_VAE_CELEBA
    from pythae.samplers import NormalSampler
    from torch import nn

    torch.set_num_threads(1)
    if network == "celeba":
        config = VAEConfig(input_dim=(3, 64, 64), latent_dim=LATENTS)
        model = new_vae(LATENTS, Encoder_Conv_VAE_CELEBA(config), Decoder_Conv_AE_CELEBA(config))
    else:
        up: list[Any] = [nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 512)]
        up += [nn.ReLU(), nn.Unflatten(1, (32, 4, 4))]
        for after in (32, 32, 32, 3):
            up += [nn.ConvTranspose2d(32, after, 4, 2, 1), nn.Sigmoid() if after == 3 else nn.ReLU()]
        model = new_vae(LATENTS, decoder=decoder_of(up))
    sampler = NormalSampler(model.eval())
    return lambda n: sampler.sample(num_samples=n, batch_size=BATCH)


def version_of(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def main() -> None:
    task, *arguments = sys.argv[1:]
    print(json.dumps({"save": save, "draw": draw, "speed": speed}[task](*arguments)))


if __name__ == "__main__":
    main()
