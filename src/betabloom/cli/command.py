"""From a function to a command: its parameters are the arguments and options, its docstring is the help.

    def vary(picture: Annotated[str, Argument("A picture.")], n: Annotated[int, Option("-n", help="How many.")] = 15)

`Command("vary", vary)(["a.jpg", "-n", "3"])` calls it. A parameter may also stand for several options: it is annotated
with a dataclass, whose fields are annotated as parameters are, and have defaults. Only what a command line needs that
argparse does not give is written here: help that is not cut, with every default; and for a misspelt option, a guess.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import re
import shutil
import textwrap
import types
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Argument", "Command", "Option", "table"]

INDENT = 24  # columns before the explanation of an option


@dataclass(frozen=True)
class Argument:
    """A word without a dash: what it means, and what it is called."""

    help: str
    metavar: str = ""


class Option:
    """An option, with one or two dashes.

    Arguments:
        names: How it is typed; "--" and the name of the parameter if left out.
        help: What it means. Its default is added.
        metavar: What its value is called.
        minimum: Of a number.
        maximum: Of a number.
        group: The heading that it stands under in the help.
        default: How the default is described, where it is not the parameter's own.
    """

    def __init__(
        self,
        *names: str,
        help: str = "",  # noqa: A002  (as argparse has it)
        metavar: str = "",
        minimum: float | None = None,
        maximum: float | None = None,
        group: str = "Options",
        default: str = "",
    ) -> None:
        self.names, self.help, self.metavar, self.group, self.default = names, help, metavar, group, default
        self.minimum, self.maximum = minimum, maximum


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function, as argparse and the help need it."""

    name: str
    kind: type
    many: bool
    default: Any
    about: Argument | Option

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def names(self) -> tuple[str, ...]:
        """How the option is typed."""
        assert isinstance(self.about, Option)  # noqa: S101  (for the type checker)
        return self.about.names or ("--" + self.name.replace("_", "-"),)

    @property
    def metavar(self) -> str:
        """What its value is called."""
        kinds: dict[type, str] = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}
        return self.about.metavar or (self.name.upper() if isinstance(self.about, Argument) else kinds[self.kind])

    def term(self) -> str:
        """The left column of the help: "-o, --out PATH"."""
        if isinstance(self.about, Argument):
            return self.metavar
        return ", ".join(self.names) + ("" if self.kind is bool else f" {self.metavar}")

    def explanation(self) -> str:
        """The right column of the help."""
        text = self.about.help
        if isinstance(self.about, Option):
            shown = self.about.default or ("" if self.default in (None, False, "") else str(self.default))
            text += f" [default: {shown}]" if shown else ""
        return text

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Tell argparse about an option."""
        if self.kind is bool:
            parser.add_argument(*self.names, dest=self.name, action="store_true")
        else:
            action = "append" if self.many else "store"
            parser.add_argument(*self.names, dest=self.name, action=action, default=self.default, type=self.read)

    def read(self, text: str) -> Any:
        """The value that a person typed."""
        try:
            value = self.kind(text)
        except ValueError:
            wanted = "a whole number" if self.kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text[:40]!r}") from None
        if self.kind is float and not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"must be a finite number, not {text[:40]}")
        assert isinstance(self.about, Option)  # noqa: S101  (for the type checker)
        low, high = self.about.minimum, self.about.maximum
        if low is not None and not value >= low:
            raise argparse.ArgumentTypeError(f"must be at least {low:g}, not {text[:40]}")
        if high is not None and not value <= high:
            raise argparse.ArgumentTypeError(f"must be at most {high:g}, not {text[:40]}")
        return value


class Command:
    """A command made of a function.

    Arguments:
        name: How it is typed.
        function: Its parameters are annotated with `Argument` or `Option`, or with a dataclass whose fields are. Such a
            parameter may have an instance as its default, for other defaults than those of the fields.
    """

    def __init__(self, name: str, function: Callable[..., None]) -> None:
        self.name, self.function = name, function

    @cached_property
    def hints(self) -> dict[str, tuple[Any, Any]]:
        """How each parameter of the function is annotated, and its default. Not read for the list of all commands."""
        hints = inspect.get_annotations(self.function, eval_str=True)
        return {name: (hints[name], each.default) for name, each in inspect.signature(self.function).parameters.items()}

    @property
    def bundles(self) -> dict[str, Any]:
        """The parameters that stand for several options."""
        return {name: hint for name, (hint, _) in self.hints.items() if dataclasses.is_dataclass(hint)}

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The arguments and options, in the order of the function's parameters."""
        found: list[Parameter] = []
        for name, (hint, default) in self.hints.items():
            found += _fields(hint, default) if name in self.bundles else [_parameter(name, hint, default)]
        return found

    @property
    def options(self) -> set[str]:
        """All that may be typed with a dash."""
        own = {name for each in self.parameters if isinstance(each.about, Option) for name in each.names}
        return own | {"-h", "--help"}

    def __call__(self, words: Sequence[str]) -> None:
        """Do what is typed after the name of the command."""
        if {"-h", "--help"} & set(words[: words.index("--") if "--" in words else None]):
            print(self.help())  # noqa: T201
        else:
            self.function(**self.parse(words))

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of all parameters.

        Raises:
            UsageError: Something is missing, unknown or no value for its option.
        """
        self._check_options(words)
        parser = _Parser(prog=f"betabloom {self.name}", add_help=False, allow_abbrev=False)
        for each in self.parameters:
            if isinstance(each.about, Option):
                each.add(parser)
        end = list(words).index("--") if "--" in words else len(words)  # what follows is no option
        values, plain = parser.parse_known_args(list(words[:end]))
        return self._bundled(self._arguments([*plain, *words[end + 1 :]]) | vars(values))

    def _bundled(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values as the function takes them: those that are fields of a dataclass, in it."""
        bundles = {
            name: kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in self.bundles.items()
        }
        return values | bundles

    def _arguments(self, words: list[str]) -> dict[str, Any]:
        """The words that are no options, as the arguments take them, one after the other."""
        values: dict[str, Any] = {}
        for each in self.parameters:
            if isinstance(each.about, Option):
                continue
            if not words and each.required:
                raise UsageError(f"{each.metavar} is missing. Type: betabloom {self.name} --help")
            taken, words = (words, []) if each.many else (words[:1], words[1:])
            found = [each.kind(word) for word in taken]
            values[each.name] = (found if each.many else found[0]) if found else each.default
        if words:
            raise UsageError(f"{words[0]!r} is one word too many. Type: betabloom {self.name} --help")
        return values

    def _check_options(self, words: Sequence[str]) -> None:
        """Refuse an option that does not exist, with a guess which one is meant."""
        options = self.options
        for word in words:
            option = word.split("=", 1)[0]
            if word == "--":
                return
            if re.fullmatch(r"--?[A-Za-z].*", option) and option not in options and word[:2] not in options:
                from betabloom.config import guess

                where = f"Type: betabloom {self.name} --help"
                raise UsageError(f"There is no option {option}.{guess(option, options)} {where}")

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return self.description().split("\n\n")[0].replace("\n", " ")

    def description(self) -> str:
        """What it does, in paragraphs."""
        return (inspect.getdoc(self.function) or "").partition("\nExamples:\n")[0].strip()

    def examples(self) -> str:
        """Lines that may be typed; "" if there are none."""
        return textwrap.dedent((inspect.getdoc(self.function) or "").partition("\nExamples:\n")[2]).rstrip()

    def usage(self) -> str:
        """The line that says what to type."""
        words = [
            (f"{each.metavar} …" if each.many else each.metavar) if each.required else f"[{each.metavar}]"
            for each in self.parameters
            if isinstance(each.about, Argument)
        ]
        return " ".join(["betabloom", self.name, *words, "[options]"])

    def help(self) -> str:
        """Usage, description, examples, arguments and options."""
        described = self.description().split("\n\n")
        parts = [f"Usage: {self.usage()}", *(textwrap.fill(part, _width()) for part in described)]
        if examples := self.examples():
            parts.append("Examples:\n" + textwrap.indent(examples, "  "))
        for heading, rows in self.rows().items():
            parts.append(f"{heading}:\n" + table(rows))
        return "\n\n".join(parts)

    def rows(self) -> dict[str, list[tuple[str, str]]]:
        """What stands under each heading of the help: an argument or option, and its explanation."""
        found: dict[str, list[tuple[str, str]]] = {}
        for each in self.parameters:
            heading = each.about.group if isinstance(each.about, Option) else "Arguments"
            found.setdefault(heading, []).append((each.term(), each.explanation()))
        found.setdefault("Options", []).append(("-h, --help", "Print this help and exit."))
        found["Options"] = found.pop("Options")  # at the end: what all commands have
        return found


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, the second wrapped to the width of the terminal and never cut."""
    lines = []
    for term, text in rows:
        wrapped = textwrap.wrap(text, _width() - INDENT) or [""]
        first = f"  {term}".ljust(INDENT)
        lines += [first + wrapped.pop(0)] if len(term) <= INDENT - 4 else [first]
        lines += [" " * INDENT + line for line in wrapped]
    return "\n".join(lines)


def _width() -> int:
    return max(60, min(100, shutil.get_terminal_size().columns))


class _Parser(argparse.ArgumentParser):
    """argparse, which raises in place of leaving the program."""

    def error(self, message: str) -> typing.NoReturn:
        text = re.sub(r"^argument (\S+): (?=must)", r"\1 ", message)
        text = re.sub(r"^argument (\S+): expected one argument", r"\1 needs a value", text)
        raise UsageError(f"{text}. Type: {self.prog} --help")


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    """What `Annotated[int | None, Option(…)] = None` says."""
    base, about = typing.get_args(hint)
    if typing.get_origin(base) in (types.UnionType, typing.Union):
        base = next(each for each in typing.get_args(base) if each is not type(None))
    many = typing.get_origin(base) is list
    return Parameter(name, typing.get_args(base)[0] if many else base, many, default, about)


def _fields(kind: Any, defaults: Any) -> list[Parameter]:
    """What the fields of a dataclass say; their defaults are those of an instance, if there is one."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        _parameter(field.name, hints[field.name], getattr(defaults, field.name, field.default))
        for field in dataclasses.fields(kind)
    ]
