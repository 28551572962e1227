"""Data sets in the format of Hugging Face, made here and read without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from betabloom.data import HuggingFace, HuggingFaceStream, Pipeline, inspect, open_source, open_stream, prepare
from betabloom.data.sources.huggingface import _parts
from betabloom.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

Make = Callable[..., Any]
SQUARE = Pipeline.named("square", (8, 8))


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    module = pytest.importorskip("datasets", reason="the extra hf is not installed: pip install 'betabloom[hf]'")
    monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(module.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    module.disable_progress_bars()
    return module


@pytest.fixture
def made(datasets: Any, photos: Path) -> Any:
    """20 pictures of two classes, one of them damaged."""
    files = [(photos / f"{i}.jpg").read_bytes() for i in range(20)]
    files[7] = files[7][:300]
    features = datasets.Features(
        {"n": datasets.Value("int64"), "photo": datasets.Image(), "kind": datasets.ClassLabel(names=["rose", "tulip"])}
    )
    rows = {
        "n": list(range(20)),
        "photo": [{"bytes": content, "path": None} for content in files],
        "kind": [i % 2 for i in range(20)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def check(source: Any, photos: Path) -> None:
    assert isinstance(source, HuggingFace)
    assert (len(source), source.label_names) == (20, ["rose", "tulip"])
    assert source.labels.tolist() == [i % 2 for i in range(20)]
    store = prepare(source, SQUARE)
    assert [entry["name"] for entry in store.skipped] == ["0000007"]
    np.testing.assert_array_equal(store.pictures[10], SQUARE.load(photos / "11.jpg"))


def test_saved_on_this_disk(datasets: Any, made: Any, photos: Path, tmp_path: Path) -> None:
    made.save_to_disk(tmp_path / "saved")
    source = open_source(tmp_path / "saved")
    check(source, photos)
    assert open_source(tmp_path / "saved").fingerprint() == source.fingerprint()
    datasets.DatasetDict({"test": made.select(range(5)), "train": made}).save_to_disk(tmp_path / "both")
    check(open_source(tmp_path / "both"), photos)
    assert "20 pictures, 19 usable" in inspect(source).text()


def test_parquet_files(made: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    made.select(range(12)).to_parquet(tmp_path / "tables" / "0.parquet")
    made.select(range(12, 20)).to_parquet(tmp_path / "tables" / "1.parquet")
    check(open_source(tmp_path / "tables"), photos)
    assert len(open_source(tmp_path / "tables" / "1.parquet")) == 8


def test_parquet_of_bytes_that_does_not_say_it_holds_pictures(datasets: Any, photos: Path, tmp_path: Path) -> None:
    rows = {"data": [(photos / f"{i}.jpg").read_bytes() for i in range(4)], "label": ["b", "a", "b", "a"]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "plain.parquet")
    source = open_source(tmp_path / "plain.parquet")
    assert source.label_names == ["a", "b"]
    assert source.read(2).size == (40, 30)


def test_a_stream_gives_what_the_source_gives(made: Any, photos: Path, tmp_path: Path) -> None:
    for number in range(4):
        made.shard(4, number, contiguous=True).to_parquet(tmp_path / f"{number}.parquet")
    tables = [tmp_path / f"{number}.parquet" for number in range(4)]
    source, stream = HuggingFace(tables), HuggingFaceStream(tables)
    seen = list(stream)
    assert [label for _, _, label in seen] == [i % 2 for i in range(20) if i != 7]
    assert list(stream.skipped.reasons) == ["0000007"]
    assert seen[0][1].tobytes() == source.read(0).tobytes()
    parts = [image.tobytes() for rank in range(2) for _, image, _ in stream.shard(rank, 2)]
    assert sorted(parts) == sorted(image.tobytes() for _, image, _ in seen)


def test_what_cannot_be_had_is_explained(datasets: Any, tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "texts.parquet")
    with pytest.raises(SourceError, match="no column of pictures: its columns are text"):
        open_source(tmp_path / "texts.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="cannot be loaded"):
        open_source(tmp_path / "bad.parquet")
    for opener, spec in ((open_source, "hf:no/such-data"), (open_stream, "hf-stream:no/such-data:train")):
        with pytest.raises(SourceError, match=r"'no/such-data.*' cannot be loaded from Hugging Face"):
            opener(spec)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mnist", ("mnist", None, "train")),
        ("mnist:test", ("mnist", None, "test")),
        ("a/b", ("a/b", None, "train")),
        ("a/b/small:train[:10%]", ("a/b", "small", "train[:10%]")),
    ],
)
def test_names_configurations_and_splits(text: str, parts: tuple[str, str | None, str]) -> None:
    assert _parts(text) == parts
    for wrong in ("", "a/b/c/d", "/a", ":train"):
        with pytest.raises(SourceError, match="write hf:NAME"):
            _parts(wrong)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'betabloom\[hf\]'"):
        open_source("hf:mnist")


def test_other_sources_do_not_import_it() -> None:
    code = (
        "import sys; from betabloom.data import open_source; open_source('drawn:2'); print('datasets' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
