"""Exploring what a model learned, from chosen pictures: traverse, morph, mix, more-like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from betabloom.cli.command import Option
from betabloom.cli.inputs import (
    Fps,
    NewSeed,
    Points,
    Scale,
    chosen_seed,
    free_result,
    open_generator,
    split_model,
    write_frames,
    write_sheet,
)
from betabloom.cli.options import IMAGES, CommonOptions, print_result
from betabloom.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["mix", "more_like", "morph", "traverse"]
PICTURES = (".webp", ".gif", ".mp4", ".png")


def traverse(
    points: Points = None,
    dimensions: Annotated[int, Option(minimum=1, help="How many dimensions: those with the highest rate.")] = 10,
    latents: Annotated[str | None, Option(metavar="3,7", help="Show these dimensions instead.")] = None,
    steps: Annotated[int, Option(minimum=2, maximum=1000, help="Pictures of each dimension.")] = 11,
    reach: Annotated[float, Option(help="How far to go, in standard deviations of the codes.")] = 3.0,
    fps: Fps = 10.0,
    scale: Scale = 2,
    *,
    common: CommonOptions,
) -> None:
    """Change one latent dimension at a time: each row of the sheet (.png), or cell of the animation, is one."""
    import numpy as np

    from betabloom.latent.points import points_of
    from betabloom.latent.space import FEW_DRAWN, code_space
    from betabloom.latent.traversal import dimensions_by_rate, traverse_along
    from betabloom.seeds import parse_numbers

    path, given = split_model(points)
    target = free_result(common.out, "traversal.png", PICTURES, common.force, given)
    model = open_generator(path, common.device)
    start = points_of(model, given or ["seed:0"])
    if len(start.names) != 1:
        raise UsageError(f"A traversal starts from one picture, not from {len(start.names)}.")
    space = code_space(model, FEW_DRAWN)
    order, rates = dimensions_by_rate(model, space)
    chosen = order[:dimensions] if latents is None else np.array(parse_numbers(latents))
    if max(chosen) >= len(order):
        raise UsageError(f"This model has the latent dimensions 0 to {len(order) - 1}, not {latents}.")
    by_dimension = dict(zip(order.tolist(), rates.tolist(), strict=True))
    offsets = np.linspace(-reach, reach, steps)
    directions = np.eye(len(order), dtype=np.float32)[chosen] * space.spread[chosen, None].astype(np.float32)
    pictures = traverse_along(model, start.codes[0], directions, offsets.tolist())
    facts = {
        "verb": "traverse",
        "points": given or ["seed:0"],
        "dimensions": chosen.tolist(),
        "reach": reach,
        "steps": steps,
    }
    if target.suffix.lower() == ".png":
        write_sheet(pictures.reshape(-1, *pictures.shape[2:]), target, model, path, facts, columns=steps)
    else:
        write_frames(_there_and_back(pictures), target, model, path, facts, fps, scale)
    nats = [round(by_dimension[int(i)], 3) for i in chosen]
    print_result(
        common.as_json, f"Traversal of {len(chosen)} dimensions from {start.names[0]}: {target}",
        made=str(target), dimensions=chosen.tolist(), nats=nats, offsets=offsets.tolist(),
    )  # fmt: skip


def _there_and_back(pictures: np.ndarray) -> np.ndarray:
    """Sheets of all rows (K, S, H, W, C), one a step, to the end and back again: a loop without a jump."""
    import numpy as np

    from betabloom.imaging.sheets import grid

    steps = pictures.shape[1]
    sheets = [np.asarray(grid(pictures[:, i])) for i in range(steps)]
    frames = np.stack([sheets[i] for i in [*range(steps), *range(steps - 2, 0, -1)]])
    return frames if frames.ndim == 4 else frames[..., None]


def morph(
    points: Points = None,
    loop: Annotated[bool, Option("--loop", help="Return to the first picture, without a seam.")] = False,
    frames: Annotated[int, Option(minimum=2, maximum=10_000, help="How many pictures.")] = 60,
    way: Annotated[str, Option(help="slerp goes around the centre of the codes, linear through it.")] = "slerp",
    fps: Fps = 20.0,
    scale: Scale = 4,
    *,
    common: CommonOptions,
) -> None:
    """Change one picture into the next, at an even pace: an animation (.webp, .gif, .mp4) or a sheet (.png)."""
    from betabloom.latent import morphing
    from betabloom.latent.points import points_of
    from betabloom.latent.space import FEW_DRAWN, code_space

    path, given = split_model(points)
    target = free_result(common.out, "morph.webp", PICTURES, common.force, given)
    model = open_generator(path, common.device)
    stops = points_of(model, given)
    pictures, _ = morphing.morph(model, stops.codes, frames, loop, way, code_space(model, FEW_DRAWN).mean)
    facts = {"verb": "morph", "points": given, "loop": loop, "way": way}
    if target.suffix.lower() == ".png":
        write_sheet(pictures, target, model, path, facts)
    else:
        write_frames(pictures, target, model, path, facts, fps, scale)
    print_result(
        common.as_json, f"Morph of {len(stops.names)} pictures in {frames} frames: {target}", made=str(target),
        points=stops.names, frames=frames, loop=loop,
    )  # fmt: skip


def mix(
    points: Points = None,
    n: Annotated[int, Option("-n", minimum=1, help="How many children.")] = 12,
    share: Annotated[float, Option(help="How much comes from the first, from 0 to 1.")] = 0.5,
    seed: NewSeed = None,
    *,
    common: CommonOptions,
) -> None:
    """Cross two pictures: both, each with the colours of the other, then children that take half from each."""
    import numpy as np

    from betabloom.latent.mixing import crossed, recoloured
    from betabloom.latent.points import points_of
    from betabloom.latent.space import code_space

    path, given = split_model(points)
    target, seed = free_result(common.out, "mix.png", IMAGES, common.force, given), chosen_seed(seed)
    model = open_generator(path, common.device)
    parents = points_of(model, given)
    if len(parents.names) != 2:
        raise UsageError(f"Two pictures can be mixed, not {len(parents.names)}.")
    one, other = parents.codes
    space = code_space(model)
    swapped = np.stack([recoloured(model, space, one, other), recoloured(model, space, other, one)])
    codes = np.concatenate([parents.codes, swapped, crossed(space, one, other, n, seed, share)])
    facts = {"verb": "mix", "points": given, "seed": seed, "share": share}
    write_sheet(model.decode(codes), target, model, path, facts)
    print_result(
        common.as_json, f"{n} children of {parents.names[0]} and {parents.names[1]} (seed {seed}): {target}",
        made=str(target), n=n, seed=seed,
    )  # fmt: skip


def more_like(
    points: Points = None,
    bad: Annotated[
        list[str] | None,
        Option("--not", metavar="POINT", help="A picture that the new ones should not resemble; can be repeated."),
    ] = None,
    n: Annotated[int, Option("-n", minimum=1, help="How many pictures.")] = 16,
    amount: Annotated[
        float, Option(minimum=0, help="How alike: 0 draws freely, 1 stays as close as the good ones are.")
    ] = 1.0,
    seed: NewSeed = None,
    *,
    common: CommonOptions,
) -> None:
    """Make new pictures like the good ones, and unlike those after --not."""
    from betabloom.latent.points import points_of
    from betabloom.latent.preference import moved_along, preferred_direction
    from betabloom.latent.space import code_space

    path, given = split_model(points)
    unlike = list(bad or [])
    target, seed = free_result(common.out, "more-like.png", IMAGES, common.force, given + unlike), chosen_seed(seed)
    model = open_generator(path, common.device)
    good, worse = points_of(model, given), points_of(model, unlike) if unlike else None
    space = code_space(model)
    direction, place = preferred_direction(space, good.codes, None if worse is None else worse.codes)
    codes = model.draw(n, seed)
    if amount:
        codes = moved_along(space, codes, direction, amount * place)
    facts = {"verb": "more-like", "points": given, "not": unlike, "seed": seed, "amount": amount}
    write_sheet(model.decode(codes), target, model, path, facts)
    print_result(
        common.as_json, f"{n} new pictures like {', '.join(good.names[:3])} (seed {seed}): {target}",
        made=str(target), n=n, seed=seed,
    )  # fmt: skip
