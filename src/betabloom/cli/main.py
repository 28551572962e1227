"""The command line: `betabloom VERB [SOURCE or MODEL] [options]`.

Every command is a few lines of calls into the library. Results go to -o; one line on stdout says what was made and
where; logs and progress go to stderr; --json prints the same as data. Exit code 0: done, 1: failed, 2: wrong use,
130: stopped.
Only the module of the command that is asked for is imported, and nothing heavy before it is needed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import TYPE_CHECKING

from betabloom.cli.command import Command, table
from betabloom.errors import UsageError
from betabloom.system.names import release_names
from betabloom.system.surroundings import check_memory, failure, open_closed_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "command", "main"]

# What people do, and the commands for it: name → module in this folder and function.
GROUPS: dict[str, dict[str, str]] = {
    "Make pictures": {
        "generate": "generate.generate",
        "vary": "codes.vary",
        "reconstruct": "codes.reconstruct",
        "share": "share.share",
    },
    "Explore what a model learned": {
        "traverse": "latent.traverse",
        "morph": "latent.morph",
        "mix": "latent.mix",
        "more-like": "latent.more_like",
        "directions": "landscape.directions",
        "map": "landscape.map_",
        "studio": "studio.studio",
    },
    "Use a model as a tool": {
        "inpaint": "restore.inpaint",
        "denoise": "restore.denoise",
        "anomaly": "restore.anomaly",
        "similar": "restore.similar",
        "embed": "codes.embed",
        "compress": "restore.compress",
        "decompress": "restore.decompress",
    },
    "Look at your pictures": {
        "inspect": "data.inspect",
        "preview": "data.preview",
        "prepare": "scale.prepare",
        "shard": "scale.shard",
        "fetch": "data.fetch",
    },
    "Train a model": {
        "train": "train.train",
        "runs": "runs.runs",
        "report": "runs.report",
    },
    "Improve a model": {
        "sharpen": "refine.sharpen",
        "enlarge": "refine.enlarge",
        "refit": "refine.refit",
    },
    "Take a model elsewhere": {
        "export": "export.export",
        "push": "hub.push",
        "pull": "hub.pull",
    },
    "Measure, and work with codes": {
        "evaluate": "evaluate.evaluate",
        "atlas": "atlas.atlas",
        "encode": "codes.encode",
        "decode": "codes.decode",
        "info": "info.info",
    },
    "Free disk space": {
        "cache list": "cache.list_",
        "cache clear": "cache.clear",
    },
}
COMMANDS = {name: home for group in GROUPS.values() for name, home in group.items()}
WITH_MODELS = {name for title in ("Explore what a model learned", "Use a model as a tool") for name in GROUPS[title]}

FIRST_STEPS = (
    ("betabloom generate", "64 new flowers from the bundled model"),
    ("betabloom inspect photos", "what is in a folder of yours, and whether it is enough"),
    ("betabloom train photos --budget 30m", "learn from it"),
    ("betabloom generate runs/photos-…", "new pictures from your model"),
)


def main() -> None:
    """Run the command line; turn expected errors into a sentence and an exit code."""
    # By default the threads of a step wait for one another by spinning, and when another program is busy on the same
    # cores a step takes ten times as long. Read when torch is loaded; docs/log.md has the numbers.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    open_closed_streams()
    try:
        if not {"-h", "--help", "--version"} & set(sys.argv[1:]):
            check_memory()
        run(sys.argv[1:])
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        _fail(*failure(error))


def run(words: Sequence[str]) -> None:
    """Do what is typed after "betabloom".

    Raises:
        UsageError: It cannot be done as it is typed.
        BetabloomError: It failed.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())  # noqa: T201
    elif words[0] == "--version":
        from betabloom.version import __version__

        print(f"betabloom {__version__}")  # noqa: T201
    else:
        name, rest = _split(words)
        if name in WITH_MODELS and "numpy" not in sys.modules:  # `NumpyModel` has threads of its own
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            command(name)(rest)
        finally:
            release_names()


def command(name: str) -> Command:
    """The command of that name, such as "generate" or "cache list"."""
    module, function = COMMANDS[name].split(".")
    return Command(name, getattr(importlib.import_module(f"betabloom.cli.{module}"), function))


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The name of the command and what follows it."""
    for length in (1, 2):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, list(words[length:])
    from betabloom.config import guess

    of_group = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if of_group:
        raise UsageError(f"Type one of: {', '.join(f'betabloom {name}' for name in of_group)}")
    if words[0].startswith("-"):
        raise UsageError(f"There is no option {words[0]} before a command. Type: betabloom --help")
    raise UsageError(f"There is no command {words[0]!r}.{guess(words[0], COMMANDS)} Type: betabloom --help")


def overview() -> str:
    """The help of the whole: first steps, and all commands by what people do with them."""
    parts = [
        "Usage: betabloom COMMAND [options]",
        "Learn from a folder of pictures, and make new ones (a β-VAE).",
        "First steps:\n" + "\n".join(f"  {typed.ljust(38)}{meaning}" for typed, meaning in FIRST_STEPS),
    ]
    parts += [f"{title}:\n" + table((name, command(name).summary) for name in group) for title, group in GROUPS.items()]
    parts.append("To read about a command, type: betabloom COMMAND --help. Version: betabloom --version")
    return "\n\n".join(parts)


def _fail(message: str, code: int) -> None:
    """Say what went wrong: a sentence on stderr, and with --json the same as JSON on stdout."""
    if not message:  # nobody reads stdout any more: what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(code)
    print(f"betabloom: {message}", file=sys.stderr)  # noqa: T201
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}))  # noqa: T201
    sys.exit(code)
