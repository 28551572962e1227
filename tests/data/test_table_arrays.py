"""Pictures named by a table, and pictures from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from betabloom.data import Arrays, Folder, Pipeline, Table, inspect, open_source, prepare
from betabloom.errors import PictureError, SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path,label\n3.jpg,rose\nsub/1.jpg,tulip 10\n2.jpg,tulip 2\n"),
        ("b.csv", "\ufeffid;Class;File_Name\r\n1;rose;3.jpg\r\n2;tulip 10;sub/1.jpg\r\n3;tulip 2;2.jpg\r\n"),
        ("c.csv", "3.jpg,rose\nsub/1.jpg,tulip 10\n2.jpg,tulip 2"),
        ("d.tsv", "image\tlabel\n3.jpg\trose\nsub/1.jpg\ttulip 10\n2.jpg\ttulip 2\n"),
        ("e.jsonl", '{"path": "3.jpg", "label": "rose"}\n\n{"path": "sub/1.jpg", "label": "tulip 10"}\n'
                    '{"path": "2.jpg", "label": "tulip 2", "x": 1}'),
    ],
)  # fmt: skip
def test_a_table_names_pictures_and_classes(photos: Path, name: str, text: str) -> None:
    (photos / "sub").mkdir()
    (photos / "1.jpg").rename(photos / "sub" / "1.jpg")
    (photos / name).write_text(text, encoding="utf-8", newline="")
    source = open_source(photos / name)
    assert isinstance(source, Table)
    assert source.names == ["3.jpg", "sub/1.jpg", "2.jpg"]
    assert source.label_names == ["rose", "tulip 2", "tulip 10"]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 2, 1]
    assert source.read(1).size == (40, 30)


def test_rows_that_cannot_be_used_are_named(photos: Path) -> None:
    rows = ["path", "1.jpg", "1.jpg", "missing.jpg", "https://example.org/a.jpg", f"{photos}/2.jpg", "a.txt"]
    (photos / "t.csv").write_text("\n".join(rows))
    source = open_source(photos / "t.csv")
    assert source.labels is None
    assert source.names[1] == "1.jpg (row 2)"
    report = inspect(source)
    assert {entry["name"]: entry["reason"][:13] for entry in report.unreadable} == {
        "missing.jpg": "no such file ",
        "https://example.org/a.jpg": "a web address",
        "a.txt": "no such file ",
    }
    before = source.fingerprint()
    (photos / "2.jpg").write_bytes((photos / "3.jpg").read_bytes())
    assert open_source(photos / "t.csv").fingerprint() != before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "it has no rows"),
        ("a.csv", b"name,colour\nx,y\n", "no column 'path', nor one that holds names of pictures: it has name, colour"),
        ("a.csv", b"path\n\xff.jpg\n", "not text in UTF-8"),
        ("a.jsonl", b'{"path": "a.jpg"}\n{', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", 'line 1 should be like {"path": "a.jpg", "label": "rose"}'),
    ],
)
def test_a_table_that_cannot_be_read_is_explained(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message.replace("{", r"\{")):
        open_source(tmp_path / name)


def test_a_row_may_hold_anything(tmp_path: Path) -> None:
    rows = ["\0", "~nobody/x.jpg", "x" * 5000, "/", "", ".", "a\nb.jpg", "\ud800.jpg", 7]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"path": row}) for row in rows))
    source = open_source(tmp_path / "a.jsonl")
    for index in range(len(rows)):
        with pytest.raises(PictureError):
            source.read(index)
    assert len(source.fingerprint()) == 64


BYTES = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)


def variants() -> dict[str, Any]:
    import torch

    floats = BYTES.astype(np.float32) / 255
    return {
        "NHWC bytes": BYTES,
        "NCHW bytes": BYTES.transpose(0, 3, 1, 2),
        "NHWC floats": floats,
        "NCHW doubles": floats.astype(float).transpose(0, 3, 1, 2),
        "whole numbers": BYTES.astype(np.int64),
        "half": (BYTES / 255).astype(np.float16),
        "tensor": torch.from_numpy(floats).permute(0, 3, 1, 2).requires_grad_(),
        "list": list(BYTES),
    }


def test_every_kind_of_array_gives_the_same_pictures() -> None:
    for kind, array in variants().items():
        source = Arrays(array, labels=["b", "a", "b", "c", "a", "a"])
        assert source.label_names == ["a", "b", "c"], kind
        for index, picture in enumerate(BYTES):
            difference = np.abs(np.asarray(source.read(index)).astype(int) - picture)
            assert difference.max() <= (0 if kind != "half" else 1), kind


def test_grey_arrays_and_what_belongs_to_them() -> None:
    for array in (BYTES[..., 0], BYTES[..., :1], BYTES[..., :1].transpose(0, 3, 1, 2), BYTES[..., 0] > 127):
        source = Arrays(array, labels=np.arange(6))
        assert source.read(2).mode == "L"
    store = prepare(Arrays(BYTES, names=list("abcdef")), Pipeline.named("square", (8, 8)))
    assert list(store.names) == list("abcdef")
    assert Arrays(BYTES).fingerprint() == Arrays(BYTES.copy()).fingerprint()
    assert len({Arrays(a).fingerprint() for a in (BYTES, BYTES[::-1], BYTES[:, ::-1], BYTES[:5])}) == 4


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (BYTES[0, 0], {}, r"should have the shape \(N, H, W, C\)"),
        (np.zeros((2, 5, 5, 2), np.uint8), {}, "C = 1, 3 or 4, not"),
        (np.zeros((2, 3, 8, 3), np.uint8), {}, "layout='NHWC'"),
        (BYTES, {"layout": "CHWN"}, "'layout' should be"),
        (BYTES / 127.5 - 1, {}, "brings −1..1 there"),
        (BYTES.astype(float), {}, "divide by 255"),
        (np.full((1, 4, 4, 3), np.nan), {}, "floating point from 0 to 1, not float64 from nan"),
        (BYTES.astype(np.int32) + 200, {}, "should be uint8"),
        (BYTES, {"labels": [1, 2]}, "'labels' should be 6 class indices"),
        (BYTES, {"labels": [-1] * 6}, "0 or more"),
        (BYTES, {"names": ["a"] * 6}, "6 different names"),
        (np.array([object()]), {}, "not Python objects"),
    ],
)
def test_a_wrong_array_is_explained(array: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Arrays(array, **options)


def test_arrays_in_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BYTES)
    np.savez(tmp_path / "b.npz", images=BYTES, labels=np.arange(6))
    np.savez(tmp_path / "c.npz", other=BYTES)
    np.save(tmp_path / "d.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "e.npy").write_bytes(b"hello")
    first, second = open_source(tmp_path / "a.npy"), open_source(tmp_path / "b.npz")
    assert (first.name, len(second), second.labels is not None) == ("a", 6, True)
    assert first.read(1).tobytes() == second.read(1).tobytes()
    for name, message in (("c.npz", "no array 'images', only other"), ("d.npy", "no usable"), ("e.npy", "no usable")):
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / name)


def test_arrays_import_no_torch() -> None:
    code = (
        "import sys, numpy; from betabloom.data import Arrays; Arrays(numpy.zeros((1, 4, 4, 3), numpy.uint8)).read(0);"
        "print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_folder_of_folders_with_one_above(tmp_path: Path, photos: Path) -> None:
    for name in ("all/rose/1.jpg", "all/tulip/2.jpg"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes((photos / "1.jpg").read_bytes())
    assert Folder(tmp_path / "p").label_names == ["rose", "tulip"]
