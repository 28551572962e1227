"""Codes as tables: what is written is read back, one's own are read, and what is none is named."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.model.code_tables import codes_from_array, read_codes, write_codes
from betabloom.model.codes import Codes

RNG = np.random.default_rng(0)
MEAN, LOG_VAR = RNG.standard_normal((2, 5, 3)).astype(np.float32)
NAMES = ["a.jpg", 'b,"c".jpg', "d e.jpg", "é.jpg", "5"]
CODES = Codes(MEAN, LOG_VAR, NAMES, "0123456789abcdef", np.array([0, 1, 0, -1, 1]))


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_what_is_written_is_read_back(suffix, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"codes{suffix}"
    write_codes(CODES, path, ["rose", "tulip"])
    found = read_codes(path)
    assert np.array_equal(found.mean, MEAN)
    assert found.names == NAMES
    assert found.model == ("" if suffix == ".csv" else CODES.model)


def test_a_table_has_names_labels_and_classes(tmp_path):
    write_codes(CODES, tmp_path / "codes.csv", ["rose", "tulip"])
    with (tmp_path / "codes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["rose", "tulip", "rose", "", "tulip"]
    assert [int(row["label"]) for row in rows] == CODES.labels.tolist()
    assert np.allclose([float(row["log_var2"]) for row in rows], LOG_VAR[:, 2])


def test_numbers_of_ones_own_are_codes(tmp_path):
    (tmp_path / "plain.csv").write_text("1,2.5\n-3,4e-1\n")
    assert read_codes(tmp_path / "plain.csv").mean.tolist() == [[1, 2.5], [-3, np.float32(0.4)]]
    (tmp_path / "named.csv").write_text("z1,mood,z0\n1,good,2\n3,bad,4\n")
    assert read_codes(tmp_path / "named.csv").mean.tolist() == [[2, 1], [4, 3]]
    np.save(tmp_path / "a.npy", MEAN.astype(np.float64))
    np.savez(tmp_path / "b.npz", anything=MEAN)
    for name in ("a.npy", "b.npz"):
        assert np.array_equal(read_codes(tmp_path / name).mean, MEAN)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "name,colour\na,b\n", "no columns z0, z1"),
        ("a.csv", "z0,z1\n1,two\n", "a row without a number"),
        ("a.csv", "z0,z1\n1\n", "a row without a number"),
        ("a.csv", "z0,z1\n1,nan\n", "finite"),
        ("a.csv", "", "empty"),
        ("a.npy", "no numpy", "not a NumPy file"),
        ("a.npz", "no zip", "not a code file"),
    ],
)
def test_what_holds_no_codes_is_named(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(BetabloomError, match=message):
        read_codes(tmp_path / name)


def test_pickles_are_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="not a NumPy file"):
        read_codes(tmp_path / "a.npy")


@pytest.mark.parametrize("array", [[], [1, 2], [["a"]], [[np.inf]], None])
def test_arrays_that_are_no_codes_are_refused(array):
    with pytest.raises(UsageError, match=r"Codes"):
        codes_from_array(array)
