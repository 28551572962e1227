"""The page "The scikit-learn estimator": its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn", minversion="1.6")

PAGE = (Path(__file__).parents[2] / "docs" / "estimator.md").read_text(encoding="utf-8")


def test_its_example_runs_and_classifies(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    faster = code.replace("max_iter=200", "max_iter=80")
    found = {}
    exec(compile(faster, "estimator.md", "exec"), found)
    assert found["new"].shape == (16, 64)
    assert float(re.search(r"accuracy: ([\d.]+)", capsys.readouterr().out)[1]) > 0.5
