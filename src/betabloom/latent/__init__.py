"""The latent space as a tool: arrays and models in, codes and pictures out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.latent.directions import (
        Direction,
        attribute_directions,
        distinct,
        principal_directions,
        property_directions,
        ranked,
        sefa_directions,
    )
    from betabloom.latent.maps import map_rows, on_grid, picture_map, project
    from betabloom.latent.mixing import crossed, recoloured
    from betabloom.latent.morphing import even_pace, morph, way
    from betabloom.latent.points import Points, points_of
    from betabloom.latent.preference import moved_along, preferred_direction
    from betabloom.latent.space import Space, code_space, dimension_rates
    from betabloom.latent.traversal import dimensions_by_rate, traverse, traverse_along

__all__ = [
    "Direction",
    "Points",
    "Space",
    "attribute_directions",
    "code_space",
    "crossed",
    "dimension_rates",
    "dimensions_by_rate",
    "distinct",
    "even_pace",
    "map_rows",
    "morph",
    "moved_along",
    "on_grid",
    "picture_map",
    "points_of",
    "preferred_direction",
    "principal_directions",
    "project",
    "property_directions",
    "ranked",
    "recoloured",
    "sefa_directions",
    "traverse",
    "traverse_along",
    "way",
]

_HOMES = {
    "Direction": "directions",
    "Points": "points",
    "Space": "space",
    "attribute_directions": "directions",
    "code_space": "space",
    "crossed": "mixing",
    "dimension_rates": "space",
    "dimensions_by_rate": "traversal",
    "distinct": "directions",
    "even_pace": "morphing",
    "map_rows": "maps",
    "morph": "morphing",
    "moved_along": "preference",
    "on_grid": "maps",
    "picture_map": "maps",
    "points_of": "points",
    "preferred_direction": "preference",
    "principal_directions": "directions",
    "project": "maps",
    "property_directions": "directions",
    "ranked": "directions",
    "recoloured": "mixing",
    "sefa_directions": "directions",
    "traverse": "traversal",
    "traverse_along": "traversal",
    "way": "morphing",
}

__getattr__, __dir__ = face(__name__, _HOMES)
