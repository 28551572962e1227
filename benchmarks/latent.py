"""The latent space as a tool: seconds of its commands, and bytes and quality of compressed pictures.

    python benchmarks/latent.py [--pictures FOLDER] [-n 200]

Each command runs `--runs` times in a process of its own, from the start to the file; the medians count, of the time and
of what the processor's cores worked. With --pictures, pictures are compressed with the bundled model, and as WebP and
JPEG of the quality that takes nearest to as many bytes. PSNR is of the mean squared error over all pictures, SSIM of
grey in windows of 8×8 pixels. Prints JSON.
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

import numpy as np
from PIL import Image

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
    given = options.parse_args()
    result: dict[str, object] = {"seconds": {name: seconds(words, given.runs) for name, words in COMMANDS.items()}}
    if given.pictures:
        result["compression"] = compression(given.pictures, given.n)
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


def compression(folder: str, n: int) -> list[dict[str, object]]:
    """Bytes, PSNR and SSIM of pictures at three finenesses, and of WebP and JPEG at as many bytes."""
    from betabloom.latent import compress, decompress
    from betabloom.model.without_torch import open_without_torch

    model = open_without_torch(None)
    assert model is not None
    files = sorted(path for path in Path(folder).iterdir() if path.suffix in (".jpg", ".png"))
    pictures = np.stack([model.pipeline.load(files[i]) for i in np.linspace(0, len(files) - 1, n).astype(int)])
    rows = []
    for fineness in (0.5, 1.0, 2.0):
        data = compress(model, pictures, fineness)
        rows.append(row(f"betabloom, fineness {fineness:g}", pictures, decompress(model, data), len(data) / n))
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
