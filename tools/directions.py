"""Find the directions of the bundled models again, and write them where the package keeps them."""

from __future__ import annotations

import sys

from betabloom.latent.directions import strongest
from betabloom.latent.space import code_space
from betabloom.latent.stored_directions import BUNDLED, COUNT, written
from betabloom.model.directory import MODELS
from betabloom.model.without_torch import open_without_torch


def main(names: list[str]) -> None:
    for name in names or sorted(path.name for path in MODELS.iterdir() if (path / "config.json").is_file()):
        model = open_without_torch(name)
        if model is None:
            raise SystemExit(f"{name} cannot be opened without torch")
        file = BUNDLED / f"{model.fingerprint}-{COUNT}.json"
        file.write_text(written(strongest(model, code_space(model), COUNT)), encoding="utf-8")
        print(name, file.name)


if __name__ == "__main__":
    main(sys.argv[1:])
