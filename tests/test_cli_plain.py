"""Options that are converted without pydantic have the values, and the refusals, that typer gives them."""

from __future__ import annotations

import shlex
from pathlib import Path  # noqa: TC003  (typer reads the annotations)
from typing import Annotated, Any

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from betabloom.cli.plain import Plain, PlainGroup


def made(group, command):
    """A command line with an option of every kind, and the list that its values go to."""
    app, values = typer.Typer(cls=group, rich_markup_mode=None, add_completion=False), []

    @app.callback()
    def _root(flag: Annotated[bool, typer.Option("--flag")] = False) -> None:
        values.append(flag)

    @app.command(cls=command)
    def run(
        place: Annotated[Path | None, typer.Argument()] = None,
        n: Annotated[int, typer.Option("-n", min=1, max=2000)] = 4,
        any_number: Annotated[int | None, typer.Option()] = None,
        share: Annotated[float, typer.Option(min=0)] = 1,
        text: Annotated[str | None, typer.Option()] = None,
        known: Annotated[Path | None, typer.Option(exists=True)] = None,
        each: Annotated[list[str] | None, typer.Option()] = None,
        yes: Annotated[bool, typer.Option("--yes")] = False,
    ) -> None:
        values.extend([place, n, any_number, share, text, known, each, yes])

    return app, values


LINES = [
    "", "a/b.png", "-n 3", "-n 007", "-n 0", "-n 2001", "-n -1", "-n 1.5", "-n 1_000", "-n ' 5'", "-n x",
    "-n ''", "-n ٣", "-n 99999999999999999999", "--any-number -5", "--any-number 99999999999999999999",
    "--share 0.5", "--share 2", "--share .5", "--share 5.", "--share .", "--share -0.1", "--share 1e-3",
    "--share inf", "--share nan", "--share x", "--text ''", "--text=-", "--text 5", "--known .",
    "--known no-such-file", "--each a --each b", "--yes", "--no-such", "a b",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_values_and_refusals_are_those_of_typer(line):
    results: list[Any] = []
    for group, command in ((TyperGroup, TyperCommand), (PlainGroup, Plain)):
        app, values = made(group, command)
        done = CliRunner().invoke(app, ["--flag", "run", *shlex.split(line)])
        results.append((done.exit_code, done.output, [(type(value), repr(value)) for value in values]))
    assert results[0] == results[1]
    assert (results[0][0] == 0) == (len(results[0][2]) == 9)
