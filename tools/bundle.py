"""Make the bundled model from a model of the Oxford flowers.

    python tools/bundle.py RUN DATA [--measures quality.json]

Fits and chooses the samplers anew on the pictures of DATA (the official layout of Oxford 102 Flowers), with the feature
network of the extra `metrics`, stores the weights in 16 bits in src/betabloom/bundled/flowers64, and writes its card.
With the JSON of `benchmarks/quality.py table --model src/betabloom/bundled/flowers64`, which measures what this made,
the card has the measures too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import betabloom
from betabloom import metrics
from betabloom.imaging import png, sheets
from betabloom.model.directory import BUNDLED, MODELS
from betabloom.samplers.choose import samplers_of

CARD = """
## Where it comes from

Trained by betabloom from scratch on the {images:,} pictures of the official training and test splits of the
Oxford 102 flowers at 64×64 (Maria-Elena Nilsback and Andrew Zisserman, *Automated flower classification over a
large number of classes*, ICVGIP 2008), mirrored at random, for {seconds:,.0f} s on {threads} thread(s) of a CPU,
computing in {precision}.{sharpened}
The {held_out:,} pictures of the official validation split were not learned from. No picture of the data set is part of
this model; the photographs belong to their authors.

## How codes are drawn

By default: `{sampler}`. What was measured of each sampler, on held-out pictures:

| sampler | near copies | kernel distance × 1000 ({features}, {pictures} pictures) |
|---|---|---|
{samplers}

Parzen windows keep the codes of the training pictures: anyone who has this model can decode them into what the
model remembers of those pictures. New pictures are moved away from them until hardly any is a near copy; `generate
--novel` leaves out the rest.
{measures}
## Its limits

Pictures are 64×64. A code of this size leaves out fine texture, and sharpening put some in place of it: veins and
hairs are made up. It knows garden flowers in front of blurred greenery, and nothing else. What it draws can
resemble what it learned from. It is made for pictures, lessons and experiments, not for decisions about anything.
"""

SHARPENED = (
    " Then its decoder was sharpened for {seconds:,.0f} s\n"
    "({steps:,} steps, `betabloom sharpen`): edges and texture are what pictures usually have, not what a code says."
)
WITH_EYE = (
    "\nFor {steps_with_eye:,} of the steps a critic looked through EfficientNet-Lite0, trained on ImageNet\n"
    "(`--teacher eye --wider 2`; in trials, whose settings are in docs/log.md)."
)
WITH_MOMENTS = (
    "\nThe last {steps_with_moments:,} steps led the features of new pictures to the mean and covariance of those of\n"
    "the training pictures, by the same network (`--teacher moments`)."
)


def main() -> None:
    options = argparse.ArgumentParser(description="Make the bundled model.")
    options.add_argument("run")
    options.add_argument("data")
    options.add_argument("--measures", type=Path)
    given = options.parse_args()
    model = betabloom.load(given.run)
    store = betabloom.prepare(given.data)
    rows, others = store.split(model.config.data.split, model.config.data.holdout)
    known, held_out = np.asarray(store.pictures[rows]), np.asarray(store.pictures[others])
    noise = torch.randn((len(held_out), model.vae.latents), generator=torch.Generator().manual_seed(0)).numpy()
    fitted, best, measured = samplers_of(model.vae, known, held_out, noise, metrics.open_extractor("lite0"))
    config = model.config.replace({"source": "flowers102"})
    training = {**model.training, "source": "Oxford 102 flowers", "samplers": measured}
    bundled = dataclasses.replace(model, config=config, training=training, samplers=fitted, sampler=best)
    folder = MODELS / BUNDLED
    folder.parent.mkdir(exist_ok=True)
    saved = bundled.save(folder, half=True)
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + text(saved, len(held_out), given), encoding="utf-8")
    drawn = betabloom.load().generate(64)
    record = {"verb": "generate", "model": saved.fingerprint, "model_path": BUNDLED, "n": 64, "seed": 0}
    png.save_png(sheets.grid(drawn, columns=8), folder / "samples.png", record)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(json.dumps(measured, indent=1), f"\n{folder}: {size:,} bytes, {best}")


def text(model: betabloom.Model, held_out: int, given: argparse.Namespace) -> str:
    """What the card says beside the usual."""
    t = model.training
    judged = [found for found in t["samplers"].values() if "kernel_distance" in found]
    rows = [
        f"| {name} | {100 * found['near_copies']:.1f} % | {_distance(found)} |" for name, found in t["samplers"].items()
    ]
    return CARD.format(
        images=t["images"], seconds=t["seconds"], threads=t["threads"], precision=t["precision"],
        sharpened=_sharpened(t), held_out=held_out,
        sampler=model.sampler,
        features=judged[0]["features"], pictures=judged[0]["pictures"], samplers="\n".join(rows),
        measures=_measures(given) if given.measures else "",
    )  # fmt: skip


def _sharpened(training: dict[str, Any]) -> str:
    if "sharpened" not in training:
        return ""
    facts = training["sharpened"]
    more = {"steps_with_eye": WITH_EYE, "steps_with_moments": WITH_MOMENTS}
    return SHARPENED.format(**facts) + "".join(words.format(**facts) for name, words in more.items() if facts.get(name))


def _distance(found: dict[str, Any]) -> str:
    if "kernel_distance" not in found:
        return "left out: near copies"
    low, high = found["interval"]
    return f"{1000 * found['kernel_distance']:.3g} [{1000 * low:.3g}, {1000 * high:.3g}]"


def _measures(given: argparse.Namespace) -> str:
    """Measures of `benchmarks/quality.py`, as a table."""
    kept = json.loads(given.measures.read_text(encoding="utf-8"))
    values = kept["models"][BUNDLED]
    rows = [
        f"| {name} | {value[0]:.4g} [{value[1]:.4g}, {value[2]:.4g}] |"
        for name, value in values.items()
        if isinstance(value, list)
    ]
    what = (
        f"Of {values['n']:,} pictures against the training pictures (`benchmarks/quality.py`), 95 % intervals.\n"
        "Lite0 is what its teachers saw with, so its numbers flatter; Lite1 was looked at between trainings; Lite2\n"
        "took part in nothing:"
    )
    head = f"\n## Measures\n\n{what}\n"
    return "\n".join([head, "| measure | value |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    main()
