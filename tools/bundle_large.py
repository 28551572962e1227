"""Make a bundled model for larger pictures from one that `betabloom enlarge` made.

    betabloom enlarge flowers64 PHOTOS -o large --budget 30m
    python tools/bundle_large.py large oxford128

    betabloom train ALL --from flowers64 --set keep_decoder=true --set batch=256 --steps 3000 -o all
    betabloom refit all/model PHOTOS -o photos
    betabloom sharpen photos PHOTOS --teacher eye --budget 6m -o sharp  # these two on a GPU: docs/log.md
    betabloom enlarge sharp PHOTOS -o large --budget 14m
    betabloom sharpen large PHOTOS --teacher moments --budget 30m -o sharper
    betabloom sharpen sharper PHOTOS --teacher grids -o even
    python tools/bundle_large.py even flowers128

The enlarger of the `flowers128` that is there was not taught for it: it is that of `oxford128`, which has learned the
same photos, and only the last two `sharpen` changed it. With the critic, its decoder learned from all photos, where
`sharpen` holds out a tenth, and its samplers were fitted once more to the photos at 128×128; then
`benchmarks/quality.py table` measured it. To make `flowers64` again, save a whole copy of `oxford128` first; then
MODEL is `flowers64`, and `--enlarger COPY` gives it the enlarger that was there. ALL is a folder with the
training pictures of Oxford 102 flowers and the PHOTOS. Weights are stored in 16 bits; of a model that is `flowers64`
but for its enlarger, only the enlarger's. `tools/directions.py` then finds the directions of the new model.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import betabloom
from betabloom.imaging import png, sheets
from betabloom.model.directory import BUNDLED, MODELS, read_description
from betabloom.refine.enlarge import enlarged

PHOTOS = "flower-photos (daisies, dandelions, roses, sunflowers, tulips)"
CREDIT = """The photos are TensorFlow's `flower_photos` (http://download.tensorflow.org/example_images/flower_photos.tgz):
photographs from Flickr under CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/), whose authors are named in
LICENSE.txt of that archive."""
MEASURES = Path(__file__).parents[1] / "benchmarks" / "results" / "quality-flower-photos.json"
# What the settings of each say of the pictures it learned from.
DATA = {
    "oxford128": {"source": "flowers102", "split": "auto"},
    "flowers128": {"source": "flower-photos", "split": "auto"},
}
CARDS = {
    "oxford128": """
## Where it comes from

It draws what `{base}` draws, at twice the size, with the same codes: see the card there. Its enlarger was taught by
the lesson of `betabloom enlarge` for {seconds:,.0f} s ({steps:,} steps) on {photos:,} photos of at least 128×128:
{pictures}.
{credit}
No photo is part of this model; the photographs belong to their authors.

## Its limits

Those of `{base}`. What is finer than its 64×64 pixels is made up: it looks like the detail of photos, and is none.
""",
    "flowers128": """
## Where it comes from

It draws like the {photos:,} photos of {pictures}.
It was made from `{base}`. First its encoder alone learned {images:,} of these photos and of the training pictures of
Oxford 102 flowers, a tenth being held out ({learned:,} steps of 256, `keep_decoder`). Then its decoder learned all the
photos against a critic that sees with EfficientNet-Lite0 ({critic:,} steps of 80, `betabloom sharpen --teacher eye`).
Both took place at 64×64, in seven minutes of one NVIDIA H100, not counting discarded trials. Its enlarger is that of
`oxford128`, taught on these photos ({steps:,} steps). On one core of a CPU, 1,640 steps at 64×64 before that enlarger,
and {moments:,} at 128×128, then led the features of new pictures to the mean and covariance of those of nine tenths of
the photos (`--teacher moments`), and {grids} steps of the last layers took a grid out (`--teacher grids`).
Codes are drawn as those of {fitted:,} of the photos lie. Some part of it has learned from every photo. No photo is part
of this model; the photographs belong to their authors.
{credit}

## How good it is

Fréchet distances of 2,000 pictures and 3,629 of the photos at 128×128 (`benchmarks/quality.py`), 95 % intervals:
{distances}, with EfficientNet-Lite0, Lite1 and Lite2.
Its teachers saw with Lite0; Lite1 was looked at when it was chosen; Lite2 had no part in it.
Of a hundred (seed 1) about eighty are flowers or meadows with flowers.

## Its limits

Petals are crisp, grass and foliage are as if painted with a brush: a code of 256 numbers does not say where each blade
is. What is finer than 64×64 pixels is made up. What it draws can resemble what it learned from. It is made for
pictures, lessons and experiments, not for decisions about anything.
""",
}


def distances() -> str:
    """Fréchet distances with their 95 % intervals, as `benchmarks/quality.py` measured them."""
    measured = json.loads(MEASURES.read_text(encoding="utf-8"))["models"].get("flowers128")
    if measured is None:
        return "not measured yet"
    found = [value for name, value in sorted(measured.items()) if name.endswith("generated, frechet_distance")]
    return ", ".join(f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in found)


def with_enlarger(model: betabloom.Model, other: betabloom.Model) -> betabloom.Model:
    """A model that draws through the enlarger of another one."""
    larger = enlarged(model)
    weights = {name: value for name, value in other.vae.state_dict().items() if ".enlargers." in name}
    larger.vae.load_state_dict(larger.vae.state_dict() | weights)
    training = {**model.training, "enlarged": other.training["enlarged"]}
    return dataclasses.replace(larger, training=training, fingerprint="")


def main() -> None:
    options = argparse.ArgumentParser(description="Make a bundled model for larger pictures.")
    options.add_argument("model")
    options.add_argument("name", choices=CARDS)
    options.add_argument("--enlarger", help="a model whose enlarger MODEL gets")
    given = options.parse_args()
    model, base = betabloom.load(given.model), read_description(BUNDLED)
    if given.enlarger:
        model = with_enlarger(model, betabloom.load(given.enlarger))
    model = dataclasses.replace(model, config=model.config.replace(DATA[given.name]))
    folder = MODELS / given.name
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "m"
        saved = model.save(made, half=True)
        facts = json.loads((made / "config.json").read_text(encoding="utf-8"))
        if {**facts["sha256"], **base.digests} == facts["sha256"]:
            for file in made.glob("*.safetensors"):
                if file.stem != "enlargers":
                    file.unlink()
            facts["base"] = BUNDLED
            (made / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        t = model.training
        card = CARDS[given.name].format(
            base=BUNDLED,
            pictures=PHOTOS,
            credit=CREDIT,
            distances=distances(),
            images=t["images"],
            learned=t["steps"],
            critic=t["sharpened"]["steps_with_eye"],
            moments=t["sharpened"]["steps_with_moments"] if given.name == "flowers128" else 0,
            grids=t.get("without_grids", {}).get("steps", 0),
            fitted=t.get("refitted", {}).get("pictures", 0),
            **t["enlarged"][-1],
        )
        with (made / "README.md").open("a", encoding="utf-8") as file:
            file.write(card)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
    record = {"verb": "generate", "model": saved.fingerprint, "model_path": given.name, "n": 36, "seed": 0}
    png.save_png(sheets.grid(betabloom.load(given.name).generate(36), columns=6), folder / "samples.png", record)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size:,} bytes, fingerprint {saved.fingerprint}")


if __name__ == "__main__":
    main()
