"""Landmarks -> what networks see. Pure functions: torch, batched, on the device of their input (docs/maps.md)."""

from reenactor.face.maps.boundaries import BOUNDARY_CHANNELS, boundary_maps
from reenactor.face.maps.draw import draw_maps
from reenactor.face.maps.gaze import gaze_maps
from reenactor.face.maps.parsing import PARSING_CHANNELS, parsing_map
from reenactor.face.maps.raster import landmark_raster
from reenactor.face.maps.weights import PART_WEIGHTS, face_mask, hull_mask, hull_weights, part_weights

__all__ = [
    "BOUNDARY_CHANNELS",
    "PARSING_CHANNELS",
    "PART_WEIGHTS",
    "boundary_maps",
    "draw_maps",
    "face_mask",
    "gaze_maps",
    "hull_mask",
    "hull_weights",
    "landmark_raster",
    "parsing_map",
    "part_weights",
]
