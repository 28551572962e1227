"""`betabloom generate`: new pictures, in colours on request, as sheets, files or one large picture."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betabloom.cli_options import AnyModel, Device, Force, Json, Out, Seed, apart, free_path, say
from betabloom.cli_pictures import load_model, read_pictures, record_of, training_pictures, write_pictures
from betabloom.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from betabloom.checkpoint import Model
    from betabloom.wish import Wish

__all__ = ["again", "app"]

app = typer.Typer()

TILE_SIZE = "512x512"


@app.command()
def generate(
    model: AnyModel = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many pictures.")] = 64,
    seed: Seed = 0,
    start: Annotated[int, typer.Option(min=0, help="Number of the first picture in the seed's series.")] = 0,
    temperature: Annotated[float, typer.Option(help="Below 1 more typical, above 1 more unusual.")] = 1.0,
    sampler: Annotated[str, typer.Option(help="auto, prior, gaussian, mixture or parzen.")] = "auto",
    palette: Annotated[str | None, typer.Option(help="violet,gold: some of each. violet+gold: both in each.")] = None,
    hue: Annotated[float | None, typer.Option(help="Hue of the centre: 0 red, 0.33 green, 0.67 blue, 1 red.")] = None,
    like: Annotated[str | None, typer.Option(metavar="PICTURE", help="In the colours of a picture.")] = None,
    colourful: Annotated[bool, typer.Option("--colourful", help="Colourful ones.")] = False,
    avoid: Annotated[str | None, typer.Option(help="Colours to keep out, as green,brown.")] = None,
    named: Annotated[bool, typer.Option("--named", help="Name the pictures by their colours.")] = False,
    size: Annotated[str | None, typer.Option(help="One wallpaper of all, as 1920x1080.")] = None,
    tile: Annotated[bool, typer.Option("--tile", help="One texture of all, without a seam when repeated.")] = False,
    novel: Annotated[bool, typer.Option("--novel", help="Leave out near copies of training pictures.")] = False,
    known: Annotated[str | None, typer.Option(metavar="SOURCE", help="Where those are, for --novel.")] = None,
    numbers: Annotated[str | None, typer.Option(metavar="0-5,8", help="These pictures of the seed's series.")] = None,
    columns: Annotated[int, typer.Option(min=0, help="Pictures in a row of the grid; 0 for square.")] = 0,
    out: Out = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make new pictures: a grid (-o a.png), one file each (-o folder/), or one large picture (--size, --tile)."""
    path = free_path(out or Path(f"generated-{seed}.png"), force, folder=not (size or tile))
    apart(path, [like] if like else [])
    canvas = _canvas(size or (TILE_SIZE if tile else None))
    loaded = load_model(model, device)
    like = _two_colours(like, loaded)
    wishes, wished = _wishes(palette, hue, like, colourful, avoid)
    options = {"palette": palette, "hue": hue, "like": like, "colourful": colourful, "avoid": avoid, "named": named}
    options |= {"size": f"{canvas[0]}x{canvas[1]}" if canvas else None, "tile": tile}
    series = _Series(loaded, wishes, seed, temperature, sampler)
    pictures, chosen = _chosen(series, n, start, numbers, novel or known is not None, known)
    record = {"verb": "generate", "seed": seed, "start": chosen[0], "temperature": temperature, "sampler": sampler}
    record |= {key: value for key, value in options.items() if value not in (None, False)}
    if chosen != list(range(chosen[0], chosen[0] + len(chosen))):
        from betabloom.novel import numbers_text

        record["numbers"] = numbers_text(chosen)
    details: dict[str, list[Any]] = {"satisfied": [series.satisfied[i] for i in chosen]} if wishes else {}
    if named:
        details["name"] = _names(pictures)
    if canvas:
        whole = record_of(loaded, model, {**record, "n": len(chosen), **details})
        _save_large(pictures, canvas, path, whole, seed, tile)
        made = [str(path)]
    else:
        names = [each.replace(", ", "-").replace(" ", "-") for each in details.get("name", [])] or [*map(str, chosen)]
        made = write_pictures(pictures, path, loaded, model, record, names, columns, details, chosen)
    facts = {"made": made, "n": len(chosen), "seed": seed, "model": loaded.fingerprint, **details}
    what = f"{len(chosen)} new pictures" if len(chosen) > 1 else "1 new picture"
    if wishes:
        hits = sum(details["satisfied"])
        what += f", {hits} of them {wished}"
        facts |= {"wished": wished, "hits": hits, "hit_rate": hits / len(chosen)}
    say(as_json, f"{what}: {path}", **facts)


