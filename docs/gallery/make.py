"""Make the gallery: named pictures, and a README that says how each is made again.

    python docs/gallery/make.py MODEL [--out docs/gallery]

MODEL is written into the commands as it is typed here. What is there already is replaced.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ONE = "-n 1 --size 384x384"
# Name of the picture → options of `betabloom generate`.
PICTURES = {
    "nebula": f"{ONE} --palette violet+black --seed 1",
    "fire": f"{ONE} --palette red+orange --seed 2",
    "lavender": f"{ONE} --palette violet+grey --seed 3",
    "sunset": f"{ONE} --palette orange+gold --seed 4",
    "pansy": f"{ONE} --palette violet+gold --seed 5",
    "iris": f"{ONE} --palette violet+green --seed 6",
    "fuchsia": f"{ONE} --palette magenta+green --seed 7",
    "orchid": f"{ONE} --palette magenta --seed 8",
    "blossom": f"{ONE} --palette pink+white --seed 9",
    "rose": f"{ONE} --palette pink+green --seed 10",
    "daisy": f"{ONE} --palette white+green --seed 11",
    "daffodil": f"{ONE} --palette white+gold --seed 12",
    "snow": f"{ONE} --palette white --seed 13",
    "poppy": f"{ONE} --palette red+green --seed 14",
    "ruby": f"{ONE} --palette red --seed 15",
    "marigold": f"{ONE} --palette orange+green --seed 16",
    "sunshine": f"{ONE} --palette gold --seed 17",
    "meadow": f"{ONE} --palette gold+green --seed 18",
    "fern": f"{ONE} --palette green --seed 19",
    "lagoon": f"{ONE} --palette cyan --seed 20",
    "deep-sea": f"{ONE} --palette blue --seed 21",
    "rainbow": "-n 72 --columns 9 --palette red,orange,gold,green,cyan,blue,violet,magenta,pink --seed 22",
    "carnival": "-n 36 --colourful --seed 23",
    "without-green": "-n 36 --avoid green --seed 24",
    "wallpaper": "-n 80 --size 1280x720 --seed 25",
    "wallpaper-violet-and-gold": "-n 80 --size 1280x720 --palette violet,gold --seed 26",
    "texture": "-n 40 --tile --size 384x384 --palette pink,white,magenta --seed 27",
}


def main() -> None:
    options = argparse.ArgumentParser(description="Make the gallery with a model.")
    options.add_argument("model")
    options.add_argument("--out", type=Path, default=Path(__file__).parent)
    options.add_argument("--only", nargs="*", choices=PICTURES, default=list(PICTURES))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    notes = {}
    for name in given.only:
        words = [*shlex.split(command(name, given.model))[1:-1], str(given.out / f"{name}.png"), "--force"]
        line = [sys.executable, "-c", "from betabloom.cli.main import main; main()", *words]
        said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
        notes[name] = said.strip().rpartition(": ")[0]
        print(f"{name}: {notes[name]}")
    (given.out / "README.md").write_text(page(notes, given.model), encoding="utf-8")


def command(name: str, model: str) -> str:
    """The command that makes a picture of the gallery."""
    return f"betabloom generate {shlex.quote(model)} {PICTURES[name]} -o {name}.png"


def page(notes: dict[str, str], model: str) -> str:
    """The README: each picture, what the command said, and the command."""
    parts = [
        "# Gallery\n\nPictures of flowers that do not exist, each with the command that makes it again.\n"
        "None is picked by hand: the seeds are counted up. `python docs/gallery/make.py MODEL` makes them all.\n"
    ]
    for name, note in notes.items():
        title = name.replace("-", " ").capitalize()
        parts.append(f"## {title}\n\n![{title}]({name}.png)\n\n{note}.\n\n```sh\n{command(name, model)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
