"""Models, checkpoints and settings may come from anywhere: they are opened, or refused with a sentence; no more."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import betabloom
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.model.codes import Codes, load_codes, save_codes
from betabloom.model.directory import describe
from betabloom.system import atomic, tensors
from betabloom.training import checkpoints, run_folder

GOLDEN = Path(__file__).parent / "golden" / "version-1"
WHOLE = {
    name: (GOLDEN / name).read_bytes() for name in ("config.json", "model.safetensors", "sampler-parzen.safetensors")
}
bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path):
    """A model directory that may be spoiled."""
    shutil.copytree(GOLDEN, tmp_path / "m")
    return tmp_path / "m"


def restore(folder):
    for name, content in WHOLE.items():
        (folder / name).write_bytes(content)


def sealed(folder, name="model"):
    """Note the hash of a file in config.json, as whoever made the file would."""
    facts = json.loads((folder / "config.json").read_text())
    facts["sha256"][name] = hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(facts))


def header(entries: object, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


BOMBS = {
    "a pickle": lambda: pickle.dumps({"a": np.zeros(3)}),
    "a zip": lambda: b"PK\x03\x04" + bytes(100),
    "a header of 8 EB": lambda: header({}, 2**63 - 1),
    "a header of 100 MB": lambda: header({}, 100 << 20) + b" " * 1000,
    "a deep header": lambda: (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "a header that is a list": lambda: header([1, 2]),
    "shapes without end": lambda: header({"a": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]}}),
    "shapes that are text": lambda: header({"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}}),
    "a tensor too many": lambda: _with(lambda t: t.update(extra=torch.zeros(2))),
    "a tensor too few": lambda: _with(lambda t: t.pop("encoder.mean.bias")),
    "another shape": lambda: _with(lambda t: t.update({"encoder.mean.bias": torch.zeros(5)})),
    "another type": lambda: _with(lambda t: t.update({"encoder.mean.bias": torch.zeros(4, dtype=torch.float64)})),
    "a type that is none": lambda: WHOLE["model.safetensors"].replace(b'"F32"', b'"C64"'),
    "offsets that lie": lambda: WHOLE["model.safetensors"].replace(b"[0,", b"[4,"),
    "not a number": lambda: _with(lambda t: t["encoder.mean.bias"].fill_(float("nan"))),
    "infinity": lambda: _with(lambda t: t["encoder.mean.bias"].fill_(float("inf"))),
    "more at the end": lambda: WHOLE["model.safetensors"] + b"\0" * 8,
    "less at the end": lambda: WHOLE["model.safetensors"][:-4],
}


def _with(change) -> bytes:
    weights = load_file(GOLDEN / "model.safetensors")
    change(weights)
    from safetensors.torch import save

    return save(weights)


@pytest.mark.parametrize("bomb", BOMBS)
def test_weights_that_are_a_trap_are_refused_though_their_hash_is_right(bomb, folder):
    (folder / "model.safetensors").write_bytes(BOMBS[bomb]())
    sealed(folder)
    with pytest.raises(FormatError, match=r"model\.safetensors (is damaged|does not fit)"):
        betabloom.load(folder)


def test_files_of_ten_gigabytes_are_refused_before_they_are_read(folder):
    for name in ("config.json", "model.safetensors", "sampler-parzen.safetensors"):
        os.truncate(folder / name, 10 << 30)
        with pytest.raises(FormatError):
            betabloom.load(folder)
        restore(folder)
    (folder / "config.yaml").write_text("train: {}\n")
    os.truncate(folder / "config.yaml", 10 << 30)
    with pytest.raises(UsageError, match="it has 10,737,418,240 bytes"):
        run_folder.run_config(folder)


TERABYTES = [
    {"latents": 65536, "widths": [4096, 4096]},
    {"widths": [65536, 65536]},
    {"widths": [10**9, 10**9]},
    {"widths": [2] * 60, "family": "seed", "kernel": 3},
    {"widths": [10**18, 10**18]},
    {"prior": "vamp", "prior_components": 65536},
    {"prior": "mixture", "prior_components": 65536, "latents": 65536},
]
LIMITED = """
import resource, sys
import betabloom
from betabloom.errors import BetabloomError
betabloom.load(sys.argv[1]).generate(2)  # all that is imported is imported
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (300 << 20),) * 2)
for folder in sys.argv[2:]:
    try:
        betabloom.load(folder)
    except BetabloomError as error:
        print("refused:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_settings_that_ask_for_terabytes_are_refused_before_anything_is_allocated(tmp_path):
    """With room for 300 MB more than an honest model takes."""
    folders = [tmp_path / str(number) for number in range(len(TERABYTES))]
    for folder, change in zip(folders, TERABYTES, strict=True):
        shutil.copytree(GOLDEN, folder)
        facts = json.loads((folder / "config.json").read_text())
        facts["config"]["model"].update(change)
        (folder / "config.json").write_text(json.dumps(facts))
    command = [sys.executable, "-c", LIMITED, str(GOLDEN), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.count("refused:") == len(TERABYTES), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(evil=1), "'evil', which no model of format version 1 has"),
        (lambda f: f.update(format_version=[1]), r"format version \[1\]"),
        (lambda f: f["config"].update(evil={"a": 1}), r"Unknown setting 'evil\.a'"),
        (lambda f: f["config"]["train"].update(seed=10**300), "'seed' must lie"),
        (lambda f: f["config"]["train"].update(learning_rate=float("nan")), "'learning_rate' must lie"),
        (lambda f: f["config"]["data"].update(source={"a": ["b"] * 1000}), "'source' must be text"),
        (lambda f: f["config"]["model"].update(widths=[2] * 100_000), "'widths' must be numbers"),
        (lambda f: f["pipeline"].update(steps=[{"op": "grey"}] * 5000), "5,000 steps is too long"),
        (lambda f: f["pipeline"]["steps"][0].update(height=10**9), "'height' of 'resize'"),
        (lambda f: f["pipeline"]["steps"][0].update(height=32), "its pipeline makes pictures of 16x32"),
        (lambda f: f["pipeline"]["steps"][0].update(op=["resize"]), "does not describe a model"),
        (lambda f: f["samplers"].update(mixture={"components": -1}), "-1 components"),
        (lambda f: f["samplers"].update(mixture={"components": float("inf")}), "does not describe a model"),
        (lambda f: f["samplers"].update({"../../x": {"components": 1}}), "no sampler '../../x'"),
        (lambda f: f.update(sampler="flow"), "no sampler 'flow'"),
        (lambda f: f.update(samplers=7), "does not describe a model"),
        (lambda f: f.update(training=[1]), "does not describe a model"),
        (lambda f: f.update(base="../golden"), "'../golden', which is not bundled with betabloom"),
        (lambda f: f.update(base=".."), "which is not bundled with betabloom"),
        (lambda f: f.update(base=["flowers64"]), "which is not bundled with betabloom"),
        (lambda f: f.update(base="flowers64"), "flowers64/model.safetensors does not fit its settings"),
    ],
)
def test_a_config_that_lies_is_refused_and_named(change, message, folder):
    facts = json.loads((folder / "config.json").read_text())
    change(facts)
    (folder / "config.json").write_text(json.dumps(facts))
    with pytest.raises(FormatError, match=message) as error:
        betabloom.load(folder)
    assert len(str(error.value)) < 1500


