"""Landmarks -> what networks see. Pure functions: torch, batched, on the device of their input (docs/maps.md)."""

from reenact.maps.boundaries import BOUNDARY_CHANNELS, boundary_maps
from reenact.maps.draw import draw_maps
from reenact.maps.gaze import gaze_maps
from reenact.maps.parsing import PARSING_CHANNELS, parsing_map
from reenact.maps.raster import landmark_raster
from reenact.maps.weights import PART_WEIGHTS, face_mask, hull_mask, hull_weights, part_weights

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
