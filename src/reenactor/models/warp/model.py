"""The classical mesh warp: an untrained model, and the warping side of paper A (One-shot Face Reenactment)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reenactor.core import DriverFrame, TargetCode, TargetSet
from reenactor.face.geometry.contours import FACE_OVAL
from reenactor.face.geometry.face_mesh import FaceMesh, draw_face_mesh, face_mesh
from reenactor.face.geometry.layers import smoothstep
from reenactor.face.geometry.mean_face import head_angles
from reenactor.face.geometry.mouth import MouthInside, best_inside, draw_mouth, mouth_inside
from reenactor.models.contract import Needs, ReenactmentModel, check_targets, to_uint8
from reenactor.models.warp.config import WarpConfig
from reenactor.models.warp.eyes import EYES, Eyeball, draw_eye, eyeball

_LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class WarpPhoto:
    """One target photo, taken apart.

    Args:
        picture: (s, s, 3) the crop.
        surface: its triangulated surface.
        eyes: the two eyeballs.
        mouth: what its lips hide or show.
        angles_deg: (3,) yaw, pitch, roll.
    """

    picture: UInt8[np.ndarray, "s s 3"]
    surface: FaceMesh
    eyes: tuple[Eyeball, Eyeball]
    mouth: MouthInside
    angles_deg: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class WarpCode(TargetCode):
    """The photos; `mouth` is the inside shown in every frame (from the photo that shows it best)."""

    photos: tuple[WarpPhoto, ...]
    mouth: MouthInside


@final
class Warp(ReenactmentModel):
    """Moves the photo's own pixels: a triangulated surface, eyeballs behind the lids, a mouth behind the lips.

    With several photos the face is taken from the one whose head pose is nearest; weights change smoothly with the
    pose, and so over time. Hair and background always come from the first.
    """

    name: ClassVar[str] = "warp"
    version = "1"
    config_type: ClassVar[type[WarpConfig]] = WarpConfig
    trained: ClassVar[bool] = False
    needs = Needs(any_resolution=True)
    config: WarpConfig

    def __init__(self, config: WarpConfig | None = None) -> None:
        super().__init__()
        self.config = config or WarpConfig()

    def encode_target(self, targets: TargetSet) -> WarpCode:
        """Take the photos apart; see `ReenactmentModel.encode_target`."""
        check_targets(targets)
        pictures = [to_uint8(image) for image in targets.images]
        matched = [pictures[0]] + [
            _colour_matched(picture, mesh, pictures[0], targets.mesh_px[0])
            for picture, mesh in zip(pictures[1:], targets.mesh_px[1:], strict=True)
        ]
        photos = tuple(_take_apart(p, mesh) for p, mesh in zip(matched, targets.mesh_px, strict=True))
        mouths = [photo.mouth for photo in photos]
        return WarpCode(photos, mouths[best_inside(mouths)])

    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the frames one by one; see `ReenactmentModel.synthesize`."""
        if not isinstance(code, WarpCode):
            raise TypeError(f"the warp draws a WarpCode, got {type(code).__name__}")
        frames = np.stack([self._draw(code, mesh) for mesh in driver.mesh_px])
        # In NumPy, which keeps to one thread: two of PyTorch's on a busy machine take ten times as long.
        return torch.from_numpy(np.moveaxis(frames, -1, 1).astype(np.float32) / np.float32(127.5) - 1)

    def _draw(self, code: WarpCode, mesh: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "s s 3"]:
        weights = self._photo_weights(code, mesh)
        picture = self._draw_from(code.photos[0], code.mouth, mesh)
        others = [k for k in range(1, len(code.photos)) if weights[k] > _LEAST_WEIGHT]
        if others:
            face = _face_mask(mesh, len(picture))
            # Blend the others one after the other; dividing by the sum so far gives each its weight in the result.
            total = weights[0]
            for k in others:
                total += weights[k]
                other = self._draw_from(code.photos[k], code.mouth, mesh)
                alpha = (face * (weights[k] / total))[..., None]
                picture = np.rint(picture + alpha * (other.astype(np.float32) - picture)).astype(np.uint8)
        return picture

    def _photo_weights(self, code: WarpCode, mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, " k"]:
        if len(code.photos) == 1:
            return np.ones(1)
        target = head_angles(mesh)
        distance = np.array([np.linalg.norm(photo.angles_deg[:2] - target[:2]) for photo in code.photos])
        distance[0] -= self.config.first_photo_bonus_deg
        scores = np.exp(-(distance - distance.min()) / self.config.pose_blend_deg)
        return scores / scores.sum()

    def _draw_from(
        self, photo: WarpPhoto, mouth: MouthInside, mesh: Float[np.ndarray, "478 3"]
    ) -> UInt8[np.ndarray, "s s 3"]:
        picture = draw_face_mesh(photo.picture, photo.surface, mesh, map_size=self.config.map_size)
        for eye in photo.eyes:
            draw_eye(picture, eye, mesh)
        draw_mouth(picture, mouth, mesh, lips_meet=photo.mouth.lips_meet)
        return picture


def _take_apart(picture: UInt8[np.ndarray, "s s 3"], mesh: Float[np.ndarray, "478 3"]) -> WarpPhoto:
    return WarpPhoto(
        picture=picture,
        surface=face_mesh(mesh, len(picture)),
        eyes=(eyeball(picture, mesh, EYES[0]), eyeball(picture, mesh, EYES[1])),
        mouth=mouth_inside(picture, mesh),
        angles_deg=head_angles(mesh),
    )


def _colour_matched(
    picture: UInt8[np.ndarray, "s s 3"],
    mesh: Float[np.ndarray, "478 3"],
    first: UInt8[np.ndarray, "s s 3"],
    first_mesh: Float[np.ndarray, "478 3"],
) -> UInt8[np.ndarray, "s s 3"]:
    """The picture with its skin brought to the first photo's mean colour, channel by channel."""
    gains = np.clip(_skin_colour(first, first_mesh) / np.maximum(_skin_colour(picture, mesh), 1), 0.6, 1.6)
    return np.clip(np.rint(picture * gains), 0, 255).astype(np.uint8)


def _skin_colour(picture: UInt8[np.ndarray, "s s 3"], mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "3"]:
    """Mean colour inside the face's outline."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(mesh[list(FACE_OVAL), :2]).astype(np.int32)), (1,))
    return np.array(cv2.mean(picture, mask)[:3])


def _face_mask(mesh: Float[np.ndarray, "478 3"], size: int) -> Float[np.ndarray, "s s"]:
    """1 well inside the face, falling to 0 at its outline over a tenth of its width."""
    mask = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(np.round(mesh[list(FACE_OVAL), :2]).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, (1,))
    width = float(np.ptp(mesh[list(FACE_OVAL), 0]))
    return smoothstep(cv2.distanceTransform(mask, cv2.DIST_L2, 3), 0.01 * width, 0.1 * width)
