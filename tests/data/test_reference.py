"""Every operation, and the chains `justcrop` and `enhance`, agree with their published definitions to one grey level.

The reference values in `reference/operations.json` were computed by `reference/operations.py`, which names the source
of each formula and shares no code with the package.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from betabloom.data import Pipeline

FOLDER = Path(__file__).parent / "reference"
REFERENCES: dict[str, Any] = json.loads((FOLDER / "operations.json").read_text(encoding="utf-8"))


def operations() -> Any:
    spec = importlib.util.spec_from_file_location("operations", FOLDER / "operations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", REFERENCES)
def test_to_one_grey_level(name: str) -> None:
    wanted = np.rint(REFERENCES[name])
    image = Image.fromarray(np.array(operations().picture(), dtype=np.uint8))
    height, width, channels = wanted.shape
    is_named = name in ("justcrop", "enhance")
    if is_named or name.startswith(("resize", "crop", "pad")):
        result = Pipeline.parse(name, (height, width))(image)
    else:
        result = Pipeline.parse(f"crop:{width}x{height},{name}", (height, width), channels)(image)
    assert np.abs(result - wanted).max() <= 1


def test_the_stored_values_are_those_of_the_formulas() -> None:
    again = operations().references()
    assert set(again) == set(REFERENCES)
    for name, values in again.items():
        np.testing.assert_allclose(values, REFERENCES[name], atol=0.011, err_msg=name)
