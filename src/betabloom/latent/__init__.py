"""The latent space as a tool: arrays and models in, codes and pictures out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.latent.anomalies import anomaly_map, anomaly_scores, auroc, p_values
    from betabloom.latent.compression import compress, decompress, pack_codes, unpack_codes
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
    from betabloom.latent.neighbours import most_similar
    from betabloom.latent.points import Points, points_of
    from betabloom.latent.posterior_mode import posterior_mode
    from betabloom.latent.preference import moved_along, preferred_direction
    from betabloom.latent.restoration import box_mask, denoise, inpaint
    from betabloom.latent.space import Space, code_space, dimension_rates
    from betabloom.latent.traversal import dimensions_by_rate, traverse, traverse_along

__all__ = [
    "Direction",
    "Points",
    "Space",
    "anomaly_map",
    "anomaly_scores",
    "attribute_directions",
    "auroc",
    "box_mask",
    "code_space",
    "compress",
    "crossed",
    "decompress",
    "denoise",
    "dimension_rates",
    "dimensions_by_rate",
    "distinct",
    "even_pace",
    "inpaint",
    "map_rows",
    "morph",
    "most_similar",
    "moved_along",
    "on_grid",
    "p_values",
    "pack_codes",
    "picture_map",
    "points_of",
    "posterior_mode",
    "preferred_direction",
    "principal_directions",
    "project",
    "property_directions",
    "ranked",
    "recoloured",
    "sefa_directions",
    "traverse",
    "traverse_along",
    "unpack_codes",
    "way",
]

_HOMES = {
    "anomalies": "anomaly_map anomaly_scores auroc p_values",
    "compression": "compress decompress pack_codes unpack_codes",
    "directions": (
        "Direction attribute_directions distinct principal_directions property_directions ranked sefa_directions"
    ),
    "maps": "map_rows on_grid picture_map project",
    "mixing": "crossed recoloured",
    "morphing": "even_pace morph way",
    "neighbours": "most_similar",
    "points": "Points points_of",
    "posterior_mode": "posterior_mode",
    "preference": "moved_along preferred_direction",
    "restoration": "box_mask denoise inpaint",
    "space": "Space code_space dimension_rates",
    "traversal": "dimensions_by_rate traverse traverse_along",
}

__getattr__, __dir__ = face(__name__, _HOMES)
