"""The page "How pictures are read": its Python runs, and its options are those of the reading."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from betabloom.data import Reading

PAGE = (Path(__file__).parents[2] / "docs" / "pictures.md").read_text(encoding="utf-8")


def test_the_python_on_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(code, "pictures.md", "exec"), {})


def test_every_way_to_read_pictures_is_on_the_page() -> None:
    for field in dataclasses.fields(Reading):
        assert f"`{field.name}`" in PAGE