class _Series:
    """The pictures of a seed by their numbers; remembers which of them are as wished."""

    def __init__(self, model: Model, wishes: list[list[Wish]], seed: int, temperature: float, sampler: str) -> None:
        self.model = model
        self.wishes = wishes
        self.satisfied: dict[int, bool] = {}
        self._how = seed, temperature, sampler

    def __call__(self, first: int, count: int) -> np.ndarray:
        seed, temperature, sampler = self._how
        if not self.wishes:
            return self.model.generate(count, seed, temperature, first, sampler)
        from betabloom.console import progress
        from betabloom.guide import guided

        with progress("searching", "pictures") as report:
            density = self.model.density(sampler)
            found = guided(self.model.vae, self.wishes, count, seed, temperature, first, density, report)
        self.satisfied |= dict(zip(range(first, first + count), found.satisfied.tolist(), strict=True))
        return found.pictures


def _chosen(
    series: _Series, n: int, start: int, numbers: str | None, only_novel: bool, known: str | None
) -> tuple[np.ndarray, list[int]]:
    """The pictures, and their numbers in the series."""
    from betabloom import novel

    if numbers is not None:
        if only_novel:
            raise UsageError("--numbers names the pictures, so --novel has no choice. Leave one of them out.")
        chosen = novel.parse_numbers(numbers)
        return novel.by_numbers(series, chosen), chosen
    if not only_novel:
        return series(start, n), list(range(start, start + n))
    d = series.model.config.data
    judge = novel.Novelty.of(training_pictures(series.model, known), d.split, d.holdout)
    pictures, chosen = novel.generate_novel(series, judge, n, start)
    left_out = chosen[-1] + 1 - start - n
    print(f"betabloom: {left_out} near copies of training pictures left out", file=sys.stderr)  # noqa: T201
    return pictures, chosen


def _wishes(
    palette: str | None, hue: float | None, like: str | None, colourful: bool, avoid: str | None
) -> tuple[list[list[Wish]], str]:
    """What the options wish, for each colour of the palette, and the same in words."""
    from betabloom import wish

    if sum(each is not None for each in (palette, hue, like)) > 1:
        raise UsageError("--palette, --hue and --like each say what the colours are: choose one of them.")
    common: list[Wish] = []
    if hue is not None:
        common.append(wish.of_hue(hue))
    if like is not None:
        common.append(wish.like(like))
    if colourful:
        common.append(wish.colourful())
    if avoid is not None:
        common += wish.avoid(avoid)
    kinds = wish.palette(palette) if palette is not None else [[]]
    texts = [" or ".join("+".join(each.text for each in kind) for kind in kinds)] + [each.text for each in common]
    return [kind + common for kind in kinds if kind or common], ", ".join(text for text in texts if text)


def _two_colours(like: str | None, model: Model) -> str | None:
    """What --like says: two colours, or a picture, of which the colours of centre and surroundings are taken."""
    if like is None or like.startswith("#"):
        return like
    from betabloom.wish import hex_colours

    if not Path(like).is_file():
        raise UsageError(f"There is no picture file {like}.")
    return hex_colours(read_pictures([like], model, 1)[0][0])


def _names(pictures: np.ndarray) -> list[str]:
    from betabloom.colour import picture_name

    return [picture_name(picture) for picture in pictures]


def _canvas(size: str | None) -> tuple[int, int] | None:
    """Width and height of a large picture, or None."""
    if size is None:
        return None
    from betabloom.config import parse_size
    from betabloom.wallpaper import check_size

    height, width = parse_size(size)
    check_size(width, height)
    return width, height


def _save_large(
    pictures: np.ndarray, canvas: tuple[int, int], path: Path, record: dict[str, Any], seed: int, tile: bool
) -> None:
    """Write one large picture of all; of a single one, it is that picture enlarged."""
    from betabloom import plot, wallpaper

    image: Image.Image
    if len(pictures) == 1 and not tile:
        image = wallpaper.enlarge(pictures[0], *canvas)
    else:
        image = wallpaper.meadow(pictures, *canvas, seed)
    plot.save_png(image, path, record)


def again(record: dict[str, Any]) -> str:
    """The command that makes a generated picture again."""
    plain = ("seed", "start", "temperature", "sampler", "palette", "hue", "like", "avoid", "size", "columns")
    names = {"n": "-n", **{key: f"--{key}" for key in plain}}
    if "numbers" in record:
        names = {"numbers": "--numbers", **{key: name for key, name in names.items() if key not in ("n", "start")}}
    options = [f"{option} {shlex.quote(str(record[key]))}" for key, option in names.items() if key in record]
    options += [f"--{key}" for key in ("colourful", "named", "tile") if record.get(key)]
    options += ["-o again/"] if record.get("alone") else []
    return " ".join(["betabloom generate", shlex.quote(str(record.get("model_path", "MODEL"))), *options])
