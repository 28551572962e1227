"""Make `flowers128`, the model that comes along for larger pictures, from `flowers64` after `betabloom enlarge`.

    betabloom enlarge flowers64 PHOTOS -o large --budget 30m
    python tools/bundle_large.py large "Name of the photos, and where they are from"

Only the enlarger's weights are stored, in 16 bits: the rest is that of `flowers64`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import betabloom
from betabloom import plot
from betabloom.modeldir import BUNDLED, MODELS, read_description

NAME = "flowers128"
CARD = """
## Where it comes from

It draws what `{base}` draws, at twice the size, with the same codes: see the card there. Its enlarger was taught by
the lesson of `betabloom enlarge` for {seconds:,.0f} s ({steps:,} steps) on {photos:,} photos of at least 128×128:
{source}.
No photo is part of this model; the photographs belong to their authors.

## Its limits

Those of `{base}`. What is finer than its 64×64 pixels is made up: it looks like the detail of photos, and is none.
"""


def main() -> None:
    options = argparse.ArgumentParser(description="Make the model that comes along for larger pictures.")
    options.add_argument("model")
    options.add_argument("photos", help="what the photos were")
    given = options.parse_args()
    model, base = betabloom.load(given.model), read_description(BUNDLED)
    config = model.config.replace({"source": base.config.data.source})
    folder = MODELS / NAME
    with tempfile.TemporaryDirectory() as place:
        saved = dataclasses.replace(model, config=config).save(Path(place) / "m", half=True)
        facts = json.loads((Path(place) / "m" / "config.json").read_text(encoding="utf-8"))
        if {**facts["sha256"], **base.digests} != facts["sha256"]:
            raise SystemExit(f"{given.model} was not made from {BUNDLED}.")
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**facts, "base": BUNDLED}, indent=2) + "\n", encoding="utf-8")
        shutil.copy(Path(place) / "m" / "enlargers.safetensors", folder)
        card = (Path(place) / "m" / "README.md").read_text(encoding="utf-8")
    learned = model.training["enlarged"][-1]
    (folder / "README.md").write_text(
        card + CARD.format(base=BUNDLED, source=given.photos, **learned), encoding="utf-8"
    )
    record = {"verb": "generate", "model": saved.fingerprint, "model_path": NAME, "n": 36, "seed": 0}
    plot.save_png(plot.grid(betabloom.load(NAME).generate(36), columns=6), folder / "samples.png", record)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size:,} bytes, fingerprint {saved.fingerprint}")


if __name__ == "__main__":
    main()
