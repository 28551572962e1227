"""Seeing a latent space as a whole: directions that mean something, and maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Option
from betabloom.cli.inputs import NewSeed, Points, chosen_seed, free_result, open_generator, split_model, write_sheet
from betabloom.cli.options import IMAGES, CommonOptions, aligned, print_lines, print_result
from betabloom.cli.pictures import record_of
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from betabloom.latent.directions import Direction
    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator

__all__ = ["directions", "map_"]
KINDS = ("all", "pca", "sefa", "property", "attribute")
DATA = (".csv", ".json")  # endings of a map that is not a picture


def directions(
    points: Points = None,
    kind: Annotated[str, Option(help="pca, sefa, property, attribute (needs --labels) or all of them.")] = "all",
    labels: Annotated[str | None, Option(metavar="SOURCE", help="Pictures with labels, as FOLDER/CLASS/.")] = None,
    n: Annotated[int, Option("-n", minimum=1, help="Largest number of directions.")] = 12,
    steps: Annotated[int, Option(minimum=2, maximum=100, help="Pictures of each direction.")] = 9,
    reach: Annotated[float, Option(help="How far to go, in standard deviations of the codes.")] = 3.0,
    *,
    common: CommonOptions,
) -> None:
    """Find directions that mean something, named by what was measured: each row of the sheet is one."""
    import numpy as np

    from betabloom.latent.directions import distinct, ranked
    from betabloom.latent.points import points_of
    from betabloom.latent.space import code_space
    from betabloom.latent.traversal import traverse_along

    path, given = split_model(points)
    if kind not in KINDS or (kind == "attribute" and labels is None):
        raise UsageError(f"--kind is one of {', '.join(KINDS)}; attribute needs --labels, a folder with one per class.")
    target = free_result(common.out, "directions.png", IMAGES, common.force, given)
    model = open_generator(path, common.device)
    start = points_of(model, given or ["seed:0"])
    if len(start.names) != 1:
        raise UsageError(f"Directions are shown from one picture, not from {len(start.names)}.")
    space = code_space(model)
    found = ranked(model, space, _candidates(model, space, kind, labels))
    chosen = distinct(space, [each for each in found if each.name != "unnamed"])[:n] or found[:n]
    vectors = np.stack([each.vector for each in chosen])
    pictures = traverse_along(model, start.codes[0], vectors, np.linspace(-reach, reach, steps).tolist())
    rows = [_row(each) for each in chosen]
    facts = {"verb": "directions", "points": given or ["seed:0"], "kind": kind, "labels": labels, "reach": reach}
    write_sheet(
        pictures.reshape(-1, *pictures.shape[2:]), target, model, path, {**facts, "directions": rows}, columns=steps
    )
    table = aligned([["row", "name", "kind", "change per nat"], *_table(rows)])
    print_lines(
        common.as_json, [*table, f"{len(rows)} directions from {start.names[0]}: {target}"],
        made=str(target), directions=rows,
    )  # fmt: skip


def _candidates(model: Generator, space: Space, kind: str, labels: str | None) -> list[Direction]:
    """The directions of one kind, or of all."""
    from betabloom.latent import directions as found
    from betabloom.model.prepared import load_pictures

    chosen: list[Direction] = []
    if kind in ("all", "property"):
        chosen += found.property_directions(model, space)
    if kind in ("all", "pca"):
        chosen += found.principal_directions(space)
    if kind in ("all", "sefa"):
        chosen += found.sefa_directions(model, space)
    if labels is not None and kind in ("all", "attribute"):
        pictures, _, classes, _ = load_pictures(model, [labels])
        if classes is None:
            raise UsageError(f"The pictures of {labels} have no labels: put each class in a folder of its own.")
        chosen += found.attribute_directions(space, model.encode(pictures)[0], classes)
    return chosen


def _row(direction: Direction) -> dict[str, Any]:
    effects = direction.effects or {}
    strong = {key: value for key, value in effects.items() if abs(value) >= 0.5}
    return {"name": direction.name, "kind": direction.kind, "change": round(direction.change, 4), "effects": strong}


def _table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [[str(i), row["name"], row["kind"], f"{row['change']:.3f}"] for i, row in enumerate(rows, 1)]


def map_(
    points: Points = None,
    n: Annotated[
        int, Option("-n", minimum=3, help="Largest number of pictures; generated ones if none are given.")
    ] = 400,
    method: Annotated[str, Option(help="pca, tsne (scikit-learn) or umap (umap-learn).")] = "pca",
    layout: Annotated[str, Option(help="grid: no picture covers another; scatter: at their exact places.")] = "grid",
    seed: NewSeed = None,
    *,
    common: CommonOptions,
) -> None:
    """Lay pictures beside those like them: one picture (.png), or the places as data (.csv, .json)."""
    from betabloom.latent.maps import map_rows, picture_map, project

    path, given = split_model(points)
    target = free_result(common.out, "map.png", [*IMAGES, *DATA], common.force, given)
    seed = chosen_seed(seed)
    model = open_generator(path, common.device)
    pictures, codes, names, labels = _material(model, given, n, seed)
    places = project(codes, method, seed)
    facts = {"verb": "map", "points": given, "seed": seed, "method": method, "layout": layout, "n": len(codes)}
    if target.suffix.lower() in DATA:
        _write_rows(map_rows(names, places, labels), target, record_of(model, path, facts))
    else:
        from betabloom.imaging.output import save_image

        save_image(picture_map(pictures, places, layout), target, record_of(model, path, facts))
    print_result(
        common.as_json, f"Map of {len(codes)} pictures: {target}",
        made=str(target), n=len(codes), method=method, seed=seed,
    )  # fmt: skip


def _material(
    model: Generator, given: Sequence[str], n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray | None]:
    """Pictures, codes, names and labels of what a map shows: a source, points, or generated pictures."""
    import numpy as np

    from betabloom.latent.points import is_seed, points_of
    from betabloom.model.prepared import load_pictures

    if not given:
        codes = model.draw(n, seed)
        return model.decode(codes), codes, [f"seed:{seed}/{i}" for i in range(n)], None
    if len(given) == 1 and not is_seed(given[0]) and not Path(given[0]).is_file():
        pictures, names, labels, _ = load_pictures(model, given)
        some = np.linspace(0, len(names) - 1, min(n, len(names))).round().astype(int)
        chosen = pictures[some]
        return chosen, model.encode(chosen)[0], [names[i] for i in some], None if labels is None else labels[some]
    points = points_of(model, given)
    return model.decode(points.codes[:n]), points.codes[:n], points.names[:n], None


def _write_rows(rows: Sequence[dict[str, Any]], path: Path, record: dict[str, Any]) -> None:
    """A table with a row for each picture (.csv), or the record and the rows (.json)."""
    import csv

    from betabloom.system.atomic import replacing_file

    with (
        replacing_file(path, synced=False) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        if path.suffix.lower() == ".json":
            json.dump({"made": record, "pictures": rows}, file, ensure_ascii=False, indent=1)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
