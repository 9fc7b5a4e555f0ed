"""Landmarks to what networks see. Pure functions: torch, batched, on the device of their input (docs/maps.md)."""

from reenactor.face.maps.boundaries import BOUNDARY_CHANNELS, boundary_maps, gaze_maps
from reenactor.face.maps.draw import draw_maps
from reenactor.face.maps.masks import face_mask, hull_mask
from reenactor.face.maps.parsing import PARSING_CHANNELS, parsing_map, part_weights
from reenactor.face.maps.raster import landmark_raster

__all__ = [
    "BOUNDARY_CHANNELS",
    "PARSING_CHANNELS",
    "boundary_maps",
    "draw_maps",
    "face_mask",
    "gaze_maps",
    "hull_mask",
    "landmark_raster",
    "parsing_map",
    "part_weights",
]
