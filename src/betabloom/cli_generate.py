"""`betabloom generate`: new pictures, and the command that makes a picture again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from betabloom.cli_options import Device, Force, Json, ModelArgument, Out, Seed, free_path, say
from betabloom.cli_pictures import load_model, write_pictures

__all__ = ["again", "app"]

app = typer.Typer()


@app.command()
def generate(
    model: ModelArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many pictures.")] = 64,
    seed: Seed = 0,
    start: Annotated[int, typer.Option(min=0, help="Number of the first picture in the seed's series.")] = 0,
    temperature: Annotated[float, typer.Option(help="Below 1 more typical, above 1 more unusual.")] = 1.0,
    sampler: Annotated[str, typer.Option(help="auto, fitted or prior: where codes come from.")] = "auto",
    columns: Annotated[int, typer.Option(min=0, help="Pictures in a row of the grid; 0 for square.")] = 0,
    out: Out = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make new pictures: a grid (-o a.png), or one file each (-o folder/)."""
    path = free_path(out or Path(f"generated-{seed}.png"), force, folder=True)
    loaded = load_model(model, device)
    pictures = loaded.generate(n, seed, temperature, start, sampler)
    record = {"verb": "generate", "seed": seed, "start": start, "temperature": temperature, "sampler": sampler}
    made = write_pictures(pictures, path, loaded, model, record, [str(start + i) for i in range(n)], columns)
    say(as_json, f"{n} new pictures: {path}", made=made, n=n, seed=seed, model=loaded.fingerprint)


def again(record: dict[str, Any]) -> str:
    """The command that makes a generated picture again."""
    names = {"n": "-n", **{key: f"--{key}" for key in ("seed", "start", "temperature", "sampler", "columns")}}
    options = [f"{option} {record[key]}" for key, option in names.items() if key in record]
    options += ["-o again/"] if record.get("alone") else []
    return " ".join(["betabloom generate", shlex.quote(str(record.get("model_path", "MODEL"))), *options])
