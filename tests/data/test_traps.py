"""One folder with every trap beside 200 good photos: it is prepared to the end, and every bad file is named."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from betabloom.data import Folder, Pipeline, inspect, prepare
from betabloom.data.sources.drawn import draw, sample_factors

Make = Callable[..., Any]
GOOD = 200
PIPES = {"pipe or device": 1 + hasattr(os, "mkfifo")}


def png(width: int, height: int, rows: bytes = b"", extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows or bytes(1000))) + chunk(b"IEND", b"")
    )


def jpeg(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def bad_files() -> dict[str, tuple[bytes, str]]:
    """Content and reason (a part of it) of each file that cannot be used."""
    photo = jpeg()
    good_png = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(good_png, "PNG")
    gif = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert("P").save(gif, "GIF")
    webp = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(webp, "WEBP")
    tiff = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(tiff, "TIFF")
    return {
        "zero bytes.jpg": (b"", "empty file"),
        "one byte.png": (b"\x89", "not a picture"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "web page"),
        "text.jpeg": (b"to do: buy milk", "text"),
        "json.webp": (b'{"error": "not found"}', "text"),
        "a zip.png": (b"PK\3\4" + bytes(100), "not a picture"),
        "a pdf.jpg": (b"%PDF-1.7\n\xff\xfe", "not a picture"),
        "executable.png": (b"\x7fELF" + bytes(60), "not a picture"),
        "noise.gif": (np.random.default_rng(3).bytes(5000), "not a picture"),
        "cut.jpg": (photo[: len(photo) // 2], "cut short"),
        "cut early.jpg": (photo[:100], ""),
        "cut.png": (good_png.getvalue()[:2000], "cut short"),
        "cut.gif": (gif.getvalue()[:2000], "cut short"),
        "cut.webp": (webp.getvalue()[:500], ""),
        "cut.tif": (tiff.getvalue()[:3000], ""),
        "flipped.png": (flipped(good_png.getvalue(), 600), "a checksum in it is wrong"),
        "flipped header.jpg": (flipped(photo, 1), "not a picture"),
        "bomb.png": (png(60_000, 60_000), "too large"),
        "bomb 2.png": (png(30_000, 3_000, bytes(4_000_000)), "too large"),
        "bomb.gif": (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\0;", "too large"),
        "text bomb.png": (png(8, 8, bytes(200), struct.pack(">I", 0)), ""),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not a picture"),
        "zero size.png": (png(0, 5), ""),
        "negative.bmp": (b"BM" + struct.pack("<IIIIiiHHIIiiII", 70, 0, 54, 40, -5, -5, 1, 24, 0, 0, 0, 0, 0, 0), ""),
        "raw.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), ""),
    }  # fmt: skip


def odd_files(folder: Path) -> list[str]:
    """Write files that are unusual and can be used; return their names."""
    photo = Image.open(io.BytesIO(jpeg(5)))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.convert("CMYK").save(folder / "print.jpg")
    photo.convert("L").save(folder / "grey.png")
    photo.convert("1").save(folder / "bits.png")
    photo.convert("P").save(folder / "palette.gif")
    photo.convert("RGBA").save(folder / "alpha.png")
    photo.convert("LAB").save(folder / "lab.tif")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16).save(folder / "deep.png")
    photo.save(folder / "profile.png", icc_profile=b"damaged")
    for kind in ("gif", "webp", "png"):
        photo.save(folder / f"moving.{kind}", save_all=True, append_images=[photo.rotate(90)])
    photo.save(folder / "png inside.jpg", "PNG")
    photo.save(folder / "UPPER.JPG")
    Image.new("RGB", (1, 1), "red").save(folder / "1x1.png")
    Image.new("RGB", (20000, 8), "red").save(folder / "20000x8.png")
    Image.new("RGB", (8, 20000), "red").save(folder / "8x20000.png")
    for name in (
        "日本語 🌸.jpg",
        "  spaces  .jpg",
        "new\nline.jpg",
        "-rf.jpg",
        "quote'\".jpg",
        "%s.jpg",
        "x" * 251 + ".jpg",
    ):
        photo.save(folder / name)
    (folder / "more" / "and" / "deeper").mkdir(parents=True)
    photo.save(folder / "more" / "and" / "deeper" / "nested.jpg")
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def what_is_left_alone(folder: Path) -> None:
    for name in (".hidden.jpg", ".git/objects/a.jpg", "more/.cache/b.jpg", "notes.txt", "IMG_0001"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(9))


def links(folder: Path) -> dict[str, str]:
    """Make links that lead nowhere or around; return the reasons."""
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "broken.jpg").symlink_to(folder / "nothing.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    return {"broken.jpg": "link to nothing", "itself.jpg": "symbolic links"}


@pytest.fixture
def traps(tmp_path: Path) -> tuple[Path, dict[str, str], int]:
    """The folder, the reason for each bad file, and the number of good ones."""
    folder = tmp_path / "traps"
    folder.mkdir()
    good = len(odd_files(folder))
    for i, factors in enumerate(sample_factors(GOOD, seed=0)):
        Image.fromarray(draw(factors, (48, 64))).save(folder / f"good {i}.jpg")
    reasons = {}
    for name, (content, reason) in bad_files().items():
        (folder / name).write_bytes(content)
        reasons[name] = reason
    what_is_left_alone(folder)
    with contextlib.suppress(OSError, NotImplementedError):
        reasons |= links(folder)
    return folder, reasons, GOOD + good


def test_a_folder_full_of_traps_is_prepared_to_the_end(
    traps: tuple[Path, dict[str, str], int], hashes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, reasons, good = traps
    monkeypatch.setattr(Path, "write_bytes", None)
    before = hashes(folder)
    begun = time.monotonic()
    store = prepare(Folder(folder), Pipeline.named("square", (32, 32)))
    report = inspect(Folder(folder), 32)
    assert time.monotonic() - begun < 60, "something hangs"
    for found in (store.skipped, report.unreadable):
        named = {entry["name"]: entry["reason"] for entry in found}
        assert set(named) == set(reasons)
        assert not {name: reason for name, reason in named.items() if reasons[name] not in reason}
    assert len(store) == report.usable == good
    assert report.left_alone == {"hidden": 3, ".txt": 1, "no ending": 1, **PIPES}
    assert len(report.text().splitlines()) < 45
    assert hashes(folder) == before


MEASURED = """
import sys
from pathlib import Path
from betabloom.data import Folder, Pipeline, inspect, prepare
prepare(Folder(sys.argv[1]), Pipeline.named("enhance", (32, 32)))
inspect(Folder(sys.argv[1]))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)  # of this program alone: ru_maxrss begins with its parent's
"""


def test_the_traps_leave_no_traceback_and_take_little_memory(traps: tuple[Path, dict[str, str], int]) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the kernel tells no memory here")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(traps[0])], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr == ""
    assert int(done.stdout) < 1024


def test_what_may_not_be_read_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "3.jpg").chmod(0)
    (photos / "closed").mkdir(mode=0)
    try:
        if os.access(photos / "3.jpg", os.R_OK):
            pytest.skip("this user may read everything; the same is simulated below")
        reasons = {entry["name"]: entry["reason"] for entry in inspect(Folder(photos)).unreadable}
        assert reasons == {"3.jpg": "permission denied", "closed/": "permission denied"}
    finally:
        (photos / "closed").chmod(0o700)


def test_what_may_not_be_read_is_named_for_any_user(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, *_: Any, **__: Any) -> Any:
        if str(file).endswith(("3.jpg", "closed/")):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *_, **__)

    def closed(folder: Any) -> Any:
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    (photos / "closed").mkdir()
    opened, listed = Image.open, os.scandir
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(os, "scandir", closed)
    reasons = {entry["name"]: entry["reason"] for entry in inspect(Folder(photos)).unreadable}
    assert {"13.jpg", "3.jpg", "closed/"} <= set(reasons)
    assert reasons["3.jpg"] == "permission denied"


def test_a_folder_that_changes_while_it_is_read(photos: Path) -> None:
    source = Folder(photos)
    first = source.fingerprint()
    (photos / "1.jpg").unlink()
    (photos / "2.jpg").write_bytes(b"")
    (photos / "new.jpg").write_bytes(jpeg())
    store = prepare(source, Pipeline.named("square", (8, 8)))
    assert {entry["name"]: entry["reason"][:13] for entry in store.skipped} == {
        "1.jpg": "no such file ",
        "2.jpg": "empty file (0",
    }
    again = Folder(photos)
    assert again.fingerprint() != first
    assert len(prepare(again, Pipeline.named("square", (8, 8)))) == 39


@pytest.mark.slow
def test_a_folder_full_of_traps_trains_to_the_end(traps: tuple[Path, dict[str, str], int], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from betabloom.cli.main import main; main()"]
    options = ["train", str(traps[0]), "--preset", "tiny", "--steps", "8", "-o", str(tmp_path / "run")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert f"{traps[2]:,} usable" in done.stderr or "unusable" in done.stderr
