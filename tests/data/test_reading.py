"""Values, transparency, pages and side files are read as they are meant, or named; the same reading everywhere."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path  # noqa: TC003  # the tests are collected with their annotations
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from betabloom.data import (
    Arrays,
    Folder,
    Pipeline,
    Reading,
    inspect,
    open_pictures,
    open_source,
    open_stream,
    prepare,
    prepare_few,
)
from betabloom.data.pictures.decode import decode
from betabloom.data.sources import locate
from betabloom.errors import SourceError, UsageError
from betabloom.imaging import alpha


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits: int, colour: int, rows: list[bytes], width: int, before: bytes = b"", after: bytes = b"") -> io.BytesIO:
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (chunk(b"IHDR", header), before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b""))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def packed(values: list[int], bits: int) -> bytes:
    if bits == 16:
        return struct.pack(f">{len(values)}H", *values)
    text = "".join(f"{value:0{bits}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_transparent_at_every_depth(bits: int) -> None:
    last = (1 << bits) - 1
    values = sorted({0, 1, last // 2, last})
    for key in values:
        file = png(bits, 0, [packed(values, bits)], len(values), chunk(b"tRNS", struct.pack(">H", key)))
        seen = np.asarray(decode(file, Reading(background="#ff0000")))[0]
        grey = [round(255 * value / last) for value in values]
        expected = [[255, 0, 0] if value == key else [g, g, g] for value, g in zip(values, grey, strict=True)]
        assert seen.tolist() == expected, (bits, key)


def test_the_transparent_colour_of_sixteen_bits_is_compared_in_all_of_them() -> None:
    row = packed([1, 1, 1, 1, 2, 1, 65535, 257, 0], 16)
    file = png(16, 2, [row], 3, chunk(b"tRNS", struct.pack(">3H", 1, 1, 1)))
    kept = decode(file, alpha=True)
    assert kept.mode == "RGBa"
    assert np.asarray(kept)[0, :, 3].tolist() == [0, 255, 255]


def test_levels_say_which_values_are_black_and_white(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 2000, 4000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(decode(tmp_path / "a.png")).tolist() == [[0, 4, 8, 16]]
    for levels, expected in (
        ("0,4000", [0, 64, 128, 255]),
        ("auto", [0, 64, 128, 255]),
        ("1000,2000", [0, 0, 255, 255]),
    ):
        assert np.asarray(decode(tmp_path / "a.png", Reading(levels=levels))).tolist() == [expected]
    colours = png(16, 2, [packed([0, 2000, 4000], 16)], 1)
    assert np.asarray(decode(colours, Reading(levels="0,4000"))).tolist() == [[[0, 128, 255]]]
    assert "0 to 65535" in next(iter(inspect(Folder(tmp_path)).remarks))
    with pytest.raises(UsageError, match="LOW,HIGH"):
        Reading(levels="9,1")


@pytest.mark.parametrize(("values", "expected"), [
    ([0.0, 0.5, 1.00001], [0, 128, 255]), ([-1.0, 0.0, 1.0], [0, 128, 255]), ([0.0, 100.0, 255.0], [0, 100, 255]),
    ([0.0, float("nan"), 1.0], [0, 0, 255]),
])  # fmt: skip
def test_floats_are_read_by_their_range(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    assert np.asarray(decode(tmp_path / "a.tif")).tolist() == [expected]


def test_nearly_black_pictures_are_noticed(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray((np.arange(64 * 64).reshape(64, 64) % 4096).astype(np.uint16)).save(tmp_path / f"{i}.png")
    for quick in (True, False):
        assert "--levels 0,4095" in inspect(Folder(tmp_path), quick=quick).text().replace("\n    ", " ")


def test_arrays_of_zeros_and_ones_are_black_and_white_and_that_is_noted() -> None:
    sprites = np.zeros((5, 8, 8), np.uint8)
    sprites[:, 2:5, 2:5] = 1
    source = Arrays(sprites)
    assert np.asarray(source.read(0)).max() == 255
    assert "--levels 0,255" in source.notes[0]
    assert np.asarray(Arrays(sprites, levels="0,255").read(0)).max() == 1
    assert np.asarray(Arrays(np.full((2, 8, 8, 3), 1.0005, np.float32)).read(0)).min() == 255


def test_one_picture_is_not_taken_for_many() -> None:
    assert len(Arrays(np.zeros((20, 16, 3), np.uint8))) == 1
    with pytest.raises(UsageError, match="two ways"):
        Arrays(np.zeros((3, 16, 16), np.uint8))


def test_pages_are_counted_and_can_all_be_read(tmp_path: Path) -> None:
    pages = [Image.new("L", (8, 8), 60 * i) for i in range(4)]
    for name in ("a.tif", "a.gif", "a.webp"):
        pages[0].save(
            tmp_path / name, save_all=True, append_images=pages[1:], **({"lossless": True} if "w" in name else {})
        )
    report = inspect(Folder(tmp_path))
    assert report.total == 3
    assert any("--pages all" in remark for remark in report.remarks)
    every = open_source(tmp_path, pages="all")
    assert len(every) == 12
    levels = {name: np.asarray(every.read(i).convert("L")).mean() for i, name in enumerate(every.names)}
    assert levels["a.tif page 3"] == 120
    assert abs(levels["a.webp page 4"] - 180) < 3


def test_what_stands_beside_the_pixels_does_not_matter(tmp_path: Path) -> None:
    big = zlib.compress(os.urandom(99) * 20000)
    row = [bytes([200, 30, 30]) * 4] * 4
    beside = {
        "zTXt": chunk(b"zTXt", b"workflow\0\0" + big), "iTXt": chunk(b"iTXt", b"x\0\1\0\0\0" + big),
        "iCCP": chunk(b"iCCP", b"icc\0\0" + big), "wrong sum": struct.pack(">I", 3) + b"tEXtabc" + b"1234",
        "eXIf": chunk(b"eXIf", b"garbage"), "unknown": chunk(b"vpAg", b"\0" * 9), "pHYs": chunk(b"pHYs", b"\0"),
    }  # fmt: skip
    for name, extra in beside.items():
        for places in ({"before": extra}, {"after": extra}):
            assert decode(png(8, 2, row, 4, **places)).getpixel((1, 1)) == (200, 30, 30), (name, places)


def test_side_files_of_systems_and_excluded_ones_are_no_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "b_mask.png", "old/c.png", "@eaDir/a.png/t.jpg", "$RECYCLE.BIN/x.png", "#recycle/x.png",
                 "__MACOSX/._a.png", ".thumbnails/a.png", "lost+found/a.png"):  # fmt: skip
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "p" / name)
    source = Folder(tmp_path / "p")
    assert source.names == ["a.png", "b_mask.png", "old/c.png"]
    assert {"@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "hidden"} <= set(source.left_alone)
    fewer = Folder(tmp_path / "p", exclude="*_mask.png,OLD")
    assert (fewer.names, fewer.left_alone["excluded"]) == (["a.png"], 2)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for file in (tmp_path / "p").rglob("*.*g"):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path))
    assert len(open_source(tmp_path / "p.zip")) == 3


def test_links_in_archives_are_pictures_as_in_folders(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "p" / "a.png")
    links = {"hard": "p/a.png", "soft": "a.png", "out": "/etc/passwd", "loop": "loop.png"}
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "p" / "a.png", "p/a.png")
        for name, target in links.items():
            info = tarfile.TarInfo(f"p/{name}.png")
            info.type, info.linkname = tarfile.LNKTYPE if name == "hard" else tarfile.SYMTYPE, target
            tar.addfile(info)
    source = open_source(tmp_path / "t.tar")
    assert source.names == ["p/a.png", "p/hard.png", "p/soft.png"]
    assert source.read(1).getpixel((0, 0)) == source.read(2).getpixel((0, 0)) == (255, 0, 0)
    assert source.left_alone["links to elsewhere"] == 2


def test_a_header_that_announces_much_takes_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    for suffix, pack in (("tar", bytes), ("tar.gz", lambda data: __import__("gzip").compress(data))):
        (tmp_path / f"s-0.{suffix}").write_bytes(pack(info.tobuf() + bytes(1 << 16)))
        stream = open_stream(str(tmp_path / f"s-*.{suffix}"))
        assert list(stream) == []
        assert "very long" in " ".join(stream.skipped.reasons.values())
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            content, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 64, 64, 3)}
        )
        archive.writestr("images.npy", content.getvalue())
    with pytest.raises(SourceError, match="announces more than it holds"):
        open_source(tmp_path / "a.npz")


def test_cells_of_tables_are_read_whole_and_every_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in ("a.png", "b.png", "c\u2028d.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "p" / name)
    text = 'id,species,image,mask\n1,rose, p\\a.png,p/m.png\n2,x\u2028y,"p/c\u2028d.png",\n3\n4,,p/b.png ,p/m.png\n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    source = open_source(tmp_path / "t.csv")
    report = inspect(source)
    assert (report.total, len(report.unreadable)) == (4, 1)
    assert report.unreadable[0]["reason"] == "row 3 of the table has no path"
    assert source.label_names is not None
    assert "x\u2028y" in source.label_names
    assert "'mask' holds some too" in source.notes[0]


def test_classes_come_from_a_file_beside_the_pictures(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["0.png", 6], ["1.png", 7]]}))
    source = Folder(tmp_path)
    assert (source.label_names, source.labels.tolist()) == (["6", "7"], [0, 1, -1])
    assert "1 pictures have no label" in source.notes[0]
    (tmp_path / "dataset.json").unlink()
    lines = [json.dumps({"file_name": f"{i}.png", "label": "ab"[i % 2]}) for i in range(3)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    assert Folder(tmp_path).labels.tolist() == [0, 1, 0]


def test_pictures_of_one_stem_in_shards_are_kept_or_named(tmp_path: Path) -> None:
    def write(name: str, members: list[str]) -> None:
        with tarfile.open(tmp_path / name, "w") as tar:
            for member in members:
                content = io.BytesIO()
                Image.new("RGB", (8, 8)).save(content, "PNG")
                info = tarfile.TarInfo(member)
                info.size = content.tell()
                content.seek(0)
                tar.addfile(info, content)

    write("a-0.tar", ["k.mask.png", "k.png", "l.png"])
    write("b-0.tar", [f"photo 22.{i:02}.png" for i in range(10)])
    masks, photos = open_stream(str(tmp_path / "a-*.tar")), open_stream(str(tmp_path / "b-*.tar"))
    assert [name.rpartition("/")[2] for name, *_ in masks] == ["k.png", "l.png"]
    assert next(iter(masks.skipped.reasons)).endswith("k.mask.png")
    assert len(list(photos)) == 10


def test_transparency_is_kept_for_four_channels() -> None:
    icon = np.zeros((16, 16, 4), np.uint8)
    icon[4:12, 4:12] = [200, 100, 50, 255]
    icon[0, 0] = [9, 99, 199, 0]
    made = prepare_few([Image.fromarray(icon)], Pipeline.named("square", (16, 16), 4))
    assert made.shape == (1, 16, 16, 4)
    assert made[0, 0, 0].tolist() == [0, 0, 0, 0]  # what cannot be seen counts for nothing
    assert alpha.straight(made)[0, 6, 6].tolist() == [200, 100, 50, 255]
    assert alpha.over(made)[0, 0, 0].tolist() == [255, 255, 255]
    for steps in ("blur:1", "brightness:0.5", "saturation:2", "sharpness:3", "autocontrast", "pad:32x32"):
        changed = prepare_few([Image.fromarray(icon)], Pipeline.parse(steps, (16, 16), 4))
        assert (changed[..., :3] <= changed[..., 3:]).all(), steps


def test_pixel_art_stays_pixel_art() -> None:
    art = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    large = prepare_few([art], Pipeline.named("pixels", (32, 32)))[0]
    assert np.array_equal(large, art.repeat(4, 0).repeat(4, 1))


def test_pictures_are_taken_in_every_form(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    images = [Image.fromarray(each) for each in pixels]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    square = Pipeline.named("square", (16, 16))
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for given in (images, iter(images), pixels, pixels / 255, list(pixels), paths, [paths[0], images[1]], tmp_path):
        assert np.array_equal(prepare_few(given, square), pixels)
    assert np.array_equal(prepare_few(images[0], square), pixels[:1])
    assert len(open_pictures([paths[0]])) == 1
    store = prepare(open_source(tmp_path, background="black"), square, cache=tmp_path / "cache")
    assert store.reading == Reading(background="black")
    with pytest.raises(UsageError):
        prepare_few(7, square)


def test_a_new_kind_of_source_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Toy(Arrays):
        """`toy:COUNT`: so many grey pictures."""

    row = locate.Kind(
        lambda place: isinstance(place, str) and place.startswith("toy:"),
        lambda place, request: Toy(np.full((int(place[4:]), 8, 8, 1), 77, np.uint8), name=place, **request.options),
    )
    monkeypatch.setattr(locate, "KINDS", [row, *locate.KINDS])
    assert inspect(open_source("toy:5")).total == 5
    assert len(open_pictures(["toy:3"])) == 3


def test_a_word_names_the_same_source_where_a_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawn").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "drawn" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert "./drawn" in open_source("drawn").notes[0]
    assert locate.resolved("drawn") == "drawn"
    assert locate.resolved("./drawn") == str(tmp_path / "drawn")
    assert len(open_source("./drawn")) == 1


def test_a_model_of_transparent_pictures_draws_transparent_ones(tmp_path: Path) -> None:
    import betabloom
    from betabloom.imaging import sheets

    icons = np.zeros((24, 16, 16, 4), np.uint8)
    icons[:, 4:12, 4:12] = [200, 100, 50, 255]
    store = betabloom.prepare([Image.fromarray(icon) for icon in icons], 16, channels=4)
    model = betabloom.fit(store, "tiny", steps=2, colour=0.2, widths=(8, 8), latents=4, flow=0, progress=False)
    made = model.generate(2)
    assert made.shape == (2, 16, 16, 4)
    assert sheets.grid(made).mode == "RGBA"
    assert np.array_equal(model.prepare([Image.fromarray(icons[0])])[0], store.pictures[0])


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}], ids=["raw", "lzw", "big"])
def test_a_page_of_a_stack_is_opened_without_walking_through_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    pages = [Image.fromarray(np.full((8, 9), 5000 * i, np.uint16)) for i in range(12)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:], **options)
    with zipfile.ZipFile(tmp_path / "stack.zip", "w") as packed:
        packed.write(tmp_path / "stack.tif", "stack.tif")
    looked: list[int] = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load

    def counted(directory: TiffImagePlugin.ImageFileDirectory_v2, file: Any) -> None:
        looked.append(1)
        load(directory, file)

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", counted)
    for place in (tmp_path, tmp_path / "stack.zip"):
        source = open_source(place, pages="all", levels="0,65535")
        looked.clear()
        values = [int(np.asarray(source.read(i))[0, 0]) for i in range(12)]
        assert values == [round(5000 * i / 257) for i in range(12)]
        assert len(looked) <= 3 * 12


def test_arrays_and_devices_that_are_not_used_are_named(tmp_path: Path) -> None:
    pictures = np.zeros((3, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "two.npz", images=pictures, labels=np.arange(3), masks=pictures[..., 0])
    (note,) = open_source(tmp_path / "two.npz").notes
    assert "masks" in note
    assert "labels" not in note
    np.savez(tmp_path / "odd.npz", others=pictures)
    with pytest.raises(SourceError, match="images"):
        open_source(tmp_path / "odd.npz")
    if hasattr(os, "mkfifo"):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        os.mkfifo(tmp_path / "pipe.jpg")
        assert Folder(tmp_path).left_alone["pipe or device"] == 1
