"""The latent space as a tool: seconds of its commands, and bytes and quality of compressed pictures.

    python benchmarks/latent.py [--pictures FOLDER] [-n 200] [--encode 10000]

Each command runs `--runs` times in a process of its own, from the start to the file; the medians count, of the time and
of what the processor's cores worked. With --pictures, pictures are compressed with the bundled model, and as WebP and
JPEG of the quality that takes nearest to as many bytes. PSNR is of the mean squared error over all pictures, SSIM of
grey in windows of 8×8 pixels. With --encode N, N pictures are encoded from memory and from files of 256×256 pixels,
by betabloom and by the loop that one would write with PyTorch (a DataLoader, fp32, eager). Prints JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from betabloom.model.model import Model

COMMANDS = {
    "traverse 10×11": ["traverse", "seed:7", "-o", "t.png"],
    "morph, a loop of 60 frames": ["morph", "seed:1", "seed:2", "seed:3", "--loop", "-o", "m.webp"],
    "more-like": ["more-like", "seed:1", "seed:2", "--not", "seed:3", "--seed", "1", "-o", "l.png"],
}


def main() -> None:
    options = argparse.ArgumentParser(description="Measure the latent space as a tool.")
    options.add_argument("--pictures", help="a folder of pictures that the model was not trained on")
    options.add_argument("-n", type=int, default=200)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--encode", type=int, default=0, metavar="N")
    given = options.parse_args()
    result: dict[str, object] = {"seconds": {name: seconds(words, given.runs) for name, words in COMMANDS.items()}}
    if given.pictures:
        result["compression"] = compression(given.pictures, given.n)
    if given.encode:
        result["encoding"] = encoding(given.encode)
    print(json.dumps(result, indent=1, ensure_ascii=False))


def seconds(words: list[str], runs: int) -> dict[str, float]:
    """Median time of a command, and of what the cores worked."""
    taken, worked = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "betabloom", *words, "--force"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(time.perf_counter() - begun)
            worked.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"elapsed": round(statistics.median(taken), 3), "cores": round(statistics.median(worked), 3)}


def encoding(n: int) -> dict[str, dict[str, float]]:
    """Pictures in a second that are encoded, from memory and from files; the codes are compared too."""
    import betabloom
    from betabloom.model.prepared import load_pictures

    model = betabloom.load()
    few = model.generate(256, seed=1)
    pictures = np.resize(few, (n, *few.shape[1:]))
    result = {"from memory": rates(n, lambda: model.encode(pictures)[0], lambda: plain_loop(model, pictures))}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(min(n, 2000)):
            Image.fromarray(few[i % len(few)]).resize((256, 256)).save(Path(folder) / f"{i:05}.jpg", quality=90)
        files = sorted(Path(folder).iterdir())
        result["from files"] = rates(
            len(files), lambda: model.encode(load_pictures(model, [folder])[0])[0], lambda: plain_loop(model, files)
        )
    return result


def rates(n: int, ours: Callable[[], np.ndarray], plain: Callable[[], np.ndarray]) -> dict[str, float]:
    """Pictures in a second of both, how many times as fast the first is, and how far codes are apart."""
    seconds, codes = [], []
    for encode in (ours, plain):
        begun = time.perf_counter()
        codes.append(encode())
        seconds.append(time.perf_counter() - begun)
    apart = float(np.abs(codes[0] - codes[1]).max())
    found = {"betabloom": n / seconds[0], "plain": n / seconds[1], "times": seconds[1] / seconds[0], "apart": apart}
    return {name: round(value, 3) for name, value in found.items()}


def plain_loop(model: Model, pictures: Sequence[np.ndarray] | Sequence[Path]) -> np.ndarray:
    """What one would write: a DataLoader over arrays or files, and the encoder as it is."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    height, width = model.config.shape[1:]

    class Pictures(Dataset):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> torch.Tensor:
            picture = pictures[index]
            if isinstance(picture, Path):
                picture = np.asarray(
                    Image.open(picture).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
                )
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

    with torch.no_grad():
        return torch.cat([model.vae.encode(batch).mean for batch in DataLoader(Pictures(), batch_size=64)]).numpy()


def compression(folder: str, n: int) -> list[dict[str, object]]:
    """Bytes, PSNR and SSIM of pictures, with and without a search, and of WebP and JPEG at as many bytes."""
    import betabloom
    from betabloom.latent import compress, decompress

    model = betabloom.load()
    files = sorted(path for path in Path(folder).iterdir() if path.suffix in (".jpg", ".png"))
    pictures = np.stack([model.pipeline.load(files[i]) for i in np.linspace(0, len(files) - 1, n).astype(int)])
    rows = []
    for fineness, search in ((0.5, 0), (1.0, 0), (2.0, 0), (0.5, 60), (1.0, 60)):
        data = compress(model, pictures, fineness, search)
        how = f"betabloom, fineness {fineness:g}" + (f", a search of {search} steps" if search else "")
        rows.append(row(how, pictures, decompress(model, data), len(data) / n))
    for kind in ("WEBP", "JPEG"):
        every = [encoded(pictures, kind, quality) for quality in range(0, 60, 2)]
        for target in [each["bytes"] for each in rows[:3]]:
            drawn, size = min(every, key=lambda one: abs(one[1] - target))
            found = row(f"{kind}, nearest to {target} bytes", pictures, drawn, size)
            rows += [found] if found["bytes"] not in [each["bytes"] for each in rows] else []
    return rows


def encoded(pictures: np.ndarray, kind: str, quality: int) -> tuple[np.ndarray, float]:
    """Pictures written and read again, and the mean size in bytes."""
    drawn, size = [], 0
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, kind, quality=quality, **({"method": 6} if kind == "WEBP" else {}))
        size += buffer.tell()
        drawn.append(np.asarray(Image.open(buffer).convert("RGB")))
    return np.stack(drawn), size / len(pictures)


def row(name: str, pictures: np.ndarray, drawn: np.ndarray, size: float) -> dict[str, object]:
    error = np.square(pictures.astype(float) - drawn).mean((1, 2, 3))
    return {
        "how": name,
        "bytes": round(size, 1),
        "psnr": round(float(10 * np.log10(255**2 / error.mean())), 2),
        "ssim": round(float(ssim(pictures, drawn)), 3),
    }


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity (Wang et al. 2004) of grey, in windows of 8×8 pixels that do not overlap."""
    windows = (len(one), one.shape[1] // 8, 8, one.shape[2] // 8, 8)
    a, b = (x.astype(float).mean(3).reshape(windows).swapaxes(2, 3) for x in (one, other))
    means = [x.mean((3, 4)) for x in (a, b)]
    va, vb = a.var((3, 4)), b.var((3, 4))
    both = ((a - means[0][..., None, None]) * (b - means[1][..., None, None])).mean((3, 4))
    c, d = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * means[0] * means[1] + c) * (2 * both + d) / ((means[0] ** 2 + means[1] ** 2 + c) * (va + vb + d))
    return float(value.mean())


if __name__ == "__main__":
    main()
