"""Photos into targets, network pictures into pixels, and measures of a face's openings."""

from dataclasses import dataclass

import numpy as np
import torch

from reenactor.core import TargetSet
from reenactor.face.geometry import contours, face_crop, in_mean_pose
from reenactor.face.maps import draw_maps

EYES = (
    (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
    (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
)
LIPS = (contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER)


@dataclass(frozen=True)
class Person:
    """A picture and its landmarks, to be cropped to any size."""

    picture: np.ndarray
    mesh_px: np.ndarray

    def cut(self, size):
        """The face crop's pixels and its landmarks."""
        crop = face_crop(self.mesh_px, size=size)
        return crop.cut(self.picture), crop.to_crop(self.mesh_px)


def as_targets(*photos, maps=()):
    """(pixels, landmarks) pairs as a set of targets, with the maps of these kinds."""
    images = np.stack([pixels for pixels, _ in photos])
    mesh_px = np.stack([mesh for _, mesh in photos])
    drawn = draw_maps(maps, torch.from_numpy(mesh_px), images.shape[1])
    return TargetSet(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, mesh_px, drawn)


def as_pixels(image_m1p1):
    """(3, h, w) in [-1, 1] as (h, w, 3) uint8."""
    return image_m1p1.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def gap(mesh_px, halves):
    """Mean opening in the face's own frame, in eye distances."""
    face = in_mean_pose(mesh_px)[1]
    upper, lower = halves
    return float((face[list(lower[1:-1]), 1] - face[list(upper[1:-1]), 1]).mean())
