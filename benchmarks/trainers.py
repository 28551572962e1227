"""One training in a process of its own; `train_throughput.py` starts it and reads the line that it prints.

    python benchmarks/trainers.py SIDE PICTURES.npy EPOCHS HELD_OUT [RECIPE] [SETTING=VALUE …]

SIDE is ours, pythae, disent (these two in .venv-peers), pytorch-vae or seed. PICTURES.npy holds uint8 (N, H, W, 3), of
which HELD_OUT are for validation, where a side validates. Batches of 64, the seed's of 32.

What is counted is `time.process_time()`, user and system of all threads, from the first step to the last and what
belongs to them: of peers all that their own trainer does between its beginning and its end, of ours the whole loop of
`betabloom.fit` with its log, averaged weights, validations and checkpoints. Imports, reading the pictures and building
network and optimiser stand apart as "set-up", and what `fit` does after the last step, which peers leave to others
(fitting the samplers, writing the model, drawing from it), as "finish".
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

BATCH, LATENTS = 64, 64


def _tensor(pictures: np.ndarray) -> Tensor:
    """Pictures as peers take them: float (N, C, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float().div_(255)


def ours(pictures: np.ndarray, epochs: int, held_out: int, recipe: str, settings: dict[str, str]) -> dict[str, Any]:
    import betabloom
    from betabloom.training import loop

    if recipe in ("flowers64", "seed"):
        recipes: dict[str, Any] = {"split": "auto"}
    else:
        from peers import RECIPES

        recipes = dict(RECIPES[recipe])
    preset = "seed" if recipe == "seed" else "flowers64"
    parts = dict.fromkeys(("_loop", "_validate", "save", "_finish"), 0.0)
    calls = dict.fromkeys(parts, 0)

    def timed(name: str) -> None:
        work = getattr(loop, name)

        def wrapper(*given: Any) -> Any:
            begun = time.process_time()
            done = work(*given)
            parts[name] += time.process_time() - begun
            calls[name] += 1
            return done

        setattr(loop, name, wrapper)

    for name in parts:
        timed(name)
    with tempfile.TemporaryDirectory() as folder:
        source = betabloom.data.Arrays(pictures)
        whole = betabloom.data.Pipeline.named("square", pictures.shape[1:3])
        store = betabloom.data.prepare(source, whole, cache=Path(folder) / "cache", workers=1)
        share = held_out / len(pictures)
        learned = len(store.split("auto", share)[0])
        batch = 32 if recipe == "seed" else int(settings.get("batch", BATCH))
        steps = max(1, learned * epochs // batch)
        given = {"holdout": share, "validations": epochs, "batch": batch, **recipes, **settings, "steps": steps}
        model = betabloom.fit(store, preset, Path(folder) / "run", progress=lambda *_: None, **given)
    apart = parts["_loop"] + parts["_finish"]
    return {
        "pictures": steps * batch, "seconds": parts["_loop"],
        "validation": parts["_validate"], "validations": calls["_validate"],
        "checkpoints": parts["save"], "saves": calls["save"],
        "finish": parts["_finish"], "set-up": time.process_time() - apart,
        "precision": model.training["precision"], "optimiser": model.config.train.optimiser,
    }  # fmt: skip


def _counted(pictures: int, work: Any) -> dict[str, Any]:
    begun = time.process_time()
    work()
    return {"pictures": pictures, "seconds": time.process_time() - begun, "set-up": begun}


def pythae(pictures: np.ndarray, epochs: int, held_out: int) -> dict[str, Any]:
    """As in its README: a trainer with pictures to learn from and to evaluate on, which keeps the best model."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks.celeba import Decoder_Conv_AE_CELEBA, Encoder_Conv_VAE_CELEBA
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    config = VAEConfig(input_dim=(3, 64, 64), latent_dim=LATENTS)
    model = VAE(config, encoder=Encoder_Conv_VAE_CELEBA(config), decoder=Decoder_Conv_AE_CELEBA(config))
    x = _tensor(pictures)
    learned, others = (BaseDataset(part, torch.ones(len(part))) for part in (x[held_out:], x[:held_out]))
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            learning_rate=1e-3,
        )
        trainer = BaseTrainer(model, learned, others, settings)
        return _counted(epochs * len(learned), trainer.train)


def disent(pictures: np.ndarray, epochs: int, held_out: int) -> dict[str, Any]:
    """As in its README: Lightning's trainer without logger and checkpoints; no validation."""
    import lightning
    from disent.dataset import DisentDataset
    from disent.dataset.data import ArrayDataset
    from disent.frameworks.vae import BetaVae
    from disent.model import AutoEncoder
    from disent.model.ae import DecoderConv64, EncoderConv64
    from torch.utils.data import DataLoader

    shape = (3, 64, 64)
    network = AutoEncoder(
        EncoderConv64(x_shape=shape, z_size=LATENTS, z_multiplier=2), DecoderConv64(x_shape=shape, z_size=LATENTS)
    )
    clock: dict[str, float] = {}

    class Clock(lightning.Callback):
        def on_train_start(self, *_: Any) -> None:
            clock["begun"] = time.process_time()

        def on_train_end(self, *_: Any) -> None:
            clock["ended"] = time.process_time()

    module = BetaVae(model=network, cfg=BetaVae.cfg(optimizer="adam", optimizer_kwargs={"lr": 1e-3}))
    x = _tensor(pictures)[held_out:]
    loader = DataLoader(DisentDataset(ArrayDataset(x)), batch_size=BATCH, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[Clock()],
    )
    trainer.fit(module, loader)
    seconds = clock["ended"] - clock["begun"]
    return {"pictures": epochs * len(x), "seconds": seconds, "set-up": clock["begun"]}


def pytorch_vae(pictures: np.ndarray, epochs: int, held_out: int) -> dict[str, Any]:
    """Its network and loss; a plain loop in place of its Lightning module, so nothing but steps is counted."""
    import plain

    model, x = plain.PyTorchVAE(), 2 * _tensor(pictures)[held_out:] - 1
    return _counted(epochs * len(x), lambda: plain.fit(model, x, epochs, BATCH, 5e-3))


def seed(pictures: np.ndarray, epochs: int, held_out: int) -> dict[str, Any]:
    """Its network and loss in a plain loop. Its preparation is measured by `train_throughput.py`."""
    import plain

    model, x = plain.Seed(), _tensor(pictures)[held_out:]
    return _counted(epochs * len(x), lambda: plain.fit(model, x, epochs, 32, 3e-4))


def main() -> None:
    warnings.simplefilter("ignore")
    side, path, epochs, held_out, *rest = sys.argv[1:]
    pictures = np.load(path)
    if side == "ours":
        result = ours(pictures, int(epochs), int(held_out), rest[0], dict(pair.split("=", 1) for pair in rest[1:]))
    else:
        kind = {"pythae": pythae, "disent": disent, "pytorch-vae": pytorch_vae, "seed": seed}[side]
        result = kind(pictures, int(epochs), int(held_out))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
