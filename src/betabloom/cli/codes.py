"""The commands that take pictures through a model: reconstruct, vary, encode, decode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import (
    CommonOptions,
    Scale,
    Seed,
    ShuffleOptions,
    Split,
    SpreadOptions,
    counted,
    free_path,
    print_result,
    refuse_overwriting_input,
)
from betabloom.cli.pictures import load_model, model_and_pictures, record_of, write_pictures
from betabloom.errors import UsageError
from betabloom.system.paths import guess_path

__all__ = ["decode", "embed", "encode", "reconstruct", "vary"]

Given = Annotated[
    list[str],
    Argument(
        "A model (flowers64 if you name none), then picture files, or one folder or another source.", "[MODEL] PICTURES"
    ),
]


def reconstruct(
    given: Given,
    n: Annotated[int, Option("-n", minimum=1, help="How many pictures, at most.")] = 32,
    split: Split = None,
    scale: Scale = 1.0,
    *,
    order: ShuffleOptions,
    common: CommonOptions,
) -> None:
    """Encode and decode pictures: each row of originals has its reconstructions below it.

    Examples:
      betabloom reconstruct rose.jpg
      betabloom reconstruct runs/photos photos -n 64 -o both.png
      betabloom reconstruct flowers64 flowers102 --split test --shuffle
    """
    from betabloom.imaging import output, sheets
    from betabloom.model.prepared import load_pictures

    model, pictures = model_and_pictures(given)
    loaded = load_model(model, common.device)
    path = free_path(common.out, "reconstructions.png", common.force)
    refuse_overwriting_input(path, pictures)
    seed = order.chosen()
    originals, names, *_ = load_pictures(loaded, pictures, n, split, seed)
    record = record_of(loaded, model, {"verb": "reconstruct", "pictures": names, "shuffle": seed})
    sheet = sheets.pairs(originals, loaded.reconstruct(originals), scale=scale, crisp=loaded.pipeline.is_crisp)
    output.save_image(sheet, path, record)
    what = counted(len(names), "picture") + ("" if seed is None else f", chosen at random (seed {seed})")
    print_result(
        common.as_json, f"{what}, reconstructions below originals: {path}", made=str(path), pictures=names, seed=seed
    )


def vary(
    given: Annotated[
        list[str], Argument("A model (flowers64 if you name none), then a picture file.", "[MODEL] PICTURE")
    ],
    n: Annotated[int, Option("-n", minimum=1, help="How many variations.")] = 15,
    amount: Annotated[
        float,
        Option(
            minimum=0,
            maximum=1e6,
            help="How far from the picture: 0 is its reconstruction, 1 a close relative, 2 a distant one.",
        ),
    ] = 1.0,
    posterior: Annotated[
        bool, Option("--posterior", help="Sample the posterior of the picture instead of its neighbourhood.")
    ] = False,
    seed: Seed = None,
    scale: Scale = 1.0,
    *,
    common: CommonOptions,
) -> None:
    """Make variations on one picture; the first on the sheet is the original.

    Examples:
      betabloom vary rose.jpg
      betabloom vary runs/photos rose.jpg -n 24 --amount 1.5 -o roses.png
    """
    import numpy as np

    from betabloom.model.prepared import load_pictures
    from betabloom.seeds import new_seed
    from betabloom.system.console import printable

    model, pictures = model_and_pictures(given)
    if len(pictures) != 1:
        raise UsageError(f"Variations are made of one picture file, not of {' '.join(pictures)}.")
    if Path(pictures[0]).is_dir():
        raise UsageError(f"{pictures[0]} is a folder. Name one picture in it: variations are made of one at a time.")
    if not Path(pictures[0]).is_file():
        raise UsageError(f"There is no picture file {pictures[0]}.{guess_path(pictures[0])}")
    loaded = load_model(model, common.device)
    path = free_path(common.out, "variations.png", common.force, folder=True)
    refuse_overwriting_input(path, pictures)
    seed = new_seed() if seed is None else seed
    original, names, *_ = load_pictures(loaded, pictures)
    variations = loaded.vary(original[0], n, seed, amount, posterior)
    record = {"verb": "vary", "pictures": names, "seed": seed, "amount": amount, "posterior": posterior}
    made = write_pictures(
        np.concatenate([original, variations]), path, record_of(loaded, model, record),
        ["original", *map(str, range(n))], scale=scale, crisp=loaded.pipeline.is_crisp,
    )  # fmt: skip
    what = counted(n, "variation")
    print_result(common.as_json, f"{what} on {printable(names[0])} (seed {seed}): {path}", made=made, n=n, seed=seed)


def encode(
    given: Given,
    split: Split = None,
    *,
    common: CommonOptions,
    spread: SpreadOptions,
) -> None:
    """Write the codes of pictures, with their names and labels: -o codes.npz, .csv, .parquet, or a folder.

    An .npz file holds mean and log_var (N, latents), names and labels; a table has the columns name, label, z0, z1 …

    Examples:
      betabloom encode photos -o codes.csv
      betabloom encode runs/photos flowers102 --split test -o codes.npz
      betabloom encode runs/photos photos -o codes/ --processes 16    # Parquet files, for millions
    """
    _write_codes(given, split, common, spread, "codes.npz")


def embed(
    given: Given,
    split: Split = None,
    *,
    common: CommonOptions,
    spread: SpreadOptions,
) -> None:
    """Write pictures as rows of numbers for other programs: a table with names and labels (Parquet, CSV or NPZ).

    The numbers are the codes that `encode` writes, z0, z1 … and log_var0 …; `similar --among` reads the table.

    Examples:
      betabloom embed photos -o codes.parquet
    """
    _write_codes(given, split, common, spread, "codes.parquet")


def _write_codes(given: list[str], split: str | None, common: CommonOptions, spread: SpreadOptions, usual: str) -> None:
    """Encode pictures and write their codes, to a file of the usual name if no other was asked for."""
    from betabloom.model.code_tables import SUFFIXES, write_codes
    from betabloom.model.codes import Codes
    from betabloom.model.prepared import load_pictures

    model, pictures = model_and_pictures(given)
    loaded = load_model(model, common.device)
    path = free_path(common.out, usual, common.force, SUFFIXES, folder=True)
    refuse_overwriting_input(path, pictures)
    if spread.asked or not path.suffix:
        n = _encode_in_parts(model, pictures, path, split, common.device, spread)
        latents = loaded.config.model.latents
        print_result(common.as_json, f"Codes of {counted(n, 'picture')}: {path}", made=str(path), n=n, latents=latents)
        return
    originals, names, labels, label_names = load_pictures(loaded, pictures, split=split)
    mean, log_var = loaded.encode(originals)
    write_codes(Codes(mean, log_var, names, loaded.fingerprint, labels), path, label_names)
    what = counted(len(names), "picture")
    print_result(common.as_json, f"Codes of {what}: {path}", made=str(path), n=len(names), latents=mean.shape[1])


def _encode_in_parts(
    model: Path | None, pictures: list[str], path: Path, split: str | None, device: str, spread: SpreadOptions
) -> int:
    """Write the codes of one source, by several processes or a cluster: how many pictures."""
    import numpy as np

    from betabloom.model.code_parts import encode_in_parts
    from betabloom.model.prepared import prepared_source, rows_of_split
    from betabloom.system.console import progress

    if len(pictures) != 1:
        raise UsageError("Several processes encode one source: give a folder, not picture files.")
    store = prepared_source(load_model(model, "cpu"), pictures[0])
    rows = rows_of_split(store, split)
    place = None if model is None else str(model)
    with progress("encoding", "pictures") as report:
        encode_in_parts(
            place, store, np.asarray(rows), path,
            device=device, processes=spread.processes, ray=spread.ray, progress=report,
        )  # fmt: skip
    return len(rows)


def decode(
    given: Annotated[
        list[str],
        Argument(
            "A model (flowers64 if you name none), then codes: a file from `encode`, or your own numbers as .csv, "
            ".parquet, .npy or .npz of shape (N, latents).",
            "[MODEL] CODES",
        ),
    ],
    columns: Annotated[int, Option(minimum=0, help="Pictures in a row of the sheet; 0 for the squarest.")] = 0,
    scale: Scale = 1.0,
    *,
    common: CommonOptions,
) -> None:
    """Draw the pictures that codes stand for: a sheet (-o a.png, .jpg, .webp), or one file each (-o folder/).

    Examples:
      betabloom decode codes.npz
      betabloom decode runs/photos my-codes.csv -o decoded/
    """
    from betabloom.model.code_tables import read_codes

    model, (codes, *more) = model_and_pictures(given)
    if more:
        raise UsageError(f"{more[0]!r} is one word too many: one file of codes is decoded at a time.")
    loaded, stored = load_model(model, common.device), read_codes(codes)
    if stored.model and stored.model != loaded.fingerprint:
        used = model or "the bundled model"
        raise UsageError(f"{codes} was written by model {stored.model}, and {used} is {loaded.fingerprint}.")
    path = free_path(common.out, "decoded.png", common.force, folder=True)
    refuse_overwriting_input(path, [codes])
    record: dict[str, Any] = record_of(loaded, model, {"verb": "decode", "codes": codes})
    made = write_pictures(loaded.decode(stored.mean), path, record, stored.names, columns, scale)
    print_result(common.as_json, f"{counted(len(stored.names), 'picture')}: {path}", made=made, n=len(stored.names))