nothing = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(nothing, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4))


def paths(value, path=()):
    """Where anything is in nested dictionaries and lists."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(inner, (*path, key))


FACTS = json.loads(WHOLE["config.json"])
PLACES = sorted((path for path in paths(FACTS) if path), key=str)


@bounded
@given(place=st.sampled_from(PLACES), value=values)
def test_whatever_is_put_anywhere_in_a_config_it_loads_or_is_refused(folder, place, value):
    facts = json.loads(WHOLE["config.json"])
    inner = facts
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (folder / "config.json").write_text(json.dumps(facts))
    for read in (betabloom.load, describe):
        with contextlib.suppress(BetabloomError):
            read(folder)


@bounded
@given(
    name=st.sampled_from(sorted(WHOLE)),
    start=st.floats(0, 1),
    content=st.binary(max_size=12),
    length=st.integers(0, 40),
)
def test_whatever_bytes_are_replaced_a_model_loads_or_is_refused(folder, name, start, content, length):
    restore(folder)
    whole = WHOLE[name]
    place = int(start * len(whole))
    (folder / name).write_bytes(whole[:place] + content + whole[place + length :])
    if name != "config.json":
        sealed(folder, name.removesuffix(".safetensors"))
    with contextlib.suppress(BetabloomError):
        model = betabloom.load(folder)
        assert all(torch.isfinite(value).all() for value in model.vae.state_dict().values())


@bounded
@given(entries=values | st.dictionaries(st.text(max_size=3), st.dictionaries(
    st.sampled_from(["dtype", "shape", "data_offsets"]), values, max_size=3), max_size=3))  # fmt: skip
def test_any_header_is_read_or_refused(tmp_path, entries):
    (tmp_path / "a").write_bytes(header(entries) + bytes(16))
    with pytest.raises(FormatError):
        tensors.read_tensors(tmp_path / "a", {"x": torch.zeros(4)}, "")


@bounded
@given(sections=st.dictionaries(st.sampled_from(["data", "model", "objective", "train", "other"]), st.dictionaries(
    st.sampled_from([key for section in Config().to_dict().values() for key in section]) | st.text(max_size=5),
    values, max_size=3), max_size=3) | values)  # fmt: skip
def test_any_settings_are_taken_or_refused(tmp_path, sections):
    with contextlib.suppress(UsageError):
        Config.from_dict(sections)
    (tmp_path / "config.yaml").write_text(json.dumps(sections))
    with contextlib.suppress(UsageError):
        run_folder.run_config(tmp_path)


step = st.fixed_dictionaries(
    {"op": st.sampled_from(["resize", "crop", "pad", "grey", "blur", "gamma", "sharpness"]) | values},
    optional={key: st.integers(-2, 40) | values for key in ("height", "width", "sigma", "factor", "gamma", "fit")},
)


@bounded
@given(steps=st.lists(step, max_size=4) | values)
def test_any_pipeline_makes_pictures_or_is_refused(steps):
    from PIL import Image

    try:
        pipeline = Pipeline.from_dict({"name": "any", "steps": steps})
        prepared = pipeline(Image.new("RGB", (20, 10), "red"))
    except (BetabloomError, TypeError):  # TypeError: what no JSON from us holds; the loader names it
        return
    assert prepared.shape == (pipeline.height, pipeline.width, pipeline.channels)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\ntrain: {seed: *b}\n",
        "train: &t {steps: 3}\nmodel: *t\n",
        "!!python/object/apply:os.system ['true']",
        "train: {steps: !!python/object/apply:os.system ['true']}",
        "[" * 3000,
        "train: {steps: [1, 2]}",
        "- 1",
        "\x00",
        "",
    ],
)
def test_settings_that_are_a_trap_are_refused(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError):
        run_folder.run_config(tmp_path)


def test_a_checkpoint_that_lies_is_refused(tmp_path):
    """Its hashes are right: whoever made it can compute them too."""
    expected = {"a": torch.zeros(3)}
    for lie in ({"a": torch.zeros(4)}, {"b": torch.zeros(3)}, {"a": torch.full((3,), torch.nan)}):
        checkpoints.save_checkpoint(tmp_path, 1, lie, {})
        with pytest.raises(FormatError, match=r"No checkpoint in .* can be read"):
            checkpoints.latest_checkpoint(tmp_path, expected)
    checkpoints.save_checkpoint(tmp_path, 1, expected, {})
    assert checkpoints.latest_checkpoint(tmp_path, {**expected, "c": torch.zeros(9)}, optional=["c"])
    state = {**checkpoints._read_state(tmp_path / "step-000000001"), "format_version": 9}
    atomic.write_json(tmp_path / "step-000000001" / "state.json", {"state": state, "check": checkpoints._check(state)})
    with pytest.raises(FormatError, match="format version 9, not 1"):
        checkpoints.latest_checkpoint(tmp_path, expected)
    os.truncate(tmp_path / "step-000000001" / "state.json", 10 << 30)
    with pytest.raises(FormatError, match="10,737,418,240 bytes"):
        checkpoints.latest_checkpoint(tmp_path, expected)


def test_code_files_that_are_a_trap_are_refused(tmp_path):
    """A zip bomb is compressed, and ours are not; an array that says it is huge has not the bytes."""
    path = tmp_path / "codes.npz"
    codes = Codes(np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), ["a", "b"], "m")
    save_codes(codes, path)
    assert load_codes(path).names == ["a", "b"]
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    bomb = members["mean.npy"].replace(b"(2, 3)", b"(2000000000, 3)"[:6])
    for changed, compression in (
        ({"mean.npy": members["mean.npy"] + bytes(50 << 20)}, zipfile.ZIP_DEFLATED),
        ({"mean.npy": _npy("(9000000000, 3)")}, zipfile.ZIP_STORED),
        ({"names.npy": _npy("(9000000000,)")}, zipfile.ZIP_STORED),
        ({"mean.npy": bomb[:-1]}, zipfile.ZIP_STORED),
        ({"mean.npy": pickle.dumps(1)}, zipfile.ZIP_STORED),
    ):
        with zipfile.ZipFile(path, "w", compression) as file:
            for name, content in {**members, **changed}.items():
                file.writestr(name, content)
        with pytest.raises(FormatError, match="not a code file"):
            load_codes(path)


def _npy(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_memory_stays_what_it_was(folder):
    """None of the traps above is paid for in memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("a header of 8 EB", "a header of 100 MB", "shapes without end"):
        (folder / "model.safetensors").write_bytes(BOMBS[name]())
        with pytest.raises(FormatError):
            betabloom.load(folder)
    os.truncate(folder / "model.safetensors", 10 << 30)
    with pytest.raises(FormatError):
        betabloom.load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KB


def test_what_was_saved_here_is_never_refused(tmp_path):
    """The checks know all types that our models have."""
    values = {name: torch.zeros(2, dtype=dtype) for name, dtype in tensors.TYPES.items()}
    save_file(values, tmp_path / "a")
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert tensors.read_tensors(tmp_path / "a", values, digest).keys() == values.keys()
