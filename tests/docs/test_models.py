"""The page "The parts of a model" says what there is: its names are those of the tables, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from betabloom.networks.spec import FAMILIES
from betabloom.samplers.table import SAMPLERS
from betabloom.vae.likelihood import LIKELIHOODS
from betabloom.vae.objective import REGULARISERS
from betabloom.vae.posterior import POSTERIORS
from betabloom.vae.prior import PRIORS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TABLES = {
    "posterior": POSTERIORS, "likelihood": LIKELIHOODS, "prior": PRIORS, "regulariser": REGULARISERS,
    "network": FAMILIES, "sampler": SAMPLERS,
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_the_page_names_all_there_are(kind):
    (row,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {kind} |"))
    names, link = row.split(" | ")[2:]
    assert re.findall(r"`([^`]+)`", names) == list(TABLES[kind])
    assert (PAGE.parent / re.search(r"\((.+)\)", link)[1]).is_file()


def test_the_python_runs(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(code, "models.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "encoder.body.0 centre (3, 32, 32) 0"
    assert any(line.startswith("encoder.lower linear (28,)") for line in lines)
