"""Maps by their kind, as a model's `needs` or an objective's `maps` ask for them."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from reenactor.core import MapKind
from reenactor.face.maps.boundaries import boundary_maps
from reenactor.face.maps.masks import face_mask, hull_mask
from reenactor.face.maps.parsing import parsing_map
from reenactor.face.maps.raster import landmark_raster


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
    drawn = {kind: _draw(kind, faces, size) for kind in kinds}
    return {kind: one.unflatten(0, axes) if len(axes) else one[0] for kind, one in drawn.items()}


def _draw(kind: MapKind, mesh_px: Float[Tensor, "b 478 3"], size: int) -> Float[Tensor, "b c h w"]:
    if kind is MapKind.LANDMARK_RASTER:
        return landmark_raster(mesh_px, size)
    if kind is MapKind.IRIS_RASTER:
        return landmark_raster(mesh_px, size, irises=True)
    if kind is MapKind.BOUNDARIES:
        return boundary_maps(mesh_px, size)
    if kind is MapKind.PARSING:
        return parsing_map(mesh_px, size)
    if kind is MapKind.HULL_MASK:
        return hull_mask(mesh_px, size)
    return face_mask(mesh_px, size)
