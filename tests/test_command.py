"""Commands made of functions: values, refusals, guesses, and help that says everything."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pytest

from betabloom.cli.command import Argument, Command, Option
from betabloom.cli.main import COMMANDS, GROUPS, command, overview, run
from betabloom.cli.options import print_result
from betabloom.errors import UsageError


def grow(
    model: Annotated[Path | None, Argument("Which.", "MODEL")] = None,
    n: Annotated[int, Option("-n", minimum=1, help="How many.")] = 4,
    share: Annotated[float, Option(minimum=0, maximum=1, help="Of all.")] = 0.5,
    text_of_it: Annotated[str | None, Option(help="Words.")] = None,
    each: Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any.")] = None,
    yes: Annotated[bool, Option("--yes", help="Do it.")] = False,
) -> None:
    """Grow flowers.

    Examples:
      betabloom grow m -n 3
    """


def pick(given: Annotated[list[str], Argument("What.", "FLOWERS")], n: Annotated[int, Option("-n")] = 1) -> None:
    """Pick flowers."""


@dataclass(frozen=True)
class Water:
    """How flowers are watered."""

    litres: Annotated[float, Option(minimum=0, help="How much.")] = 2.5
    rain: Annotated[bool, Option("--rain", group="Weather", help="Wait for rain.")] = False
    days: Annotated[list[str] | None, Option("--on", metavar="DAY", help="When.")] = None


SPARING = Water(litres=0.25)


def tend(
    flower: Annotated[str, Argument("Which.", "FLOWER")], *, water: Water, n: Annotated[int, Option("-n")] = 1
) -> None:
    """Tend a flower."""


def spare(water: Water = SPARING) -> None:
    """Water a flower a little."""


USUAL = {"model": None, "n": 4, "share": 0.5, "text_of_it": None, "each": None, "yes": False}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["m"], {"model": Path("m")}),
        (["-n", "3", "m", "--yes"], {"model": Path("m"), "n": 3, "yes": True}),
        (["-n3", "--share=0.25"], {"n": 3, "share": 0.25}),
        (["--text-of-it", "a b", "--set", "a=1", "--set", "b=2"], {"text_of_it": "a b", "each": ["a=1", "b=2"]}),
        (["--share", "1e-3"], {"share": 1e-3}),
        (["--", "-m"], {"model": Path("-m")}),
        (["--text-of-it", "-"], {"text_of_it": "-"}),
    ],
)
def test_words_become_values(words, changed):
    assert Command("grow", grow).parse(words) == USUAL | changed


def test_options_may_stand_between_many_words():
    assert Command("pick", pick).parse(["a", "-n", "2", "b", "c"]) == {"given": ["a", "b", "c"], "n": 2}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["--litres", "3"], {"litres": 3.0}),
        (["--on", "monday", "--rain", "--on", "friday"], {"rain": True, "days": ["monday", "friday"]}),
    ],
)
def test_the_fields_of_a_dataclass_are_options_and_arrive_together(words, changed):
    wanted = {"flower": "rose", "n": 2, "water": replace(Water(), **changed)}
    assert Command("tend", tend).parse([*words, "rose", "-n", "2"]) == wanted
    assert Command("spare", spare).parse(words) == {"water": replace(SPARING, **changed)}


def test_options_in_a_dataclass_are_described_in_their_place_with_their_own_defaults():
    assert [each.name for each in Command("tend", tend).parameters] == ["flower", "litres", "rain", "days", "n"]
    assert list(Command("tend", tend).rows()) == ["Arguments", "Weather", "Options"]
    assert "How much. [default: 2.5]" in Command("tend", tend).help()
    assert "How much. [default: 0.25]" in Command("spare", spare).help()
    with pytest.raises(UsageError, match="--litres must be at least 0"):
        Command("tend", tend).parse(["rose", "--litres", "-1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "0"], "-n must be at least 1, not 0"),
        (["-n", "two"], "-n must be a whole number, not 'two'"),
        (["-n", "1" * 5000], "-n must be a whole number"),
        (["--share", "nan"], "--share must be a finite number, not nan"),
        (["--share", "1.5"], "--share must be at most 1"),
        (["--share", "inf"], "--share must be a finite number, not inf"),
        (["-n"], "-n needs a value"),
        (["--shaer", "1"], r"no option --shaer\. Did you mean '--share'\?"),
        (["--yse"], r"no option --yse\. Did you mean '--yes'\?"),
        (["--sha", "1"], "no option --sha"),
        (["m", "another"], "'another' is one word too many"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence_that_says_what_to_type(words, message):
    with pytest.raises(UsageError, match=message) as error:
        Command("grow", grow).parse(words)
    assert "betabloom grow --help" in str(error.value)


def test_what_is_missing_is_named():
    with pytest.raises(UsageError, match="FLOWERS is missing"):
        Command("pick", pick).parse([])


def test_help_has_the_summary_the_examples_and_every_default():
    text = Command("grow", grow).help()
    assert text.startswith(
        "Usage: betabloom grow [MODEL] [options]\n\nGrow flowers.\n\nExamples:\n  betabloom grow m -n 3"
    )
    assert "  -n NUMBER             How many. [default: 4]" in text
    assert "Of all. [default: 0.5]" in text
    assert "  --yes                 Do it.\n" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_all_its_options_and_shows_how_to_type_it(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    this = command(name)
    lines = this.help().splitlines()
    assert max(map(len, lines)) <= 80 or max(len(line) for line in lines if not line.startswith("  betabloom")) <= 80
    assert all(each.about.help for each in this.parameters if each.name != "what"), name
    assert len({each.name for each in this.parameters}) == len(this.parameters)
    assert "…" not in this.summary
    assert this.summary.endswith((".", ")", "?"))


def test_the_overview_lists_every_command_once_and_cuts_nothing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = overview()
    for group, names in GROUPS.items():
        assert f"\n{group}:\n" in text
        for name in names:
            assert text.count(f"\n  {name} ") == 1, name
            assert command(name).summary.split()[-1] in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generated"], r"no command 'generated'\. Did you mean 'generate'\?"),
        (["cache"], "betabloom cache list, betabloom cache clear"),
        (["--verbose"], "no option --verbose before a command"),
    ],
)
def test_a_command_that_does_not_exist_is_met_with_a_guess(words, message):
    with pytest.raises(UsageError, match=message):
        run(words)


def test_what_a_program_reads_is_json_also_when_it_fails(capsys, monkeypatch):
    import json
    import sys

    from betabloom.cli.main import main

    monkeypatch.setattr(sys, "argv", ["betabloom", "generate", "-n", "0", "--json"])
    with pytest.raises(SystemExit, match="2"):
        main()
    out, err = capsys.readouterr()
    assert json.loads(out)["exit_code"] == 2
    assert json.loads(out)["error"] in err


def test_what_json_prints_can_be_read_by_what_knows_no_infinity(capsys):
    print_result(True, "", low=float("-inf"), rows=[(1.5, float("nan"))], inner={"n": 3, "high": float("inf")})
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed == {"low": None, "rows": [[1.5, None]], "inner": {"n": 3, "high": None}}
