"""Using a model as a tool on pictures: inpaint, denoise, anomaly, similar, compress, decompress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from betabloom.cli.command import Option
from betabloom.cli.inputs import (
    NewSeed,
    Points,
    chosen_seed,
    free_result,
    open_generator,
    split_model,
    write_sheet,
)
from betabloom.cli.options import IMAGES, CommonOptions, aligned, counted, print_lines, print_result
from betabloom.cli.pictures import load_model
from betabloom.errors import FormatError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from betabloom.model.model import Model

__all__ = ["anomaly", "compress", "decompress", "denoise", "inpaint", "similar"]
Steps = Annotated[int, Option(minimum=1, maximum=10_000, help="Steps of the search for the code.")]


def _one_picture(given: list[str], model: Model, verb: str) -> np.ndarray:
    """The one picture that a command works on, prepared."""
    from betabloom.model.prepared import load_picture

    if len(given) != 1:
        raise UsageError(f"`betabloom {verb}` takes one picture file, not {len(given)}.")
    return load_picture(model, Path(given[0]))


def inpaint(
    points: Points = None,
    box: Annotated[str | None, Option(metavar="L,T,R,B", help="The hole, in pixels of the model.")] = None,
    mask: Annotated[Path | None, Option(help="A picture, white where pixels are missing.")] = None,
    n: Annotated[int, Option("-n", minimum=1, maximum=64, help="How many completions.")] = 3,
    steps: Steps = 120,
    seed: NewSeed = None,
    *,
    common: CommonOptions,
) -> None:
    """Fill a hole in a picture: the picture, the hole and the completions side by side."""
    import numpy as np

    from betabloom.latent import restoration

    path, given = split_model(points)
    if (box is None) == (mask is None):
        raise UsageError("Say where the hole is, with either --box LEFT,TOP,RIGHT,BOTTOM or --mask FILE.")
    inputs = [*given, *([] if mask is None else [str(mask)])]
    target, seed = free_result(common.out, "inpainted.png", IMAGES, common.force, inputs), chosen_seed(seed)
    model = load_model(path, common.device)
    picture = _one_picture(given, model, "inpaint")
    hole = _read_mask(mask) if mask else restoration.box_mask(_box(box or ""), *picture.shape[:2])
    made = restoration.inpaint(model, picture, hole, n, seed, steps)
    shown = picture.copy()
    shown[hole] = 128
    facts = {
        "verb": "inpaint",
        "points": given,
        "box": box,
        "mask": str(mask) if mask else None,
        "seed": seed,
        "steps": steps,
    }
    write_sheet(np.concatenate([picture[None], shown[None], made]), target, model, path, facts)
    print_result(
        common.as_json, f"{n} completions of {given[0]} (seed {seed}): {target}", made=str(target), n=n, seed=seed
    )


def _box(text: str) -> tuple[int, int, int, int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"A box is LEFT,TOP,RIGHT,BOTTOM in pixels, as 16,16,40,40, not {text!r}.")
    left, top, right, bottom = (int(part) for part in parts)
    return left, top, right, bottom


def _read_mask(path: Path) -> np.ndarray:
    """A mask, true where the file is nearer to white than to black."""
    import numpy as np
    from PIL import Image

    if not path.is_file():
        raise UsageError(f"There is no mask file {path}.")
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) >= 128
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} is not a picture that can be read as a mask.") from error


def denoise(
    points: Points = None,
    noise: Annotated[float, Option(help="Standard deviation of the noise, in grey levels.")] = 25.0,
    steps: Steps = 120,
    *,
    common: CommonOptions,
) -> None:
    """Remove noise from a picture: before and after, side by side."""
    import numpy as np

    from betabloom.latent import restoration

    path, given = split_model(points)
    target = free_result(common.out, "denoised.png", IMAGES, common.force, given)
    model = load_model(path, common.device)
    picture = _one_picture(given, model, "denoise")
    made = restoration.denoise(model, picture, noise, steps)
    facts = {"verb": "denoise", "points": given, "noise": noise, "steps": steps}
    write_sheet(np.stack([picture, made]), target, model, path, facts)
    print_result(common.as_json, f"{given[0]} without noise: {target}", made=str(target))


def anomaly(
    points: Points = None,
    normal: Annotated[str | None, Option(metavar="SOURCE", help="Normal pictures to compare with.")] = None,
    *,
    common: CommonOptions,
) -> None:
    """Tell how unusual pictures are, with p-values from normal ones that the model did not see, and show where."""
    import numpy as np

    from betabloom.imaging.alpha import over
    from betabloom.latent import anomalies
    from betabloom.latent.space import code_space
    from betabloom.model.prepared import load_pictures

    path, given = split_model(points)
    if normal is None or not given:
        raise UsageError("Give pictures to judge, and --normal SOURCE, at least 19 pictures that are normal.")
    target = free_result(common.out, "anomalies.png", IMAGES, common.force, given)
    model = load_model(path, common.device)
    space = code_space(model)
    pictures, names, *_ = load_pictures(model, given)
    known, *_ = load_pictures(model, [normal])
    scores = anomalies.anomaly_scores(model, space, pictures)
    p = anomalies.p_values(scores, anomalies.anomaly_scores(model, space, known))
    order = np.argsort(-scores)[:SHOWN]
    heats = [np.rint(255 * anomalies.anomaly_map(model, pictures[i])).astype(np.uint8) for i in order]
    shown = over(pictures)  # heat maps are opaque
    rows = [(shown[i], np.repeat(h[..., None], shown.shape[3], 2)) for i, h in zip(order, heats, strict=True)]
    facts = {"verb": "anomaly", "points": given, "normal": normal}
    write_sheet(np.stack([each for row in rows for each in row]), target, model, path, facts, columns=2)
    table = aligned(
        [["picture", "score", "p"], *([names[i], f"{scores[i]:.1f}", f"{p[i]:.3f}"] for i in np.argsort(-scores))]
    )
    found = [{"name": names[i], "score": round(float(scores[i]), 3), "p": round(float(p[i]), 5)} for i in range(len(p))]
    print_lines(
        common.as_json, [*table, f"The {len(order)} most unusual with their heat maps: {target}"], made=str(target),
        pictures=found, normal=len(known),
    )  # fmt: skip


SHOWN = 16  # pictures whose heat maps are shown


def similar(
    points: Points = None,
    among: Annotated[
        str | None, Option(metavar="SOURCE", help="Where to look: pictures, or what `embed` wrote of them.")
    ] = None,
    n: Annotated[int, Option("-n", minimum=1, help="How many to find.")] = 8,
    *,
    common: CommonOptions,
) -> None:
    """Find the pictures of a source that are most like a picture: the picture, then the most similar ones."""
    import numpy as np

    from betabloom.latent.neighbours import most_similar
    from betabloom.latent.points import points_of
    from betabloom.model.code_tables import holds_codes
    from betabloom.model.prepared import load_pictures

    path, given = split_model(points)
    if among is None:
        raise UsageError("Say where to look, with --among SOURCE: a folder of pictures, or codes that `embed` wrote.")
    target = free_result(common.out, "similar.png", IMAGES, common.force, [*given, among])
    model = open_generator(path, common.device)
    asked = points_of(model, given)
    if len(asked.names) != 1:
        raise UsageError(f"Pictures like one picture are found, not like {len(asked.names)}.")
    if holds_codes(among):
        others = points_of(model, [among])
        names, codes, pictures = others.names, others.codes, None
    else:
        pictures, names, *_ = load_pictures(model, [among])
        codes = model.encode(pictures)[0]
    places, cosines = most_similar(asked.codes[0], codes, n)
    found = model.decode(codes[places]) if pictures is None else pictures[places]
    facts = {"verb": "similar", "points": given, "among": among}
    write_sheet(np.concatenate([model.decode(asked.codes), found]), target, model, path, facts)
    rows = [{"name": names[i], "cosine": round(float(c), 4)} for i, c in zip(places, cosines, strict=True)]
    print_lines(
        common.as_json,
        [
            *aligned([["picture", "cosine"], *([row["name"], f"{row['cosine']:.3f}"] for row in rows)]),
            f"The most similar: {target}",
        ],
        made=str(target),
        pictures=rows,
    )


def compress(
    points: Points = None,
    fineness: Annotated[float, Option(help="Above 1 for better pictures and more bytes, below 1 for fewer.")] = 1.0,
    search: Annotated[
        int, Option(minimum=0, maximum=10_000, help="Steps of a search for codes that draw each picture more exactly.")
    ] = 0,
    *,
    common: CommonOptions,
) -> None:
    """Write pictures as a few bytes each, from which the same model can draw them again."""
    from betabloom.latent import compression
    from betabloom.model.prepared import load_pictures
    from betabloom.system.atomic import replacing_file
    from betabloom.system.console import progress

    path, given = split_model(points)
    if not given:
        raise UsageError("Give picture files, or one folder or source of pictures.")
    target = free_result(common.out, "pictures.bbc", [".bbc"], common.force, given)
    model = load_model(path, common.device) if search else open_generator(path, common.device)
    pictures, names, *_ = load_pictures(model, given)
    with progress("compressing") as report:
        data = compression.compress(model, pictures, fineness, search, report)
    with replacing_file(target, synced=False) as part:
        part.write_bytes(data)
    each, what = len(data) / len(names), counted(len(names), "picture")
    print_result(
        common.as_json, f"{what} in {len(data):,} bytes, {each:.0f} each: {target}", made=str(target),
        n=len(names), bytes=len(data), bytes_each=round(each, 2), model=model.fingerprint,
    )  # fmt: skip


def decompress(
    points: Points = None,
    *,
    common: CommonOptions,
) -> None:
    """Draw the pictures of a compressed file again, as a sheet."""
    from betabloom.latent import compression

    path, given = split_model(points)
    if len(given) != 1:
        raise UsageError(f"`betabloom decompress` takes one file that `betabloom compress` wrote, not {len(given)}.")
    if not Path(given[0]).is_file():
        raise UsageError(f"There is no file {given[0]}.")
    target = free_result(common.out, "decompressed.png", IMAGES, common.force, given)
    model = open_generator(path, common.device)
    try:
        pictures = compression.decompress(model, Path(given[0]).read_bytes())
    except FormatError as error:
        raise FormatError(f"{given[0]}: {error}") from error
    write_sheet(pictures, target, model, path, {"verb": "decompress", "points": given})
    what = counted(len(pictures), "picture")
    print_result(common.as_json, f"{what}: {target}", made=str(target), n=len(pictures))
