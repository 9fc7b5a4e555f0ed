"""Maps by their kind, as a model's `needs` or an objective's `maps` ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from jaxtyping import Float
from torch import Tensor

from reenactor.core import MapKind
from reenactor.face.maps.boundaries import boundary_maps
from reenactor.face.maps.masks import face_mask, hull_mask
from reenactor.face.maps.parsing import parsing_map
from reenactor.face.maps.raster import landmark_raster

_DRAW: dict[MapKind, Callable[[Tensor, int], Tensor]] = {
    MapKind.LANDMARK_RASTER: landmark_raster,
    MapKind.IRIS_RASTER: partial(landmark_raster, irises=True),
    MapKind.BOUNDARIES: boundary_maps,
    MapKind.PARSING: parsing_map,
    MapKind.HULL_MASK: hull_mask,
    MapKind.FACE_MASK: face_mask,
}


def draw_maps(kinds: Iterable[MapKind], mesh_px: Float[Tensor, "*b 478 3"], size: int) -> dict[MapKind, Tensor]:
    """Draw several kinds of maps.

    Args:
        kinds: which ones; `MapKind` says what each is.
        mesh_px: (..., 478, 3) meshes in pixels of the maps.
        size: side of the maps.

    Returns:
        (..., C, size, size) for each kind.
    """
    axes = mesh_px.shape[:-2]
    faces = mesh_px.flatten(0, -3) if len(axes) else mesh_px[None]
    drawn = {kind: _DRAW[kind](faces, size) for kind in kinds}
    return {kind: one.unflatten(0, axes) if len(axes) else one[0] for kind, one in drawn.items()}
