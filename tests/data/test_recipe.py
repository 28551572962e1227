"""Pipelines as people write them: a name, a line, a file; always the same chain, and always the size asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from betabloom.data import Pipeline
from betabloom.data.pictures.recipe import NAMED, inline
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (64, 96)
LINE = "resize:150%:outside,crop,blur:1.5,gamma:1.6:1.1,saturation:1.3"
STEPS = [
    {"op": "resize", "height": 96, "width": 144, "fit": "outside"},
    {"op": "crop", "height": 64, "width": 96},
    {"op": "blur", "sigma": 1.5},
    {"op": "gamma", "gamma": 1.6, "gain": 1.1},
    {"op": "saturation", "factor": 1.3},
]
YAML = """
steps:
  - resize: {size: 150%, fit: outside}
  - crop
  - blur: 1.5
  - gamma: [1.6, 1.1]
  - {op: saturation, factor: 1.3}
"""
LIST = """
- resize:150%:outside
- crop:96x64
- blur:1.5
- gamma: {gamma: 1.6, gain: 1.1}
- saturation: 1.3
"""


def test_one_chain_in_every_way_of_writing_it(tmp_path: Path) -> None:
    wanted = Pipeline.from_dict({"name": "x", "steps": STEPS})
    (tmp_path / "soft.yaml").write_text(YAML)
    (tmp_path / "list.yml").write_text(LIST)
    (tmp_path / "dict.json").write_text(json.dumps(wanted.to_dict()))
    named = "resize:size=150%:fit=outside, crop:100% ,blur:sigma=1.5,gamma:1.6:gain=1.1,saturation:1.3"
    for text in (LINE, named, tmp_path / "soft.yaml", tmp_path / "list.yml", str(tmp_path / "dict.json")):
        assert Pipeline.parse(text, SIZE).steps == wanted.steps, text


def test_the_name_is_the_chain_in_one_line(tmp_path: Path) -> None:
    pipeline = Pipeline.parse(LINE, SIZE)
    assert pipeline.name == "resize:144x96:outside,crop:96x64,blur:1.5,gamma:1.6:1.1,saturation:1.3"
    assert Pipeline.parse(pipeline.name, SIZE) == pipeline
    assert Pipeline.parse(pipeline.name) == pipeline
    (tmp_path / "e.json").write_text(json.dumps(Pipeline.named("enhance", SIZE).to_dict()))
    assert Pipeline.parse(tmp_path / "e.json", SIZE).name == "enhance"


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("channels", [1, 3])
def test_named_pipelines_are_names_for_lines(name: str, channels: int) -> None:
    pipeline = Pipeline.named(name, SIZE, channels)
    assert Pipeline.parse(name, SIZE, channels) == pipeline
    assert Pipeline.parse(inline(pipeline.steps), SIZE, channels) == pipeline


pixels, factors = st.integers(1, 200), st.floats(0, 100)
fits, names = st.sampled_from(["inside", "fill"]), st.sampled_from(["brightness", "saturation", "sharpness"])
steps = st.one_of(
    st.builds(lambda h, w: {"op": "resize", "height": h, "width": w}, pixels, pixels),
    st.builds(lambda h, f: {"op": "resize", "height": h, "width": h, "fit": f}, pixels, fits),
    st.builds(lambda h, w: {"op": "crop", "height": h, "width": w}, pixels, pixels),
    st.builds(lambda h, c: {"op": "pad", "height": h, "width": h, "colour": c}, pixels,
              st.lists(st.integers(0, 255), min_size=3, max_size=3)),
    st.builds(lambda v: {"op": "blur", "sigma": v}, st.floats(0.01, 1000)),
    st.builds(lambda v, g: {"op": "gamma", "gamma": v, "gain": g}, st.floats(0.01, 100), factors),
    st.builds(lambda op, v: {"op": op, "factor": v}, names, factors),
    st.just({"op": "autocontrast"}),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=6), st.sampled_from([1, 3]))
def test_any_chain_survives_one_line_and_json(chain: list[dict[str, Any]], channels: int) -> None:
    chain.append({"op": "resize", "height": 8, "width": 12})
    chain[:0] = [{"op": "grey"}] if channels == 1 else []
    pipeline = Pipeline("x", tuple(chain))
    assert Pipeline.parse(inline(pipeline.steps), (8, 12), channels).steps == pipeline.steps
    assert Pipeline.from_dict(json.loads(json.dumps(pipeline.to_dict()))) == pipeline


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "line", ["", "blur:1", "crop:50%", "resize:20,crop:10", "autocontrast,resize:7x5:inside", "pad"]
)
@pytest.mark.parametrize("size", [(16, 16), (9, 30)])
def test_a_chain_ends_at_the_target(line: str, size: tuple[int, int], channels: int) -> None:
    pipeline = Pipeline.parse(line, size, channels)
    assert (pipeline.height, pipeline.width, pipeline.channels) == (*size, channels)
    assert pipeline(Image.new("RGB", (40, 30))).shape == (*size, channels)


def test_colour_steps_alone_work_at_the_target() -> None:
    assert [step["op"] for step in Pipeline.parse("blur:1,saturation:2", SIZE).steps] == [
        "resize",
        "blur",
        "saturation",
    ]
    assert [step["op"] for step in Pipeline.parse("blur:1", SIZE, 1).steps] == ["grey", "resize", "blur"]


def test_shares_of_the_target_suit_every_size() -> None:
    for side in (32, 64, 136):
        pipeline = Pipeline.parse("resize:200%,crop:100%,blur:3%", (side, side))
        assert pipeline.steps[0]["height"] == 2 * side
        assert pipeline.steps[2]["sigma"] == pytest.approx(0.03 * side, abs=1e-4)


def test_padding_keeps_the_whole_picture() -> None:
    picture = np.asarray(Pipeline.named("pad", (16, 32))(Image.new("RGB", (10, 10), "red")))
    assert (picture[:, 8:24] == (255, 0, 0)).all()
    assert (picture[:, :8] == 255).all()
    assert (picture[:, 24:] == 255).all()
    black = Pipeline.parse(
        "resize:inside,pad::black".replace(":inside", ":100%:inside").replace("::", ":100%:"), (16, 32)
    )
    assert (black(Image.new("RGB", (10, 10), "red"))[:, :8] == 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such", "there is no step 'no-such'; choose from resize, crop"),
        ("blur:wide", "'sigma' of 'blur' should be a number"),
        ("blur", "'blur' needs 'sigma'"),
        ("blur:1:2", "'blur' takes sigma, and 2 were given"),
        ("grey:1", "'grey' takes no value, and 1 were given"),
        ("resize:big", "a size is written as 64, 96x64"),
        ("resize:0", "a whole number of pixels from 1"),
        ("resize:99999", "a whole number of pixels from 1"),
        ("resize:-5%", "a share of the target is written as 150%"),
        ("pad:8:sky", "there is no colour 'sky'"),
        ("resize:8:snug", "one of cover"),
        ("blur:colour=red", "'blur' has no 'colour'"),
        ("grey,blur:1", "add --channels 1"),
        ("missing.yaml", "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_meant_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pipeline.parse(text, SIZE)


NO_CHAINS = ["", "5", "steps: 3", "{", "- [1]", "- 5", "- {op: [1]}", "a: b", "- {blur: 1, crop: 2}", "- {1: 2}"]
NO_CHAINS += ["- !!python/object/apply:os.system [echo]", "- blur: {1: 2}"]


@pytest.mark.parametrize("content", NO_CHAINS)
def test_a_file_that_holds_no_chain_is_explained(tmp_path: Path, content: str) -> None:
    for name in ("a.yaml", "a.json"):
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError):
            Pipeline.parse(tmp_path / name, SIZE)


def test_without_a_target_the_chain_fixes_the_size() -> None:
    assert Pipeline.parse("resize:96x64,blur:1").width == 96
    for text, message in (("blur:1", "does not fix"), ("crop:50%", "write pixels"), ("enhance", "needs a size")):
        with pytest.raises(UsageError, match=message):
            Pipeline.parse(text)
